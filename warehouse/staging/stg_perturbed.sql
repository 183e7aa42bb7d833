-- One row per run, split, perturbation and text that it changes: what the run answered then.
select
    run,
    split,
    perturbation,
    id,
    perturbed_id,
    text_a,
    text_b,
    prediction,
    score,
    confidence,
    logits
from raw.perturbed
