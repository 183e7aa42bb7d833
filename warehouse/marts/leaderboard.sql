-- One row per task, recipe, phase, role, student, operators and number of unlabelled rows: mean and standard deviation
-- over seeds, newest settings only.
with

runs as (

    select
        *,
        list_filter(speeds, lambda speed: speed.batch = 1)[1].rows_per_second as rows_per_second_at_1,
        list_filter(speeds, lambda speed: speed.batch = 64)[1].rows_per_second as rows_per_second_at_64,
        list_filter(stages, lambda stage: stage.stage = 'train')[1].seconds as train_seconds
    from stg_runs
    where is_latest

)

select
    task,
    recipe,
    phase,
    role,
    student,
    array_to_string(operators, '+') as operators,
    unlabelled_rows,
    metric,
    count(*) as seeds,
    avg(dev_score) as dev_mean,
    stddev_samp(dev_score) as dev_sd,
    avg(test_score) as test_mean,
    stddev_samp(test_score) as test_sd,
    max(parameters) as parameters,
    max(non_embedding_parameters) as non_embedding_parameters,
    avg(rows_per_second_at_1) as rows_per_second_at_1,
    avg(rows_per_second_at_64) as rows_per_second_at_64,
    avg(train_seconds) as train_seconds
from runs
group by task, recipe, phase, role, student, runs.operators, unlabelled_rows, metric
order by task, role desc, dev_mean desc, recipe, student
