-- Every row of a transfer set has logits of each teacher whose students learned from it
with

asked as (

    select distinct transfer_set, teacher
    from stg_runs
    where transfer_set is not null and teacher is not null

)

select
    asked.teacher,
    lines.transfer_set,
    lines.operator,
    lines.id
from asked
inner join stg_transfer as lines
    on asked.transfer_set = lines.transfer_set
anti join stg_signals as signals
    on asked.teacher = signals.teacher
    and lines.id = signals.id
