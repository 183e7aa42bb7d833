-- One row per run, split, label and answer: how often the run gave that answer to rows of that label (classification).
with

counts as (

    select
        run,
        split,
        label,
        prediction as answer,
        count(*) as n
    from stg_predictions
    where label is not null
    group by run, split, label, prediction

)

select
    runs.task,
    runs.recipe,
    runs.role,
    runs.student,
    runs.seed,
    counts.run,
    counts.split,
    counts.label,
    counts.answer,
    counts.n,
    counts.n / sum(counts.n) over (partition by counts.run, counts.split, counts.label) as share_of_label
from counts
inner join stg_runs as runs
    on counts.run = runs.run
