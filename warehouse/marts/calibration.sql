-- One row per run and split (classification): expected calibration error over fifteen bins, mean negative log likelihood
-- in nats and Brier score, as answered and after the temperature that was fitted on dev (Guo et al. 2017, arXiv:1706.04599).
with

ways as (

    select
        run,
        unnest([
            {'way': 'raw', 'temperature': 1.0::double},
            {'way': 'scaled', 'temperature': temperature}
        ], recursive := true)
    from stg_runs
    where kind = 'classification'

),

scaled as (

    select
        answers.run,
        answers.split,
        ways.way,
        answers.target::integer + 1 as gold,
        (answers.prediction = answers.label)::integer as is_right,
        list_transform(
            answers.logits, lambda z: exp((z - list_max(answers.logits)) / ways.temperature)
        ) as weights,
        list_transform(weights, lambda w: w / list_sum(weights)) as p
    from stg_predictions as answers
    inner join ways
        on answers.run = ways.run
    where answers.label is not null and ways.temperature is not null

),

binned as (

    select
        run,
        split,
        way,
        least(floor(list_max(p) * 15)::integer, 14) as bin,
        count(*) as n,
        sum(is_right) as n_right,
        sum(list_max(p)) as confidence,
        sum(-ln(greatest(p[gold], 1e-300))) as nll,
        sum(list_sum(list_transform(p, lambda q: q * q)) - 2 * p[gold] + 1) as brier
    from scaled
    group by run, split, way, bin

),

summed as (

    select
        run,
        split,
        way,
        sum(n) as n,
        sum(n_right) / sum(n) as accuracy,
        sum(confidence) / sum(n) as confidence,
        sum(abs(n_right - confidence)) / sum(n) as ece,
        sum(nll) / sum(n) as nll,
        sum(brier) / sum(n) as brier
    from binned
    group by run, split, way

)

select
    runs.run,
    runs.task,
    runs.recipe,
    runs.role,
    runs.student,
    runs.seed,
    summed.split,
    any_value(summed.n)::bigint as n,
    any_value(summed.accuracy) as accuracy,
    runs.temperature,
    any_value(summed.confidence) filter (where summed.way = 'raw') as confidence,
    any_value(summed.ece) filter (where summed.way = 'raw') as ece,
    any_value(summed.ece) filter (where summed.way = 'scaled') as ece_scaled,
    any_value(summed.nll) filter (where summed.way = 'raw') as nll,
    any_value(summed.nll) filter (where summed.way = 'scaled') as nll_scaled,
    any_value(summed.brier) filter (where summed.way = 'raw') as brier,
    any_value(summed.brier) filter (where summed.way = 'scaled') as brier_scaled
from summed
inner join stg_runs as runs
    on summed.run = runs.run
group by runs.run, runs.task, runs.recipe, runs.role, runs.student, runs.seed, summed.split, runs.temperature
