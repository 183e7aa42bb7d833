-- One row per run and batch size: rows labelled per second on the run's machine.
with

speeds as (

    select run, unnest(speed) as speed
    from raw.runs

)

select
    run,
    speed.batch as batch,
    speed.rows_per_second as rows_per_second
from speeds
