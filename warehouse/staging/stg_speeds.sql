-- One row per run and batch size: rows labelled per second of one core of the run's machine,
-- other work on it left out.
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
