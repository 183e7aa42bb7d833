"""How near the hot paths of a recipe come to what this machine can do: each beside its floor, measured in one run."""

from __future__ import annotations

import copy
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from kdpipe import transfer
from kdpipe.errors import UserError
from kdpipe.job import Job, load_model, model_folder, teacher_fingerprint, transfer_key
from kdpipe.modelfolder import Loaded
from kdpipe.predictions import speed
from kdpipe.progress import bar
from kdpipe.schema import Phase, transfer_settings
from kdpipe.signals.cache import Cache
from kdpipe.signals.live import Live, compute_type
from kdpipe.signals.said import Said
from kdpipe.store import Store
from kdpipe.types import Encoded, row_ids

if TYPE_CHECKING:
    from kdpipe.models import Model

REPEATS = 3


@dataclass(frozen=True)
class Measured:
    """One path. rate: units per second; share: of the floor's rate, None where there is no floor to hold it against."""

    path: str
    rate: float
    unit: str
    floor: str
    share: float | None
    bound: str


def bench(job: Job, rows: int = 2000) -> Iterator[Measured]:
    """Measure the paths of a recipe whose run is in the store, on at most so many rows, in a temporary store.

    Medians over three turns, floor and path one after the other. Raises UserError where the recipe asks no teacher
    or its models are not trained yet.
    """
    phase = job.recipe.final
    if phase.teacher is None:
        raise UserError(f"{job.recipe.name}: its last phase does not ask one teacher, so there is little to measure; "
                        "take tang2019, say")
    seed = job.recipe.seeds[0]
    if not job.place.is_complete(job.place.transfer(transfer_key(job, phase))) or not model_folder(
        job, phase, seed
    ).is_dir():
        raise UserError(f"{job.recipe.name}: not run yet in {job.store}; kdpipe run {job.recipe.name} first")
    teacher, student = load_model(job, job.recipe.named(phase.teacher), seed), load_model(job, phase, seed)
    sample = transfer.read(job.place, transfer_key(job, phase), ["id", "text_a", "text_b", "label"])
    sample = sample.take(np.random.default_rng(0).permutation(len(sample))[:rows])
    with tempfile.TemporaryDirectory(prefix="kdpipe-bench-") as folder, bar("bench", 7, "path") as advance:
        scratch = Path(folder)
        for path in (
            lambda: _augment(job, phase, scratch),
            lambda: _teach(job, phase, seed, teacher, sample, scratch),
            lambda: _look_up(job, phase, seed),
            lambda: _read(job, phase, seed),
            lambda: _train(job, phase, student, sample),
            lambda: _answer(job, student, teacher),
            _start,
        ):
            yield from path()
            advance(1)


def _augment(job: Job, phase: Phase, scratch: Path) -> Iterator[Measured]:
    """Making rows, tags known, against ids and Parquet of as many ready texts."""
    if not phase.augment:
        return
    store, key = Store(scratch / "made"), transfer_key(job, phase)

    def make() -> None:
        transfer.build(store, job.recipe.task, **transfer_settings(phase), workers=1)

    first = _seconds(make)
    again = statistics.median(_again(make, scratch / "made" / "transfer"))
    table = transfer.read(store, key)
    n = sum(transfer.facts(store, key)["counts"]["made"].values())
    gold = len(job.recipe.task.splits["train"])
    floor = _median(lambda: _write(store, table))
    if any(operator.needs_tags for operator in transfer.operators_of(phase.operators())) and first > again:
        yield Measured("tag gold text, once ever", gold / (first - again), "rows/s", "", None, "spaCy's tagger")
    yield Measured("augment, one core", n / again, "rows/s", "ids and Parquet of ready texts", floor / again,
                   "joining, hashing and compressing text")


def _again(work: Callable[[], Any], made: Path) -> Iterator[float]:
    for _ in range(REPEATS):
        shutil.rmtree(made, ignore_errors=True)
        yield _seconds(work)


def _write(store: Store, table: pa.Table) -> None:
    row_ids(table["text_a"], table["text_b"])
    store.remove_parts(store.parts(store.transfer("floor")))
    store.write_part(store.transfer("floor"), table)


def _teach(job: Job, phase: Phase, seed: int, teacher: Loaded, rows: pa.Table, scratch: Path) -> Iterator[Measured]:
    """Texts to stored logits against forward passes over ready batches."""
    from kdpipe import batches, train

    compute = compute_type(job.on, job.recipe.named(phase.teacher).compute)
    live = Live(teacher, teacher_fingerprint(job, phase.teacher, seed), job.on, compute)
    encoded = live.prepare(rows)
    length = batches.lengths(encoded)
    plan = batches.by_length(length, *train.INFERENCE[_kind(job)])
    padded = sum(len(batch) * int(length[batch].max()) for batch in plan)
    taken = []
    for i in range(REPEATS):
        cache = Cache(Store(scratch / f"teach{i}"), live.fingerprint, lambda: live, job.recipe.task.outputs, {})
        ours = _seconds(lambda cache=cache: cache.fill("logits", [rows], len(rows)))
        taken.append((ours, _seconds(lambda: _forward(live, encoded, plan))))
    ours, floor = map(statistics.median, zip(*taken, strict=True))
    yield Measured("teach", len(rows) / ours, "rows/s", "forward passes over ready batches", floor / ours,
                   f"matrix products of the teacher; padding {1 - length.sum() / padded:.1%} of tokens")


def _forward(live: Live, encoded: Encoded, plan: list[np.ndarray]) -> None:
    import torch

    from kdpipe.batches import collate, to_device

    ready, device = [collate(encoded, rows) for rows in plan], torch.device(live.device)
    with torch.inference_mode(), torch.autocast(device.type, live.dtype, enabled=live.dtype is not None):
        for batch in ready:
            live.model(to_device(batch, device)).logits.cpu()


def _look_up(job: Job, phase: Phase, seed: int) -> Iterator[Measured]:
    """Which rows of the transfer set are missing: nearly always none."""
    cache, folder = _cache(job, phase, seed), job.place.transfer(transfer_key(job, phase))

    def missing() -> int:
        stored = cache.stored("logits")
        return sum(len(cache.missing(rows, stored)) for rows in job.place.scan(folder, ["id"]))

    n = len(job.place.read(folder, ["id"]))
    yield Measured("look for missing rows", n / _median(missing), "rows/s", "", None, "reading ids, one sort")


def _read(job: Job, phase: Phase, seed: int) -> Iterator[Measured]:
    """All logits in the order of the transfer set, against a scan of the same files."""
    cache, place = _cache(job, phase, seed), job.place
    ids = place.read(place.transfer(transfer_key(job, phase)), ["id"])["id"]
    folder = place.signals(cache.fingerprint, "logits")
    ours = _median(lambda: cache.read("logits", ids))
    floor = _median(lambda: ds.dataset(folder, filesystem=place.fs, format="parquet").to_table())
    yield Measured("read logits for training", len(ids) / ours, "rows/s", "plain Parquet scan", floor / ours,
                   "memory: checking bytes, joining by id")


def _cache(job: Job, phase: Phase, seed: int) -> Cache:
    return Cache(job.place, teacher_fingerprint(job, phase.teacher, seed), lambda: None, job.recipe.task.outputs, {})


def _train(job: Job, phase: Phase, student: Loaded, rows: pa.Table) -> Iterator[Measured]:
    """An epoch of the training loop against the bare network with every tensor ready."""
    from kdpipe import train
    from kdpipe.objectives.logit_mse import LogitMSE
    from kdpipe.schedules import as_schedule

    encoded = student.vocab.encode(rows, student.max_length)
    said = np.random.default_rng(0).standard_normal((len(rows), job.recipe.task.outputs)).astype(np.float32)
    settings = replace(train.Settings(**phase.train), epochs=1, patience=None)
    terms, labels = [train.Term(LogitMSE(), as_schedule(1.0))], np.full(len(rows), np.nan)
    taken, model = [], copy.deepcopy(student.model)  # the loaded one may be served to others
    for _ in range(REPEATS):
        teacher = Said(len(rows), model.shape, {"logits": said})
        fitted = train.fit(model, terms, encoded, labels, teacher, settings, lambda: 0.0, 0, job.on)
        taken.append((fitted.rows_per_second, _bare(job, model, encoded, said, settings)))
    ours, floor = map(statistics.median, zip(*taken, strict=True))
    yield Measured("train a student", ours, "rows/s", "the bare network on ready tensors", ours / floor,
                   "the network's own arithmetic")


def _bare(job: Job, model: Model, encoded: Encoded, said: np.ndarray, settings: Any) -> float:
    import torch
    from torch.nn import functional

    from kdpipe import batches, train
    from kdpipe.optim import Optimiser

    device = torch.device(job.on)
    model.to(device).train()
    order = batches.shuffled(batches.lengths(encoded), settings.batch_size, 0, 1)
    ready = [(batches.to_device(batches.collate(encoded, rows), device), torch.from_numpy(said[rows]).to(device))
             for rows in order]
    with train.cores_for(model), Optimiser(model, settings.optimizer, settings.lr) as optimiser:
        start = time.perf_counter()
        for batch, target in ready:
            functional.mse_loss(model(batch).logits, target).backward()
            optimiser.step(1.0, settings.clip)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return len(encoded) / (time.perf_counter() - start)


def _answer(job: Job, student: Loaded, teacher: Loaded) -> Iterator[Measured]:
    """Text to answer on one core of the CPU, the student's rate as a multiple of the teacher's."""
    dev = job.recipe.task.splits["dev"]
    for ours, theirs in zip(speed(student, dev), speed(teacher, dev), strict=True):
        rate, batch = ours["rows_per_second"], ours["batch"]
        yield Measured(f"answer, one core, batch {batch}", rate, "rows/s", "", None,
                       f"{rate / theirs['rows_per_second']:.0f} x the teacher")


def _start() -> Iterator[Measured]:
    seconds = _median(lambda: subprocess.run([sys.executable, "-m", "kdpipe.cli", "--help"], capture_output=True))
    yield Measured("start of a command", 1 / seconds, "a second", "", None, "imports")


def _kind(job: Job) -> str:
    return job.on.split(":")[0]


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _median(work: Callable[[], Any]) -> float:
    return statistics.median(_seconds(work) for _ in range(REPEATS))
