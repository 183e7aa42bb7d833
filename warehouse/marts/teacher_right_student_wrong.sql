-- One row per student run, split and text that its teacher got right and the student wrong (classification).
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
    any_value(teacher_confidence) as teacher_confidence,
    any_value(student_answer) as student_answer,
    any_value(student_confidence) as student_confidence
from stg_answer_pairs
where student_answer <> label and teacher_answer = label
group by run, task, recipe, student, seed, split, id, label
