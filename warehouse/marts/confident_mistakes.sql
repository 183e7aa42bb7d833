-- One row per run, split and row answered wrongly with a confidence of at least 0.9 (classification; teachers too).
select
    runs.run,
    runs.task,
    runs.recipe,
    runs.role,
    runs.student,
    runs.seed,
    predictions.split,
    predictions.id,
    predictions.text_a,
    predictions.text_b,
    predictions.label,
    predictions.prediction as answer,
    predictions.confidence
from stg_runs as runs
inner join stg_predictions as predictions
    on runs.run = predictions.run
where predictions.prediction <> predictions.label and predictions.confidence >= 0.9
