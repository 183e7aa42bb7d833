-- One row per two runs of a task and split, the teacher's too: hits of one alone, mistakes of both, and how their
-- confidences go together (Sucik 2020). Equal texts with equal labels count once. Ask for one: where run_1 = '...'.
with

answers as (

    select
        runs.task_key,
        runs.task,
        predictions.run,
        predictions.split,
        predictions.id,
        predictions.label,
        any_value(predictions.prediction) as answer,
        any_value(predictions.confidence) as confidence
    from stg_predictions as predictions
    inner join stg_runs as runs
        on predictions.run = runs.run
    where predictions.label is not null
    group by runs.task_key, runs.task, predictions.run, predictions.split, predictions.id, predictions.label

)

select
    one.task,
    one.split,
    one.run as run_1,
    two.run as run_2,
    count(*) as n,
    count(*) filter (where one.answer = one.label and two.answer <> one.label) as hits_of_1_alone,
    count(*) filter (where one.answer <> one.label and two.answer = one.label) as hits_of_2_alone,
    count(*) filter (where one.answer <> one.label and two.answer <> one.label) as mistakes_of_both,
    count(*) filter (where one.answer <> one.label and two.answer = one.answer) as same_mistakes,
    mistakes_of_both / nullif(mistakes_of_both + hits_of_2_alone, 0) as share_of_mistakes_of_1,
    mistakes_of_both / nullif(mistakes_of_both + hits_of_1_alone, 0) as share_of_mistakes_of_2,
    corr(one.confidence, two.confidence) as confidence_correlation,
    avg(one.confidence - two.confidence) as confidence_difference
from answers as one
inner join answers as two
    on one.task_key = two.task_key
    and one.split = two.split
    and one.id = two.id
    and one.label = two.label
    and one.run <> two.run
group by one.task, one.split, one.run, two.run
