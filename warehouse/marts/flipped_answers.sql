-- One row per run, split, perturbation and text that the run answers otherwise after it (classification), with what its
-- teacher answers to both (kdpipe robustness). Equal texts with equal labels are one.
select
    runs.run,
    runs.task,
    runs.recipe,
    runs.role,
    runs.student,
    runs.seed,
    pairs.split,
    pairs.perturbation,
    pairs.id,
    pairs.text_a,
    pairs.text_b,
    pairs.perturbed_a,
    pairs.perturbed_b,
    pairs.label,
    pairs.clean_answer as answer,
    pairs.answer as answer_perturbed,
    pairs.confidence as confidence_perturbed,
    teachers.clean_answer as teacher_answer,
    teachers.answer as teacher_answer_perturbed
from stg_perturbed_pairs as pairs
inner join stg_runs as runs
    on pairs.run = runs.run
left join stg_perturbed_pairs as teachers
    on runs.teacher_run = teachers.run
    and pairs.split = teachers.split
    and pairs.perturbation = teachers.perturbation
    and pairs.id = teachers.id
    and pairs.label is not distinct from teachers.label
where pairs.answer <> pairs.clean_answer
