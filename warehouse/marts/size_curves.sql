-- One row per task, recipe, student and share of its transfer set: the score of the students that learned from so much of it.
-- `kdpipe curve` trains them; a recipe of which no share was tried is not here.
with

students as (

    select
        task,
        recipe,
        student,
        seed,
        metric,
        dev_score,
        test_score,
        coalesce((settings ->> '$.phases[#-1].share')::double, 1) as share
    from stg_runs
    where role = 'student' and is_latest

),

named as (

    select
        *,
        case
            when share < 1 and ends_with(recipe, '-' || share::varchar)
                then left(recipe, length(recipe) - length(share::varchar) - 1)
            else recipe
        end as whole
    from students

)

select
    task,
    whole as recipe,
    student,
    share,
    metric,
    count(*) as seeds,
    avg(dev_score) as dev_mean,
    stddev_samp(dev_score) as dev_sd,
    avg(test_score) as test_mean
from named
where (task, whole, student) in (select (task, whole, student) from named where whole <> recipe)
group by task, whole, student, share, metric
order by task, recipe, student, share
