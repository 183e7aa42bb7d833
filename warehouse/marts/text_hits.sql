-- One row per task, split and text with its label: how many of the latest students have it right, which one where it is
-- one alone, and whether its teachers do (Sucik 2020). n_right = 1: a hit of one student alone; n_right = 0 and
-- teacher_right: teachers right, all students wrong.
with

answers as (

    select
        runs.task,
        runs.task_key,
        runs.run,
        runs.role,
        answers.split,
        answers.id,
        answers.label,
        any_value(answers.text_a) as text_a,
        any_value(answers.text_b) as text_b,
        any_value(answers.prediction) = answers.label as is_right
    from stg_runs as runs
    inner join stg_predictions as answers
        on runs.run = answers.run
    where runs.is_latest and answers.label is not null
    group by runs.task, runs.task_key, runs.run, runs.role, answers.split, answers.id, answers.label

)

select
    task,
    split,
    id,
    any_value(text_a) as text_a,
    any_value(text_b) as text_b,
    label,
    count(*) filter (where role = 'student') as students,
    count(*) filter (where role = 'student' and is_right) as n_right,
    case when n_right = 1 then min(run) filter (where role = 'student' and is_right) end as right_alone,
    bool_and(is_right) filter (where role = 'teacher') as teacher_right
from answers
group by task, task_key, split, id, label
