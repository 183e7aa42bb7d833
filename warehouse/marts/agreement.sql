-- One row per student run and split: how often student and teacher give the same answer, whatever the label says
-- (classification), or how their scores correlate (regression). Equal texts with equal labels count once.
with

texts as (

    select
        run,
        task,
        recipe,
        student,
        seed,
        teacher_run,
        kind,
        split,
        id,
        label,
        any_value(student_answer) as student_answer,
        any_value(student_score) as student_score,
        any_value(teacher_answer) as teacher_answer,
        any_value(teacher_score) as teacher_score
    from stg_answer_pairs
    group by all

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
    avg((student_answer = teacher_answer)::integer) as agreement,
    avg((student_answer = teacher_answer)::integer) filter (where teacher_answer = label)
        as agreement_where_teacher_right,
    avg((student_answer = teacher_answer)::integer) filter (where teacher_answer <> label)
        as agreement_where_teacher_wrong,
    case when kind = 'regression' then corr(student_score, teacher_score) end as correlation
from texts
group by run, task, recipe, student, seed, teacher_run, kind, split
