-- A record lies in the file of its name, and its dev and test score are those of its main metric
select
    runs.run,
    runs.file,
    scores.split,
    scores.value,
    runs.dev_score,
    runs.test_score
from stg_runs as runs
left join stg_scores as scores
    on runs.run = scores.run
    and runs.metric = scores.metric
where
    runs.run || '.json' <> runs.file
    or (scores.split = 'dev' and scores.value is distinct from runs.dev_score)
    or (scores.split = 'test' and scores.value is distinct from runs.test_score)
