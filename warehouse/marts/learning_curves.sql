-- One row per run and epoch: training loss, dev score, seconds since training began, and whether the epoch was kept.
select
    runs.run,
    runs.task,
    runs.recipe,
    runs.phase,
    runs.role,
    runs.student,
    runs.seed,
    curves.epoch,
    curves.loss,
    curves.dev_score,
    sum(curves.seconds) over (partition by runs.run order by curves.epoch) as seconds,
    curves.epoch = runs.best_epoch as is_best
from stg_runs as runs
inner join stg_curves as curves
    on runs.run = curves.run
