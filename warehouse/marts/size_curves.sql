-- One row per task, recipe, student and share of its transfer set: the score of the students that learned from so much of it.
-- `kdpipe curve` trains them; a recipe of which no share was tried is not here. All shares of a line saw as many rows, give or
-- take a tenth: of each share the newest settings that did.
with

students as (

    select
        task,
        task_key,
        recipe,
        student,
        seed,
        run,
        started,
        variant,
        metric,
        dev_score,
        test_score,
        rows_seen,
        is_latest,
        coalesce((settings ->> '$.phases[#-1].share')::double, 1) as share
    from stg_runs
    where role = 'student'

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

),

budgets as (

    select
        task_key,
        whole,
        student,
        median(rows_seen) as budget
    from named
    where is_latest and whole <> recipe
    group by all

),

fitting as (

    select named.*
    from named
    inner join budgets
        on named.task_key = budgets.task_key
        and named.whole = budgets.whole
        and named.student = budgets.student
        and abs(named.rows_seen - budgets.budget) <= 0.1 * budgets.budget
    qualify
        named.variant = first_value(named.variant) over (
            partition by named.task_key, named.whole, named.student, named.share
            order by named.started desc, named.run desc
        )
        and row_number() over (
            partition by named.task_key, named.whole, named.student, named.share, named.variant, named.seed
            order by named.started desc, named.run desc
        ) = 1

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
from fitting
group by task, task_key, whole, student, share, metric
order by task, recipe, student, share
