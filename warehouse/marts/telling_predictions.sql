-- One row per run, split, kind and rank from 1 to 10: its surest and least sure hits and mistakes (Sucik 2020), with the
-- teacher's answer where it has one.
with

answers as (

    select
        run,
        split,
        id,
        text_a,
        text_b,
        label,
        prediction,
        confidence,
        case when prediction = label then 'hit' else 'mistake' end as outcome,
        row_number() over (partition by run, split, outcome order by confidence desc, id) as surest,
        row_number() over (partition by run, split, outcome order by confidence, id) as least_sure
    from stg_predictions
    where label is not null

),

chosen as (

    select
        *,
        'sure ' || outcome as kind,
        surest as rank
    from answers
    where surest <= 10
    union all
    select
        *,
        'unsure ' || outcome as kind,
        least_sure as rank
    from answers
    where least_sure <= 10

)

select
    runs.run,
    runs.task,
    runs.recipe,
    runs.role,
    runs.student,
    runs.seed,
    chosen.split,
    chosen.kind,
    chosen.rank,
    chosen.id,
    chosen.text_a,
    chosen.text_b,
    chosen.label,
    chosen.prediction as answer,
    chosen.confidence,
    any_value(teachers.prediction) as teacher_answer,
    any_value(teachers.confidence) as teacher_confidence
from chosen
inner join stg_runs as runs
    on chosen.run = runs.run
left join stg_predictions as teachers
    on runs.teacher_run = teachers.run
    and chosen.split = teachers.split
    and chosen.id = teachers.id
group by all
