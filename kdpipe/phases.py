"""What a recipe does: the stages augment, teach, train and evaluate over the rooms below. Each does nothing when
its output is already in the store."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from kdpipe import modelfolder, transfer
from kdpipe.asking import Asked, asked
from kdpipe.errors import memory_said_plainly
from kdpipe.evaluation import evaluate
from kdpipe.idset import IdSet
from kdpipe.job import Job, Report, model_folder, model_key, teacher_of, transfer_key, transfer_set
from kdpipe.schema import Phase
from kdpipe.signals.cache import Cache
from kdpipe.store import Store
from kdpipe.training import is_small, prepare_vectors, train_phase
from kdpipe.workers import apart, in_order, processes

SLICE = 32_768  # rows that one teach shard looks at


@memory_said_plainly("teachers")
def teachers(job: Job) -> list[str]:
    """Train or bring all models that seeds share; their folders' names."""
    return [Path(prepare(job, phase, job.recipe.seeds[0])).name for phase in job.shared]


def prepare(job: Job, phase: Phase, seed: int) -> str:
    """The folder of a phase's model, trained first where it is not there."""
    if phase.checkpoint is None and not job.place.has_model(model_key(job, phase, seed)):
        train_phase(job, phase, seed)
    folder = model_folder(job, phase, seed)
    modelfolder.check_weights(folder, in_store=phase.checkpoint is None)
    return str(folder)


@memory_said_plainly("augment")
def augment(job: Job) -> Report:
    """Make the transfer sets of all phases that ask a teacher."""
    start, rows, reused, detail = time.perf_counter(), 0, True, {}
    for phase in taught(job):
        counts, old = transfer_set(job, phase)
        detail[phase.name], rows, reused = counts, rows + counts["rows"], reused and old
    return Report("augment", time.perf_counter() - start, rows, reused, detail)


def taught(job: Job) -> list[Phase]:
    return [p for p in job.recipe.phase if p.asks]


def dropped(job: Job) -> list[pa.Table]:
    """What was kept out of a job's transfer sets for being like a dev or test row: schema LEAKS."""
    folders = {job.place.leaks(transfer_key(job, phase)) for phase in taught(job)}
    return [found for folder in sorted(folders) if (found := job.place.read(folder)) is not None]


@memory_said_plainly("teach")
def teach(job: Job) -> Report:
    """Ask every teacher that is there for the rows that its cache lacks."""
    start, new, rows, detail = time.perf_counter(), 0, 0, {}
    for phase, seed in askable(job):
        key, needs = transfer_key(job, phase), asked(job, phase, seed)
        folder = job.place.transfer(key)
        rows += transfer.facts(job.place, key)["counts"]["rows"]
        for name in phase.asks if needs.kept else ():
            cache = teacher_of(job, name, seed)
            lacking = missing_count(job, cache, needs.kept, folder)
            new += _ask(job, cache, key, needs, _rows_of(job.place, folder), lacking, name)
            detail |= _costs_of_types(cache, name)
    return Report("teach", time.perf_counter() - start, rows, new == 0, {"asked": new, **detail})


def _costs_of_types(cache: Cache, teacher: str) -> dict[str, str]:
    """How far a teacher that was asked in int8 was from itself in fp32, and states in float16 from float32."""
    agreement, rounding = getattr(cache.source, "agreement", None), getattr(cache.source, "rounding", {})
    said = {f"agreement of {teacher}": str(agreement)} if agreement else {}
    return said | {f"{signal} of {teacher}": str(found) for signal, found in rounding.items()}


def _ask(job: Job, cache: Cache, key: str, needs: Asked, tables: Iterable[pa.Table], total: int, title: str) -> int:
    start = time.perf_counter()
    new = cache.fill(needs.kept, tables, total, title, needs.besides)
    if new:
        job.place.add_cost("teach", f"{cache.fingerprint}-{key}", time.perf_counter() - start, new)
    return new


def askable(job: Job) -> Iterator[tuple[Phase, int]]:
    """Phases whose teachers are shared by all seeds; a chain's later teachers are asked when they are trained."""
    shared = {p.name for p in job.shared}
    yield from ((p, job.recipe.seeds[0]) for p in taught(job) if shared.issuperset(p.asks))


def _rows_of(store: Store, folder: str) -> Iterator[pa.Table]:
    return store.scan(folder, ["id", "text_a", "text_b"])


def missing_count(job: Job, cache: Cache, signals: Sequence[str], folder: str) -> int:
    stored, lacking = cache.stored(*signals), IdSet()
    for rows in job.place.scan(folder, ["id"]):
        cache.missing(rows, stored, lacking)
    return len(lacking)


def teach_shards(job: Job) -> list[dict[str, Any]]:
    """The slices of the transfer sets that have rows to be asked, as plain values."""
    found = []
    for phase, seed in askable(job):
        needs = asked(job, phase, seed)
        for name in phase.asks if needs.kept else ():
            found += [{"phase": phase.name, "teacher": name, **piece}
                      for piece in _lacking_pieces(job, phase, teacher_of(job, name, seed), needs)]
    return found


def _lacking_pieces(job: Job, phase: Phase, cache: Cache, needs: Asked) -> Iterator[dict[str, Any]]:
    stored, seen, store = cache.stored(*needs.kept), IdSet(), job.place
    for path in store.parts(store.transfer(transfer_key(job, phase))):
        ids = store.read_part(path, ["id"])
        for start in range(0, len(ids), SLICE):
            lacking = len(cache.missing(ids.slice(start, SLICE), stored, seen))
            if lacking:
                yield {"part": path, "start": start, "missing": lacking}


@memory_said_plainly("teach shard")
def teach_shard(job: Job, shard: dict[str, Any]) -> Report:
    """Ask for what one slice lacks. Safe to repeat: what is stored is not asked again."""
    start, phase = time.perf_counter(), job.recipe.named(shard["phase"])
    name, needs = shard["teacher"], asked(job, phase, job.recipe.seeds[0])
    cache = teacher_of(job, name, job.recipe.seeds[0])
    rows = job.place.read_part(shard["part"], ["id", "text_a", "text_b"]).slice(shard["start"], SLICE)
    new = _ask(job, cache, transfer_key(job, phase), needs, [rows], shard["missing"], name)
    detail = {"asked": new, **_costs_of_types(cache, name)}
    return Report("teach", time.perf_counter() - start, len(rows), new == 0, detail)


@memory_said_plainly("train")
def train(job: Job, seed: int) -> Report:
    """Train the student phases of one seed that are not trained yet."""
    start, reused = time.perf_counter(), True
    for phase in job.students:
        if not job.place.has_model(model_key(job, phase, seed)):
            train_phase(job, phase, seed)
            reused = False
    rows = _training_rows(job, job.recipe.final)
    return Report("train", time.perf_counter() - start, rows, reused, {"seed": seed})


def _training_rows(job: Job, phase: Phase) -> int:
    if not phase.asks:
        return len(job.recipe.task.splits["train"])
    return transfer.facts(job.place, transfer_key(job, phase))["counts"]["rows"]


def train_apart(job: Job, seed: int) -> Report:
    """`train` in a process of its own, so that several seeds can be trained side by side."""
    return train(job, seed) if _trained(job, seed) else apart(side_by_side(job), train, job, seed)


def side_by_side(job: Job) -> int:
    """How many seeds are trained at a time: small networks gain little from a second core, large ones fill them all."""
    return job.workers or processes(len(job.recipe.seeds)) if on_one_core(job) else 1


def on_one_core(job: Job) -> bool:
    """Whether all students of a recipe are trained on one core of a CPU."""
    return job.on == "cpu" and all(map(is_small, job.students))


@memory_said_plainly("train")
def train_all(job: Job) -> list[Report]:
    """The students of all seeds."""
    workers = min(sum(not _trained(job, seed) for seed in job.recipe.seeds), side_by_side(job))
    if workers > 1:
        prepare_vectors(job)
    return list(in_order(train, [(job, seed) for seed in job.recipe.seeds], workers))


def _trained(job: Job, seed: int) -> bool:
    return all(job.place.has_model(model_key(job, p, seed)) for p in job.students)


def run(job: Job) -> list[str]:
    """Everything, in order; run ids. The first seed's record carries what the shared stages cost this time."""
    teachers(job)
    shared = [augment(job), teach(job)]
    trained = train_all(job)
    return [evaluate(job, seed, [*(shared if i == 0 else ()), trained[i]]) for i, seed in enumerate(job.recipe.seeds)]
