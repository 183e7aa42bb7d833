-- One row per text or pair of texts that runs answered, in lower case, for search.
select id, lower(concat_ws(' ', any_value(text_a), any_value(text_b))) as text
from raw.predictions
group by id
