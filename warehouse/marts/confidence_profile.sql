-- One row per run and split (classification): how sure it is where it is right and where it is wrong (Sucik 2020).
select
    runs.run,
    runs.task,
    runs.recipe,
    runs.role,
    runs.student,
    runs.seed,
    answers.split,
    count(*) filter (where answers.prediction = answers.label) as hits,
    count(*) filter (where answers.prediction <> answers.label) as mistakes,
    avg(answers.confidence) filter (where answers.prediction = answers.label) as confidence_of_hits,
    avg(answers.confidence) filter (where answers.prediction <> answers.label) as confidence_of_mistakes
from stg_runs as runs
inner join stg_predictions as answers
    on runs.run = answers.run
where answers.label is not null
group by runs.run, runs.task, runs.recipe, runs.role, runs.student, runs.seed, answers.split
