-- One row per run, split and row of that split: what the run answered.
select
    run,
    split,
    id,
    text_a,
    text_b,
    label,
    target,
    prediction,
    score,
    confidence,
    logits,
    n_words,
    n_unknown
from raw.predictions
