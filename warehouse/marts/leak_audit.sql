-- One row per transfer set and row that is a copy of a dev or test row, or near one, most similar first. Made and
-- unlabelled rows were dropped; gold rows are the task's own and stay.
select
    transfer_set,
    operator,
    split,
    case when leaked.id = leaked.held_out then 'copy' else 'near' end as kind,
    similarity,
    dropped,
    concat_ws(' | ', leaked.text_a, leaked.text_b) as learned_from,
    concat_ws(' | ', leaked.held_out_a, leaked.held_out_b) as held_out,
    leaked.id,
    leaked.held_out as held_out_id
from stg_leaks as leaked
order by transfer_set, similarity desc, operator, leaked.id
