-- One row per run, split, perturbation and text that it changes: what the run answered to the text as it is and as changed.
-- Equal texts with equal labels are one.
select
    perturbed.run,
    perturbed.split,
    perturbed.perturbation,
    perturbed.id,
    clean.label,
    any_value(clean.text_a) as text_a,
    any_value(clean.text_b) as text_b,
    any_value(perturbed.text_a) as perturbed_a,
    any_value(perturbed.text_b) as perturbed_b,
    any_value(clean.prediction) as clean_answer,
    any_value(clean.score) as clean_score,
    any_value(perturbed.prediction) as answer,
    any_value(perturbed.score) as score,
    any_value(perturbed.confidence) as confidence
from raw.perturbed as perturbed
inner join raw.predictions as clean
    on perturbed.run = clean.run
    and perturbed.split = clean.split
    and perturbed.id = clean.id
group by perturbed.run, perturbed.split, perturbed.perturbation, perturbed.id, clean.label
