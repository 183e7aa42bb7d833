-- The teacher run that a student names is recorded
select
    students.run,
    students.teacher_run
from stg_runs as students
anti join stg_runs as teachers
    on students.teacher_run = teachers.run
where students.teacher_run is not null
