-- One row per transfer set and row. Sets that are still being written, and parts that no list names, are left out.
with

listed as (

    select "set", unnest(parts) as part
    from raw.transfer_sets

)

select
    transfer."set" as transfer_set,
    transfer.id,
    transfer.text_a,
    transfer.text_b,
    transfer.label,
    transfer.source,
    transfer.operator,
    transfer.copy,
    transfer.round
from raw.transfer as transfer
semi join listed
    on transfer."set" = listed."set"
    and transfer.file = listed.part
