-- Logits are finite, a prediction is their largest (regression: the first), and a confidence lies in (0, 1]
select
    answers.run,
    answers.split,
    answers.id,
    answers.logits,
    answers.score,
    answers.confidence
from stg_predictions as answers
inner join stg_runs as runs
    on answers.run = runs.run
where
    list_bool_or(list_transform(answers.logits, lambda logit: not isfinite(logit)))
    or answers.confidence <= 0
    or answers.confidence > 1 + 1e-6
    or (runs.kind = 'classification' and answers.score <> list_position(answers.logits, list_max(answers.logits)) - 1)
    or (runs.kind = 'regression' and abs(answers.score - answers.logits[1]) > 1e-5 * greatest(1, abs(answers.score)))
