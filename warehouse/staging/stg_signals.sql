-- One row per teacher and row id: its logits, the index of the largest and the softmax probability of that class.
with

logits as (

    select
        teacher,
        id,
        arg_min("values", file) as logits -- of rows that two processes asked for at once, those that training reads
    from raw.signals
    group by teacher, id

)

select
    teacher,
    id,
    logits,
    list_position(logits, list_max(logits)) - 1 as answer_index,
    1 / list_sum(list_transform(logits, lambda logit: exp(logit - list_max(logits)))) as confidence
from logits
