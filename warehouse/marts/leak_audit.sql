-- One row per transfer set and made or unlabelled row that was dropped as a copy of a dev or test row (the same words and
-- pairs of words) or near one, most similar first. Gold rows stay; `kdpipe audit` lists them.
select
    transfer_set,
    operator,
    split,
    case when similarity = 1 then 'copy' else 'near' end as kind,
    similarity,
    concat_ws(' | ', leaked.text_a, leaked.text_b) as learned_from,
    concat_ws(' | ', leaked.held_out_a, leaked.held_out_b) as held_out,
    leaked.id,
    leaked.held_out as held_out_id
from stg_leaks as leaked
order by transfer_set, similarity desc, operator, leaked.id
