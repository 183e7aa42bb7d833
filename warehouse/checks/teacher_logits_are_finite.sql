-- What a teacher said is finite
select
    teacher,
    id,
    logits
from stg_signals
where list_bool_or(list_transform(logits, lambda logit: not isfinite(logit)))
