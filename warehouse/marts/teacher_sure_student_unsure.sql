-- One row per student run, split and text of which the teacher is sure (0.9 or more) and the student is not (0.75 or
-- less), whoever is right (Sucik 2020). Equal texts with equal labels are one.
select
    run,
    task,
    recipe,
    student,
    seed,
    split,
    id,
    any_value(text_a) as text_a,
    any_value(text_b) as text_b,
    label,
    any_value(teacher_answer) as teacher_answer,
    any_value(teacher_confidence) as teacher_confidence,
    any_value(student_answer) as student_answer,
    any_value(student_confidence) as student_confidence
from stg_answer_pairs
where teacher_confidence >= 0.9 and student_confidence <= 0.75
group by run, task, recipe, student, seed, split, id, label
