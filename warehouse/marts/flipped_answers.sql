-- One row per run, split, perturbation and text that the run answers otherwise after it (classification), with what its
-- teacher answers to both (kdpipe robustness). Equal texts with equal labels are one.
select
    runs.run,
    runs.task,
    runs.recipe,
    runs.role,
    runs.student,
    runs.seed,
    perturbed.split,
    perturbed.perturbation,
    perturbed.id,
    any_value(clean.text_a) as text_a,
    any_value(clean.text_b) as text_b,
    any_value(perturbed.text_a) as perturbed_a,
    any_value(perturbed.text_b) as perturbed_b,
    clean.label,
    any_value(clean.prediction) as answer,
    any_value(perturbed.prediction) as answer_perturbed,
    any_value(perturbed.confidence) as confidence_perturbed,
    any_value(teachers.prediction) as teacher_answer,
    any_value(teachers_perturbed.prediction) as teacher_answer_perturbed
from stg_perturbed as perturbed
inner join stg_runs as runs
    on perturbed.run = runs.run
inner join stg_predictions as clean
    on perturbed.run = clean.run
    and perturbed.split = clean.split
    and perturbed.id = clean.id
    and perturbed.prediction <> clean.prediction
left join stg_predictions as teachers
    on runs.teacher_run = teachers.run
    and perturbed.split = teachers.split
    and perturbed.id = teachers.id
left join stg_perturbed as teachers_perturbed
    on runs.teacher_run = teachers_perturbed.run
    and perturbed.split = teachers_perturbed.split
    and perturbed.perturbation = teachers_perturbed.perturbation
    and perturbed.id = teachers_perturbed.id
group by
    runs.run,
    runs.task,
    runs.recipe,
    runs.role,
    runs.student,
    runs.seed,
    perturbed.split,
    perturbed.perturbation,
    perturbed.id,
    clean.label
