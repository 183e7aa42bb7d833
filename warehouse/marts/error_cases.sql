-- One row per student run, split and text that it got wrong (regression: its fifty largest errors), with the teacher's
-- answer and up to twenty made rows of its nearest training rows, nearest first. Ask for one run: where run = '...'.
with

ranked as (

    select
        runs.run,
        runs.task,
        runs.task_key,
        runs.kind,
        runs.labels,
        runs.recipe,
        runs.student,
        runs.seed,
        runs.teacher,
        runs.teacher_run,
        runs.transfer_set,
        answers.split,
        answers.id,
        answers.text_a,
        answers.text_b,
        answers.label,
        answers.target,
        answers.prediction,
        answers.score,
        answers.confidence,
        case when runs.kind = 'regression' then abs(answers.score - answers.target) end as error,
        rank() over (partition by runs.run, answers.split order by error desc) as error_rank
    from stg_runs as runs
    inner join stg_predictions as answers
        on runs.run = answers.run
    where
        runs.role = 'student'
        and (answers.prediction <> answers.label or (runs.kind = 'regression' and answers.target is not null))

),

mistakes as (

    select *
    from ranked
    where kind = 'classification' or error_rank <= 50

),

with_teacher as (

    select
        mistakes.*,
        teachers.prediction as teacher_prediction,
        teachers.score as teacher_score,
        teachers.confidence as teacher_confidence
    from mistakes
    left join stg_predictions as teachers
        on mistakes.teacher_run = teachers.run
        and mistakes.split = teachers.split
        and mistakes.id = teachers.id
    qualify row_number() over (  -- a text may stand in a split twice
        partition by mistakes.run, mistakes.split, mistakes.id, mistakes.label, mistakes.target
    ) = 1

),

asked as (

    select distinct transfer_set, teacher
    from stg_runs
    where role = 'student'

),

made_of as (

    select
        asked.transfer_set,
        asked.teacher,
        made.source,
        list_sort(list(distinct {
            'operator': made.operator,
            'copy': made.copy,
            'text': concat_ws(' ||| ', made.text_a, made.text_b),
            'answer': signals.answer_index,
            'logit': signals.logits[1]
        }))[:20] as made_rows,
        len(made_rows) as n
    from asked
    inner join stg_transfer as made
        on asked.transfer_set = made.transfer_set
    left join stg_signals as signals
        on asked.teacher = signals.teacher
        and made.id = signals.id
    where made.operator not in ('gold', 'unlabelled')
    group by asked.transfer_set, asked.teacher, made.source

),

with_neighbours as (

    select
        with_teacher.*,
        neighbours.rank,
        made_of.made_rows,
        coalesce(sum(made_of.n) over (
            partition by
                with_teacher.run, with_teacher.split, with_teacher.id, with_teacher.label, with_teacher.target
            order by neighbours.rank
            rows between unbounded preceding and 1 preceding
        ), 0) as nearer
    from with_teacher
    left join stg_neighbours as neighbours
        on with_teacher.task_key = neighbours.task_key
        and with_teacher.id = neighbours.id
    left join made_of
        on with_teacher.transfer_set = made_of.transfer_set
        and with_teacher.teacher = made_of.teacher
        and neighbours.neighbour = made_of.source

)

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
    coalesce(label, round(target, 2)::varchar) as label,
    any_value(coalesce(teacher_prediction, round(teacher_score, 2)::varchar)) as teacher_answer,
    any_value(teacher_confidence) as teacher_confidence,
    any_value(coalesce(prediction, round(score, 2)::varchar)) as student_answer,
    any_value(confidence) as student_confidence,
    any_value(error) as error,
    coalesce(flatten(list(list_transform(made_rows, lambda made: {
        'rank': rank, 'operator': made.operator, 'copy': made.copy, 'text': made.text, 'teacher_answer':
        case when kind = 'classification' then labels[made.answer + 1] else round(made.logit, 2)::varchar end
    }) order by rank) filter (where made_rows is not null))[:20], []) as made_rows
from with_neighbours
where nearer < 20
group by run, task, recipe, student, seed, split, id, label, target
