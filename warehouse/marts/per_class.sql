-- One row per run, split and class: how many rows have it, how many are answered with it, precision, recall and F1.
with

classes as (

    select
        run,
        task,
        recipe,
        role,
        student,
        seed,
        unnest(labels) as class
    from stg_runs
    where kind = 'classification'

)

select
    classes.run,
    classes.task,
    classes.recipe,
    classes.role,
    classes.student,
    classes.seed,
    answers.split,
    classes.class,
    count(*) filter (where answers.label = classes.class) as n,
    count(*) filter (where answers.prediction = classes.class) as answered,
    count(*) filter (where answers.label = classes.class and answers.prediction = classes.class) as n_right,
    n_right / nullif(answered, 0) as "precision",
    n_right / nullif(n, 0) as recall,
    2 * n_right / nullif(n + answered, 0) as f1
from classes
inner join stg_predictions as answers
    on classes.run = answers.run
where answers.label is not null
group by
    classes.run,
    classes.task,
    classes.recipe,
    classes.role,
    classes.student,
    classes.seed,
    answers.split,
    classes.class
