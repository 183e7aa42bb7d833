-- One row per run, split and one of fifteen equal bins of confidence that holds rows: how often the answer is right there
-- against how sure the run is (Guo et al. 2017, arXiv:1706.04599).
with

answers as (

    select
        run,
        split,
        confidence,
        (prediction = label)::integer as is_right,
        least(floor(confidence * 15)::integer, 14) as bin
    from stg_predictions
    where label is not null

)

select
    runs.task,
    runs.recipe,
    runs.role,
    runs.student,
    runs.seed,
    answers.run,
    answers.split,
    answers.bin / 15 as bin_from,
    (answers.bin + 1) / 15 as bin_to,
    count(*) as n,
    avg(answers.confidence) as confidence,
    avg(answers.is_right) as accuracy,
    avg(answers.confidence) - avg(answers.is_right) as overconfidence
from answers
inner join stg_runs as runs
    on answers.run = runs.run
group by
    runs.task,
    runs.recipe,
    runs.role,
    runs.student,
    runs.seed,
    answers.run,
    answers.split,
    answers.bin
