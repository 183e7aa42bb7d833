-- One row per answer of a student's run and answer of its teacher's run to the same text of the same split: a text that
-- a split holds twice is there four times.
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
    students.text_a,
    students.text_b,
    students.label,
    students.prediction as student_answer,
    students.score as student_score,
    students.confidence as student_confidence,
    students.logits as student_logits,
    teachers.prediction as teacher_answer,
    teachers.score as teacher_score,
    teachers.confidence as teacher_confidence,
    teachers.logits as teacher_logits
from raw.runs as runs
inner join raw.predictions as students
    on runs.run = students.run
inner join raw.predictions as teachers
    on runs.teacher_run = teachers.run
    and students.split = teachers.split
    and students.id = teachers.id
where runs.role = 'student'
