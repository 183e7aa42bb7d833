-- One row per task, recipe, phase, student and operators: how much of the gap between labels alone and the teacher was
-- closed, (student - labels only) / (teacher - labels only) of means over seeds; null where there is no gap. How sure the
-- differences are, `kdpipe significance` says.
with

scores as (

    select
        students.task,
        students.task_key,
        students.student,
        students.recipe,
        students.phase,
        students.operators,
        students.unlabelled_rows,
        students.is_baseline,
        students.metric,
        count(*) as seeds,
        avg(students.dev_score) as dev_mean,
        avg(students.test_score) as test_mean,
        avg(teachers.dev_score) as dev_teacher,
        avg(teachers.test_score) as test_teacher
    from stg_runs as students
    inner join stg_runs as teachers
        on students.teacher_run = teachers.run
        and students.metric = teachers.metric
    where students.is_latest and students.role = 'student'
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
    baselines.dev_mean as dev_labels_only,
    scores.dev_mean as dev_student,
    scores.dev_teacher,
    case when scores.dev_teacher > baselines.dev_mean
        then (scores.dev_mean - baselines.dev_mean) / (scores.dev_teacher - baselines.dev_mean)
    end as dev_gap_closed,
    baselines.test_mean as test_labels_only,
    scores.test_mean as test_student,
    scores.test_teacher,
    case when scores.test_teacher > baselines.test_mean
        then (scores.test_mean - baselines.test_mean) / (scores.test_teacher - baselines.test_mean)
    end as test_gap_closed
from scores
inner join baselines
    on scores.task_key = baselines.task_key
    and scores.student = baselines.student
    and scores.metric = baselines.metric
where not scores.is_baseline
order by scores.task, dev_gap_closed desc, scores.recipe, scores.student
