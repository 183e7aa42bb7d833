-- Every prediction belongs to a recorded run
select
    predictions.run,
    count(*) as rows
from stg_predictions as predictions
anti join stg_runs as runs
    on predictions.run = runs.run
group by predictions.run
