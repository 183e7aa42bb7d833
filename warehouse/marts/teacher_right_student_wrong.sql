-- One row per student run, split and text that its teacher got right and the student wrong (classification).
with

answers as (

    select
        runs.run,
        runs.task,
        runs.recipe,
        runs.student,
        runs.seed,
        runs.teacher_run,
        predictions.split,
        predictions.id,
        predictions.text_a,
        predictions.text_b,
        predictions.label,
        predictions.prediction,
        predictions.confidence
    from stg_runs as runs
    inner join stg_predictions as predictions
        on runs.run = predictions.run
    where runs.role = 'student' and predictions.prediction <> predictions.label

)

select
    answers.run,
    answers.task,
    answers.recipe,
    answers.student,
    answers.seed,
    answers.split,
    answers.id,
    any_value(answers.text_a) as text_a,
    any_value(answers.text_b) as text_b,
    answers.label,
    any_value(teachers.confidence) as teacher_confidence,
    any_value(answers.prediction) as student_answer,
    any_value(answers.confidence) as student_confidence
from answers
inner join stg_predictions as teachers
    on answers.teacher_run = teachers.run
    and answers.split = teachers.split
    and answers.id = teachers.id
    and answers.label = teachers.prediction
group by
    answers.run,
    answers.task,
    answers.recipe,
    answers.student,
    answers.seed,
    answers.split,
    answers.id,
    answers.label
