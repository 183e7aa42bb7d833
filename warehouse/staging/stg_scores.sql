-- One row per run, split and metric.
with

scores as (

    select run, unnest(scores) as score
    from raw.runs

)

select
    run,
    score.split as split,
    score.metric as metric,
    score.value as value
from scores
