-- One row per student run and split: how often student and teacher give the same answer, whatever the label says
-- (classification), or how their scores correlate (regression). Equal texts with equal labels count once.
with

pairs as (

    select
        runs.run,
        runs.task,
        runs.recipe,
        runs.student,
        runs.seed,
        runs.teacher_run,
        runs.kind,
        students.split,
        students.id,
        students.label,
        any_value(students.prediction) as student_answer,
        any_value(students.score) as student_score,
        any_value(teachers.prediction) as teacher_answer,
        any_value(teachers.score) as teacher_score,
        (student_answer = teacher_answer)::integer as agrees
    from stg_runs as runs
    inner join stg_predictions as students
        on runs.run = students.run
    inner join stg_predictions as teachers
        on runs.teacher_run = teachers.run
        and students.split = teachers.split
        and students.id = teachers.id
    where runs.role = 'student'
    group by
        runs.run,
        runs.task,
        runs.recipe,
        runs.student,
        runs.seed,
        runs.teacher_run,
        runs.kind,
        students.split,
        students.id,
        students.label

)

select
    run,
    task,
    recipe,
    student,
    seed,
    teacher_run,
    split,
    count(*) as n,
    avg(agrees) as agreement,
    avg(agrees) filter (where teacher_answer = label) as agreement_where_teacher_right,
    avg(agrees) filter (where teacher_answer <> label) as agreement_where_teacher_wrong,
    case when kind = 'regression' then corr(student_score, teacher_score) end as correlation
from pairs
group by run, task, recipe, student, seed, teacher_run, kind, split
