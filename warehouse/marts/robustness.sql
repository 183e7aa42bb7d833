-- One row per run, split and perturbation (kdpipe robustness; Ribeiro et al. 2020): of the n texts that it changes, the
-- score as they are and as changed and what was lost with its 95% interval (where labels stay), how many answers changed
-- (regression: by how much the score moved), and how often teacher and student agree then. Equal texts count once.
with

answers as (

    select
        perturbed.run,
        perturbed.split,
        perturbed.perturbation,
        perturbed.id,
        any_value(perturbed.prediction) as answer,
        any_value(perturbed.score) as score,
        any_value(clean.prediction) as clean_answer,
        any_value(clean.score) as clean_score
    from stg_perturbed as perturbed
    inner join stg_predictions as clean
        on perturbed.run = clean.run
        and perturbed.split = clean.split
        and perturbed.id = clean.id
    group by perturbed.run, perturbed.split, perturbed.perturbation, perturbed.id

),

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
    from answers
    inner join stg_runs as runs
        on answers.run = runs.run
    left join answers as teachers
        on runs.teacher_run = teachers.run
        and answers.split = teachers.split
        and answers.perturbation = teachers.perturbation
        and answers.id = teachers.id
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
