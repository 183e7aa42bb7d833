-- Accuracies of probes are shares of the rows they were scored on
select
    weights,
    task,
    layer,
    split,
    accuracy,
    majority,
    n
from stg_probes
where not (accuracy between 0 and 1 and majority between 0 and 1 and n > 0
    and abs(accuracy * n - round(accuracy * n)) < 0.001)
