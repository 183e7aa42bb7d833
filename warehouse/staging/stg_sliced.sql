-- One row per run, split and row of that split: what the run answered, and the slices that the row is in: its length in
-- words of white space, negation, words unknown to the run's vocabulary, and those that were saved by name.
with

answers as (

    select
        *,
        lower(concat_ws(' ', text_a, text_b)) as text,
        len(regexp_extract_all(text, '\S+')) as words
    from raw.predictions

),

saved as (

    select id, list_sort(list(distinct slice)) as slices
    from raw.saved
    group by id

)

select
    answers.run,
    answers.split,
    answers.id,
    answers.text_a,
    answers.text_b,
    answers.label,
    answers.target,
    answers.prediction,
    answers.score,
    answers.confidence,
    answers.prediction = answers.label as is_right,
    case when answers.label is null then abs(answers.score - answers.target) end as error,
    case
        when answers.words <= 5 then '00-05 words'
        when answers.words <= 10 then '06-10 words'
        when answers.words <= 20 then '11-20 words'
        when answers.words <= 40 then '21-40 words'
        else '41 words or more'
    end as length,
    case
        when regexp_matches(
            answers.text,
            '\b(not|no|never|nobody|nothing|none|nowhere|neither|nor|cannot|without)\b|n[''’]t\b'
        ) then 'yes'
        else 'no'
    end as negation,
    case when answers.n_unknown < 2 then answers.n_unknown::varchar else '2 or more' end as unknown_words,
    coalesce(saved.slices, []) as saved
from answers
left join saved
    on answers.id = saved.id
