-- Only gold rows carry a label
select
    transfer_set,
    id,
    operator,
    label
from stg_transfer
where operator <> 'gold' and label is not null
