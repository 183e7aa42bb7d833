-- One row per run and stage: the seconds that the stage's work took, whether this run paid for them, and its share of
-- them: a transfer set (augment) and a teacher's answers to it (teach) serve all runs that use them.
with

stages as (

    select
        runs.run,
        runs.task,
        runs.recipe,
        runs.role,
        runs.student,
        runs.seed,
        stages.stage,
        stages.seconds,
        stages.rows,
        stages.reused,
        case stages.stage
            when 'augment' then runs.transfer_set
            when 'teach' then runs.transfer_set || '|' || runs.teacher
        end as shared_key
    from stg_runs as runs
    inner join stg_stages as stages
        on runs.run = stages.run

)

select
    run,
    task,
    recipe,
    role,
    student,
    seed,
    stage,
    rows,
    reused,
    seconds,
    case when reused then 0 else seconds end as seconds_paid,
    count(*) over same_work as shared_by,
    seconds / shared_by as seconds_shared
from stages
window same_work as (partition by stage, coalesce(shared_key, run))
