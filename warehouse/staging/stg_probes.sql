-- One row per weights, probing task, protocol, layer and split: how often the layer's best probe is right.
-- `is_seen`: the probe was chosen on this very split.
with

layers as (

    select
        * exclude (layers),
        unnest(layers) as of_layer
    from raw.probes

),

scores as (

    select
        *,
        unnest(of_layer.scores) as score
    from layers

)

select
    weights,
    task,
    task_key,
    protocol,
    grid,
    classes,
    of_layer.layer as layer,
    of_layer.place as place,
    of_layer.width as width,
    of_layer.hidden as hidden,
    of_layer.dropout as dropout,
    of_layer.l2 as l2,
    of_layer.epochs as epochs,
    score.split as split,
    score.accuracy as accuracy,
    list_filter(splits, lambda s: s.split = score.split)[1].majority as majority,
    list_filter(splits, lambda s: s.split = score.split)[1].rows as n,
    rows_learned,
    rows_chosen_on,
    chosen_on = score.split as is_seen,
    texts_asked,
    state_seconds,
    seconds,
    started::timestamptz at time zone 'UTC' as started
from scores
