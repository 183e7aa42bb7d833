-- One row per run, split, slice and value: accuracy (regression: mean absolute error) on a part of the rows. Slices are
-- length in words of white space, label, negation, and words unknown to the run's vocabulary. Rows that have no gold
-- answer are left out.
with

answers as (

    select
        run,
        split,
        label,
        prediction = label as is_right,
        case when label is null then abs(score - target) end as error,
        n_unknown,
        lower(concat_ws(' ', text_a, text_b)) as text,
        len(regexp_extract_all(text, '\S+')) as words
    from stg_predictions
    where target is not null

),

sliced as (

    select
        run,
        split,
        is_right,
        error,
        unnest([
            {
                'slice': 'length',
                'value': case
                    when words <= 5 then '00-05 words'
                    when words <= 10 then '06-10 words'
                    when words <= 20 then '11-20 words'
                    when words <= 40 then '21-40 words'
                    else '41 words or more'
                end
            },
            {'slice': 'label', 'value': label},
            {
                'slice': 'negation',
                'value': case
                    when regexp_matches(
                        text,
                        '\b(not|no|never|nobody|nothing|none|nowhere|neither|nor|cannot|without)\b|n[''’]t\b'
                    ) then 'yes'
                    else 'no'
                end
            },
            {'slice': 'unknown words', 'value': case when n_unknown < 2 then n_unknown::varchar else '2 or more' end}
        ]) as part
    from answers

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
