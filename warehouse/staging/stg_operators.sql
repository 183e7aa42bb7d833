-- One row per run and operator: the rows of its transfer set that came from it, as the run recorded them.
with

counts as (

    select run, unnest(transfer_counts) as counted
    from raw.runs

)

select
    run,
    counted.operator as operator,
    counted.rows as rows
from counts
