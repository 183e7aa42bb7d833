-- No text of dev or test is among the made or unlabelled rows that a student of that task learned from
with

asked as (

    select distinct
        runs.task_key,
        answers.split,
        answers.id
    from stg_predictions as answers
    inner join stg_runs as runs
        on answers.run = runs.run

),

learned as (

    select distinct
        runs.task_key,
        lines.transfer_set,
        lines.operator,
        lines.id,
        lines.text_a,
        lines.text_b
    from stg_transfer as lines
    inner join stg_runs as runs
        on lines.transfer_set = runs.transfer_set
    where lines.operator <> 'gold'

)

select
    learned.transfer_set,
    learned.operator,
    asked.split,
    learned.id,
    learned.text_a,
    learned.text_b
from learned
inner join asked
    on learned.task_key = asked.task_key
    and learned.id = asked.id
