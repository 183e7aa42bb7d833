-- One row per transfer set and row that is a copy of a dev or test row, or near one.
select
    "set" as transfer_set,
    id,
    text_a,
    text_b,
    operator,
    split,
    held_out,
    held_out_a,
    held_out_b,
    similarity,
    dropped
from raw.leaks
