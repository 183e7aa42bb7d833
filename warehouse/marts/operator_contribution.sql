-- One row per task, transfer set, teacher and operator: its rows, what the teacher says of them, and how the students
-- that learned from the whole set scored. Operators of one set share those scores; sets with one operator tell them apart.
with

students as (

    select
        runs.task,
        runs.transfer_set,
        runs.teacher,
        runs.kind,
        runs.labels,
        runs.dev_score,
        runs.test_score,
        avg(labels_only.dev_score) as dev_labels_only,
        avg(labels_only.test_score) as test_labels_only
    from stg_runs as runs
    left join stg_runs as labels_only
        on runs.task_key = labels_only.task_key
        and runs.student = labels_only.student
        and runs.metric = labels_only.metric
        and labels_only.is_baseline
        and labels_only.is_latest
    where runs.role = 'student' and runs.is_latest and runs.teacher is not null
        and coalesce((runs.settings ->> '$.phases[#-1].share')::double, 1) = 1
    group by
        runs.run,
        runs.task,
        runs.transfer_set,
        runs.teacher,
        runs.kind,
        runs.labels,
        runs.dev_score,
        runs.test_score

),

sets as (

    select
        task,
        transfer_set,
        teacher,
        kind,
        labels,
        count(*) as runs,
        avg(dev_score) as dev_mean,
        avg(dev_score - dev_labels_only) as dev_gain,
        avg(test_score) as test_mean,
        avg(test_score - test_labels_only) as test_gain
    from students
    group by all

),

gold as (

    select transfer_set, id, min(label) as label
    from stg_transfer
    where operator = 'gold'
    group by transfer_set, id

),

lines as (

    select
        sets.*,
        made.operator,
        case when sets.kind = 'classification' then signals.confidence end as confidence,
        case when sets.kind = 'classification' then signals.answer_index = gold.label end as kept
    from sets
    inner join stg_transfer as made
        on sets.transfer_set = made.transfer_set
    left join gold
        on made.transfer_set = gold.transfer_set
        and made.source = gold.id
    left join stg_signals as signals
        on sets.teacher = signals.teacher
        and made.id = signals.id

)

select
    task,
    transfer_set,
    teacher,
    operator,
    count(*) as rows,
    count(*) / sum(count(*)) over (partition by task, transfer_set, teacher) as share,
    avg(confidence) as teacher_confidence,
    avg(kept::integer) as label_kept,
    runs,
    dev_mean,
    dev_gain,
    test_mean,
    test_gain
from lines
group by task, transfer_set, teacher, operator, runs, dev_mean, dev_gain, test_mean, test_gain
order by task, transfer_set, teacher, rows desc, operator
