-- One row per student run and split (classification): how near it comes to its teacher, whatever the label says: equal
-- answers, KL(teacher || student) in nats, correlation of confidences, and the teacher's mistakes among its own. Equal
-- texts with equal labels count once.
with

texts as (

    select
        run,
        task,
        recipe,
        student,
        seed,
        teacher_run,
        split,
        id,
        label,
        any_value(student_answer) as student_answer,
        any_value(student_confidence) as student_confidence,
        any_value(student_logits) as student_logits,
        any_value(teacher_answer) as teacher_answer,
        any_value(teacher_confidence) as teacher_confidence,
        any_value(teacher_logits) as teacher_logits
    from stg_answer_pairs
    where kind = 'classification'
    group by all

),

logs as (

    select
        *,
        list_transform(student_logits, lambda z: z - list_max(student_logits)) as s,
        list_transform(teacher_logits, lambda z: z - list_max(teacher_logits)) as t,
        ln(list_sum(list_transform(s, lambda z: exp(z)))) as log_s,
        ln(list_sum(list_transform(t, lambda z: exp(z)))) as log_t
    from texts

)

select
    run,
    task,
    recipe,
    student,
    seed,
    teacher_run,
    split,
    count(*) as n,
    avg((student_answer = teacher_answer)::integer) as agreement,
    avg(list_sum(list_transform(
        list_zip(s, t), lambda z: exp(z[2] - log_t) * (z[2] - log_t - z[1] + log_s)
    ))) as kl,
    corr(student_confidence, teacher_confidence) as confidence_correlation,
    avg(student_confidence - teacher_confidence) as confidence_difference,
    count(*) filter (where student_answer <> label) as mistakes,
    count(*) filter (where teacher_answer <> label) as teacher_mistakes,
    count(*) filter (where student_answer <> label and teacher_answer <> label) as shared_mistakes,
    count(*) filter (where student_answer <> label and teacher_answer = student_answer) as same_mistakes,
    shared_mistakes / nullif(mistakes, 0) as share_of_mistakes
from logs
group by run, task, recipe, student, seed, teacher_run, split
