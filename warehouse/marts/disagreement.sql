-- One row per ordered pair of runs of one task, split and text that they answer differently.
-- Ask for two runs: where run_1 = '...' and run_2 = '...'.
select
    runs_1.task,
    runs_1.run as run_1,
    runs_2.run as run_2,
    answers_1.split,
    answers_1.id,
    any_value(answers_1.text_a) as text_a,
    any_value(answers_1.text_b) as text_b,
    coalesce(answers_1.label, round(answers_1.target, 2)::varchar) as label,
    any_value(coalesce(answers_1.prediction, round(answers_1.score, 2)::varchar)) as answer_1,
    any_value(coalesce(answers_2.prediction, round(answers_2.score, 2)::varchar)) as answer_2,
    any_value(answers_1.confidence) as confidence_1,
    any_value(answers_2.confidence) as confidence_2,
    any_value(case when runs_1.kind = 'regression' then abs(answers_1.score - answers_2.score) end) as difference
from stg_runs as runs_1
inner join stg_runs as runs_2
    on runs_1.task_key = runs_2.task_key
    and runs_1.run <> runs_2.run
inner join stg_predictions as answers_1
    on runs_1.run = answers_1.run
inner join stg_predictions as answers_2
    on runs_2.run = answers_2.run
    and answers_1.split = answers_2.split
    and answers_1.id = answers_2.id
    and answers_1.score <> answers_2.score
group by runs_1.task, runs_1.run, runs_2.run, answers_1.split, answers_1.id, answers_1.label, answers_1.target
