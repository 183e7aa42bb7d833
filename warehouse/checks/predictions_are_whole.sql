-- All runs of a task answer the same number of rows of a split
with

counts as (

    select
        runs.task_key,
        answers.run,
        answers.split,
        count(*) as rows
    from stg_predictions as answers
    inner join stg_runs as runs
        on answers.run = runs.run
    group by runs.task_key, answers.run, answers.split

),

compared as (

    select
        *,
        mode(rows) over (partition by task_key, split) as usual_rows
    from counts

)

select *
from compared
where rows <> usual_rows
