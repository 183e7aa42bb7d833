"""What a recipe would do before it does it: which stages would run, for how many rows, and why."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ByteSize

from kdpipe import modelfolder, transfer
from kdpipe.asking import asked
from kdpipe.errors import UserError
from kdpipe.evaluation import models, run_id, unanswered
from kdpipe.job import Job, model_key, teacher_of, transfer_key
from kdpipe.phases import missing_count, taught
from kdpipe.schema import Phase


@dataclass(frozen=True)
class Step:
    """What a stage would do: how many rows, and why."""

    stage: str
    what: str
    rows: int | None
    todo: bool
    reason: str


def plan(job: Job) -> list[Step]:
    """Which stages would run, for how many rows, and why; nothing is made."""
    steps, ready = [], True
    for phase in job.shared:
        step = _plan_shared(job, phase)
        steps.append(step)
        ready &= not step.todo
    for phase in taught(job):
        steps += _plan_taught(job, phase)
    for seed in job.recipe.seeds:
        steps += _plan_seed(job, seed, ready)
    return steps


def _plan_shared(job: Job, phase: Phase) -> Step:
    rows = len(job.recipe.task.splits["train"])
    if phase.checkpoint is not None:
        return Step(
            "teacher", f"bring {phase.checkpoint}", None, False, f"found in {modelfolder.find(phase.checkpoint)}"
        )
    key = model_key(job, phase, job.recipe.seeds[0])
    if job.place.has_model(key):
        return Step("teacher", f"train {phase.name}", rows, False, f"models/{key} is there")
    return Step("teacher", f"train {phase.name}", rows, True, f"no models/{key}: data, start or settings are new")


def _is_trained(job: Job, phase: Phase, seed: int) -> bool:
    """Whether a phase's model is there, or can be brought."""
    try:
        return phase.checkpoint is not None or job.place.has_model(model_key(job, phase, seed))
    except UserError:  # a model that it depends on is not there
        return False


def _plan_taught(job: Job, phase: Phase) -> list[Step]:
    key, gold = transfer_key(job, phase), len(job.recipe.task.splits["train"])
    whole = job.place.is_complete(job.place.transfer(key))
    rows = transfer.facts(job.place, key)["counts"]["rows"] if whole else None
    made = Step(
        "augment",
        f"transfer set of {phase.name}",
        rows or gold,
        not whole,
        f"transfer/set={key} is there"
        if whole
        else f"no transfer/set={key}: {gold} gold rows and what the operators make of them",
    )
    return [made, *(step for name in phase.asks for step in _plan_asked(job, phase, name, rows if whole else None))]


def _plan_asked(job: Job, phase: Phase, name: str, rows: int | None) -> list[Step]:
    """What one teacher is asked, of the first seed's; rows: of the transfer set, None where it is not made yet."""
    if rows is None or not _is_trained(job, job.recipe.named(name), job.recipe.seeds[0]):
        waits = "its rows are not made yet" if rows is None else "the teacher is not trained yet"
        return [Step("teach", f"ask {name}", rows, True, waits)]
    needs = asked(job, phase, job.recipe.seeds[0])
    steps = []
    if needs.kept:
        cache = teacher_of(job, name, job.recipe.seeds[0])
        lacking = missing_count(job, cache, needs.kept, job.place.transfer(transfer_key(job, phase)))
        what = "" if needs.kept == ("logits",) else f" ({', '.join(needs.kept)}: {_bytes(needs.kept_bytes)})"
        steps.append(Step("teach", f"ask {name}", lacking, lacking > 0,
                          f"{rows - lacking} of {rows} rows are in signals/teacher={cache.fingerprint}{what}"))
    if needs.live:
        todo = not all(_is_trained(job, phase, seed) for seed in job.recipe.seeds)
        steps.append(Step("teach", f"ask {name} live", rows, todo,
                          f"{', '.join(needs.live)}: {_bytes(needs.live_bytes)} would be kept, the recipe's budget is "
                          f"{_bytes(job.recipe.budget)}; asked batch by batch, in every epoch"))
    if not needs.kept and not needs.live:
        steps.append(Step("teach", f"ask {name}", 0, False, "no term of the loss reads it"))
    return steps


def _bytes(n: float) -> str:
    return ByteSize(n).human_readable(decimal=False)


def _plan_seed(job: Job, seed: int, ready: bool) -> list[Step]:
    phase, chained = job.recipe.final, len(job.students) > 1
    if not ready:
        return [
            Step("train", f"{phase.name} seed {seed}", None, True, "what it learns from is not there yet"),
            Step("evaluate", f"{phase.name} seed {seed}", None, True, "the model is not trained yet"),
        ]
    if chained and not all(job.place.has_model(model_key(job, p, seed)) for p in job.students[:-1]):
        return [
            Step("train", f"{phase.name} seed {seed}", None, True, "an earlier phase of its chain is not trained yet")
        ]
    key = model_key(job, phase, seed)
    there = job.place.has_model(key)
    runs = [run_id(job, part, seed, role) for part, role in models(job)]
    lacking = {run: splits for run in runs if (splits := unanswered(job, run))}
    rows = sum(len(job.recipe.task.splits[split]) for splits in lacking.values() for split in splits)
    return [
        Step(
            "train",
            f"{phase.name} seed {seed}",
            None,
            not there,
            f"models/{key} is there" if there else f"no models/{key}: rows, teacher or settings are new",
        ),
        Step(
            "evaluate",
            f"{phase.name} seed {seed}",
            rows,
            bool(lacking),
            f"no record of {', '.join(lacking)}, or no predictions" if lacking else f"runs/{runs[-1]}.json is there",
        ),
    ]
