-- A run answers equal texts of a split in one way
select
    run,
    split,
    id,
    count(distinct score) as answers
from stg_predictions
group by run, split, id
having count(distinct score) > 1
