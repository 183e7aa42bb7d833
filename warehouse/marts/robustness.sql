-- One row per run, split and perturbation (kdpipe robustness; Ribeiro et al. 2020): of the n texts that it changes, the
-- score as they are and as changed and what was lost with its 95% interval (where labels stay), how many answers changed
-- (regression: by how much the score moved), and how often teacher and student agree then. Equal texts with equal labels
-- count once.
with

counted as (

    select
        answers.run,
        answers.split,
        answers.perturbation,
        count(*) as n,
        avg((answers.answer <> answers.clean_answer)::integer) as flips,
        avg(abs(answers.score - answers.clean_score)) filter (where answers.answer is null) as mean_move,
        avg((answers.clean_answer = teachers.clean_answer)::integer) as agreement_clean,
        avg((answers.answer = teachers.answer)::integer) as agreement,
        corr(answers.clean_score, teachers.clean_score) filter (where answers.answer is null) as correlation_clean,
        corr(answers.score, teachers.score) filter (where answers.answer is null) as correlation
    from stg_perturbed_pairs as answers
    inner join stg_runs as runs
        on answers.run = runs.run
    left join stg_perturbed_pairs as teachers
        on runs.teacher_run = teachers.run
        and answers.split = teachers.split
        and answers.perturbation = teachers.perturbation
        and answers.id = teachers.id
        and answers.label is not distinct from teachers.label
    group by answers.run, answers.split, answers.perturbation

)

select
    runs.run,
    runs.task,
    runs.recipe,
    runs.role,
    runs.student,
    runs.seed,
    scores.split,
    scores.perturbation,
    scores.says,
    scores.keeps_label,
    coalesce(counted.n, 0) as n,
    scores.metric,
    scores.clean,
    scores.perturbed,
    scores.clean - scores.perturbed as "drop",
    scores.drop_low,
    scores.drop_high,
    scores.p_holm,
    scores.verdict,
    counted.flips,
    counted.mean_move,
    counted.agreement_clean,
    counted.agreement,
    counted.correlation_clean,
    counted.correlation
from stg_robustness as scores
inner join stg_runs as runs
    on scores.run = runs.run
left join counted
    on scores.run = counted.run
    and scores.split = counted.split
    and scores.perturbation = counted.perturbation
