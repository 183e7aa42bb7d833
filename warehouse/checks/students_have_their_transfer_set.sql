-- The transfer set that a run names is in the store
select
    runs.run,
    runs.transfer_set
from stg_runs as runs
anti join stg_transfer as lines
    on runs.transfer_set = lines.transfer_set
where runs.transfer_set is not null
