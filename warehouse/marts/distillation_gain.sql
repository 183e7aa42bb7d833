-- One row per task, recipe, phase, student and operators: what the teacher adds to the same student on labels alone, in means
-- over seeds; how sure that is, `kdpipe significance` says.
with

scores as (

    select
        task,
        task_key,
        student,
        recipe,
        phase,
        operators,
        unlabelled_rows,
        is_baseline,
        metric,
        count(*) as seeds,
        avg(dev_score) as dev_mean,
        avg(test_score) as test_mean
    from stg_runs
    where is_latest and role = 'student'
    group by all

),

baselines as (

    select
        task_key,
        student,
        metric,
        avg(dev_score) as dev_mean,
        avg(test_score) as test_mean
    from stg_runs
    where is_latest and is_baseline
    group by all

)

select
    scores.task,
    scores.recipe,
    scores.phase,
    scores.student,
    array_to_string(scores.operators, '+') as operators,
    scores.unlabelled_rows,
    scores.metric,
    scores.seeds,
    scores.dev_mean,
    baselines.dev_mean as dev_labels_only,
    scores.dev_mean - baselines.dev_mean as dev_gain,
    scores.test_mean,
    baselines.test_mean as test_labels_only,
    scores.test_mean - baselines.test_mean as test_gain
from scores
left join baselines
    on scores.task_key = baselines.task_key
    and scores.student = baselines.student
    and scores.metric = baselines.metric
where not scores.is_baseline
order by scores.task, dev_gain desc, scores.recipe, scores.student
