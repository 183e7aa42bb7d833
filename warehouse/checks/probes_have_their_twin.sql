-- Beside every probe stands that of the untrained twin, on as many rows
select
    models.name,
    probes.task,
    probes.layer,
    probes.split,
    probes.n,
    twins.n as n_of_twin
from stg_probed as models
inner join stg_probes as probes
    on models.weights = probes.weights
left join stg_probes as twins
    on models.untrained = twins.weights
    and probes.task_key = twins.task_key
    and probes.protocol = twins.protocol
    and probes.layer = twins.layer
    and probes.split = twins.split
where twins.n is distinct from probes.n
