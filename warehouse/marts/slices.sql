-- One row per run, split, slice and value: accuracy (regression: mean absolute error) on a part of the rows. Slices are
-- length in words of white space, label, negation, words unknown to the run's vocabulary, and those that were saved by
-- name (value 'yes'). Rows that have no gold answer are left out.
with

sliced as (

    select
        run,
        split,
        is_right,
        error,
        unnest(list_concat(
            [
                {'slice': 'length', 'value': length},
                {'slice': 'label', 'value': label},
                {'slice': 'negation', 'value': negation},
                {'slice': 'unknown words', 'value': unknown_words}
            ],
            list_transform(saved, lambda name: {'slice': name, 'value': 'yes'})
        )) as part
    from stg_sliced
    where target is not null

)

select
    runs.task,
    runs.recipe,
    runs.role,
    runs.student,
    runs.seed,
    sliced.run,
    sliced.split,
    sliced.part.slice as slice,
    sliced.part.value as value,
    count(*) as n,
    avg(sliced.is_right::integer) as accuracy,
    avg(sliced.error) as mean_absolute_error
from sliced
inner join stg_runs as runs
    on sliced.run = runs.run
where sliced.part.value is not null
group by all
