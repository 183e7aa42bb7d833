-- One row per run, split and perturbation: scores on the labelled texts that it changes, as they are and as changed.
with

scores as (

    select
        run,
        split,
        unnest(scores) as score
    from raw.perturbed_scores

)

select
    run,
    split,
    score.perturbation as perturbation,
    score.says as says,
    score.keeps_label as keeps_label,
    score.metric as metric,
    score.clean as clean,
    score.perturbed as perturbed,
    -score.high as drop_low, -- stored is the interval of perturbed - clean
    -score.low as drop_high,
    score.p_holm as p_holm,
    score.verdict as verdict
from scores
