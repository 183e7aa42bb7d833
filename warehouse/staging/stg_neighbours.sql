-- One row per task, dev or test row and rank: its nearest training rows, nearest first.
select
    task as task_key,
    id,
    rank,
    neighbour,
    similarity
from raw.neighbours
