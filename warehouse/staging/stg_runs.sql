-- One row per run. `is_latest` marks the runs that comparisons count: of each task, recipe, phase, role, student and
-- list of operators, with or without unlabelled rows, the newest settings (all but the seed), and of these the newest run of each seed.
-- `variant` is a key of all settings but the seed; `rows_seen` how many rows the last phase was to learn from in all its epochs.
-- `is_baseline` marks the students on labels alone that others of their kind are held against.
with

runs as (

    select
        *,
        started::timestamptz at time zone 'UTC' as started_utc,
        md5(concat_ws(
            '|', task_key, json_merge_patch(coalesce(settings, '{}'), '{"seed": null, "seeds": null}')::varchar
        )) as variant,
        coalesce(list_sum(list_transform(
            list_filter(transfer_counts, lambda made: made.operator = 'unlabelled'), lambda made: made.rows
        )), 0)::bigint as unlabelled_rows
    from raw.runs

)

select
    run,
    task,
    task_key,
    kind,
    labels,
    recipe,
    phase,
    role,
    student,
    seed,
    started_utc as started,
    seconds,
    metric,
    dev_score,
    test_score,
    teacher_run,
    teacher,
    transfer as transfer_set,
    model as model_key,
    teacher_rows_asked,
    coalesce(operators, []) as operators,
    unlabelled_rows,
    parameters.total as parameters,
    parameters.embedding as embedding_parameters,
    parameters.non_embedding as non_embedding_parameters,
    best_epoch,
    list_filter(stages, lambda stage: stage.stage = 'train')[1].rows
    * coalesce((settings ->> '$.phases[#-1].train.epochs')::bigint, 30) as rows_seen,
    temperature,
    device,
    speed as speeds,
    stages,
    settings,
    versions,
    git.commit as git_commit,
    git.dirty as git_dirty,
    machine,
    variant,
    variant = first_value(variant) over group_newest_first
    and row_number() over seed_newest_first = 1 as is_latest,
    role = 'student' and recipe in ('labels_only', 'labels_only_bert') as is_baseline,
    file
from runs
window
    group_newest_first as (
        partition by task, recipe, phase, role, student, operators, unlabelled_rows
        order by started_utc desc, run desc
    ),
    seed_newest_first as (
        partition by task, recipe, phase, role, student, operators, unlabelled_rows, variant, seed
        order by started_utc desc, run desc
    )
