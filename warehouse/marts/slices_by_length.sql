-- One row per run, split and quartile of length, 1 the shortest texts: accuracy (regression: mean absolute error) there.
-- Length is counted in words of white space, of both texts of a pair; texts of one length are never torn apart.
with

answers as (

    select
        run,
        split,
        prediction = label as is_right,
        case when label is null then abs(score - target) end as error,
        len(regexp_extract_all(concat_ws(' ', text_a, text_b), '\S+')) as words
    from stg_predictions
    where target is not null

),

ranked as (

    select
        *,
        ceil(4 * cume_dist() over (partition by run, split order by words desc))::integer as longer
    from answers

)

select
    runs.run,
    runs.task,
    runs.recipe,
    runs.role,
    runs.student,
    runs.seed,
    ranked.split,
    5 - ranked.longer as quartile,
    min(ranked.words) as words_from,
    max(ranked.words) as words_to,
    count(*) as n,
    avg(ranked.is_right::integer) as accuracy,
    avg(ranked.error) as mean_absolute_error
from ranked
inner join stg_runs as runs
    on ranked.run = runs.run
group by all
