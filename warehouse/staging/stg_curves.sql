-- One row per run and epoch: training loss and dev score.
with

curves as (

    select run, unnest(curve) as point
    from raw.runs

)

select
    run,
    point.epoch as epoch,
    point.loss as loss,
    point.dev as dev_score,
    point.seconds as seconds
from curves
