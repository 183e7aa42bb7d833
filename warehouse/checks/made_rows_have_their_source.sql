-- The row that a row was made from is in the same transfer set
select
    made.transfer_set,
    made.id,
    made.operator,
    made.source
from stg_transfer as made
anti join stg_transfer as sources
    on made.transfer_set = sources.transfer_set
    and made.source = sources.id
