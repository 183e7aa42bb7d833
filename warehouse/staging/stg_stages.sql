-- One row per run and stage: seconds spent, rows handled, whether the output was already in the store.
with

stages as (

    select run, unnest(stages) as stage
    from raw.runs

)

select
    run,
    stage.stage as stage,
    stage.seconds as seconds,
    stage.rows as rows,
    stage.reused as reused
from stages
