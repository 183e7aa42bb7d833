-- A perturbed text was made of one that its run answered in the same split, and is another
select
    perturbed.run,
    perturbed.split,
    perturbed.perturbation,
    perturbed.id,
    perturbed.text_a
from stg_perturbed as perturbed
left join stg_predictions as answers
    on perturbed.run = answers.run
    and perturbed.split = answers.split
    and perturbed.id = answers.id
where answers.id is null or perturbed.id = perturbed.perturbed_id
