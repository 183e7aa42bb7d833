-- One row per student run, split and text of which the teacher is sure (0.9 or more) and the student is not (0.75 or
-- less), whoever is right (Sucik 2020). Equal texts with equal labels are one.
select
    runs.run,
    runs.task,
    runs.recipe,
    runs.student,
    runs.seed,
    students.split,
    students.id,
    any_value(students.text_a) as text_a,
    any_value(students.text_b) as text_b,
    students.label,
    any_value(teachers.prediction) as teacher_answer,
    any_value(teachers.confidence) as teacher_confidence,
    any_value(students.prediction) as student_answer,
    any_value(students.confidence) as student_confidence
from stg_runs as runs
inner join stg_predictions as students
    on runs.run = students.run
inner join stg_predictions as teachers
    on runs.teacher_run = teachers.run
    and students.split = teachers.split
    and students.id = teachers.id
where runs.role = 'student' and teachers.confidence >= 0.9 and students.confidence <= 0.75
group by runs.run, runs.task, runs.recipe, runs.student, runs.seed, students.split, students.id, students.label
