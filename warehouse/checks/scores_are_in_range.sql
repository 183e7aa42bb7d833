-- Accuracy and F1 lie in [0, 1], correlations in [-1, 1]; every score is finite
select
    run,
    split,
    metric,
    value
from stg_scores
where
    not isfinite(value)
    or abs(value) > 1 + 1e-9
    or (value < 0 and (metric like '%accuracy%' or metric like '%f1%'))
