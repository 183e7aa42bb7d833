-- One row per model that was probed: a run of this store, or (run is null) a folder; and its untrained twin's weights
select
    name,
    run,
    weights,
    untrained,
    model,
    started::timestamptz at time zone 'UTC' as started
from raw.probed
