-- One row per probed model, layer, probing task and grid: what a probe reads off the layer. `accuracy` is that of the
-- split on which nothing was chosen (test where the task has one, else dev), beside it the majority class, the same
-- layer of an untrained twin, and the gains over both; `standard_error` is the sampling error of the n rows alone.
-- A folder whose weights changed has the rows of both: `is_latest` is false of those that were probed first.
with

wide as (

    select
        weights,
        task,
        task_key,
        protocol,
        grid,
        layer,
        place,
        width,
        hidden,
        rows_learned,
        max(accuracy) filter (where split = 'dev') as dev_accuracy,
        max(accuracy) filter (where split = 'test') as test_accuracy,
        max(accuracy) filter (where not is_seen) as accuracy,
        max(majority) filter (where not is_seen) as majority,
        max(split) filter (where not is_seen) as split,
        max(n) filter (where not is_seen) as n
    from stg_probes
    group by all

)

select
    models.name,
    models.run,
    runs.recipe,
    runs.role,
    runs.seed,
    models.model,
    models.weights,
    models.is_latest,
    layers.task,
    layers.grid,
    layers.layer,
    layers.place,
    layers.width,
    layers.dev_accuracy,
    layers.test_accuracy,
    layers.split,
    layers.n,
    layers.rows_learned,
    layers.accuracy,
    sqrt(layers.accuracy * (1 - layers.accuracy) / layers.n) as standard_error,
    layers.majority,
    twins.accuracy as untrained,
    layers.accuracy - layers.majority as gain_over_majority,
    layers.accuracy - twins.accuracy as gain_over_untrained,
    layers.hidden,
    layers.protocol,
    layers.task_key
from stg_probed as models
inner join wide as layers
    on models.weights = layers.weights
left join wide as twins
    on models.untrained = twins.weights
    and layers.task_key = twins.task_key
    and layers.task = twins.task
    and layers.protocol = twins.protocol
    and layers.layer = twins.layer
left join stg_runs as runs
    on models.run = runs.run
