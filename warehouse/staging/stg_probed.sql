-- One row per model that was probed: a run of this store, or (run is null) a folder; and its untrained twin's weights.
-- `is_latest`: no other weights of the folder came to be probed later.
select
    name,
    run,
    weights,
    untrained,
    model,
    started::timestamptz at time zone 'UTC' as started,
    row_number() over (partition by name order by started desc, weights asc) = 1 as is_latest
from raw.probed
