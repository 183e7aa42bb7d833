"""A recipe in a store on a device, and the keys of all that it makes: equal content, equal key."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from kdpipe import modelfolder, transfer
from kdpipe.errors import UserError
from kdpipe.modelfolder import Loaded
from kdpipe.schema import Phase, Recipe, transfer_settings
from kdpipe.signals.cache import Cache, made_by
from kdpipe.signals.live import Live, compute_type, pick_device
from kdpipe.store import Store
from kdpipe.types import Kind, content_key

SCHEMA = "1"  # part of every key: a change of meaning makes anew what was made before


@dataclass(frozen=True)
class Report:
    """What a stage did. `reused`: its output was there already."""

    stage: str
    seconds: float
    rows: int
    reused: bool
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """A recipe to be carried out in a store on a device.

    workers: processes at most that make rows or train small students side by side; None: as many as there are cores and
    work for. on: the device that was found.
    Raises UserError where there is no device as asked, or where a phase cannot answer on it in the type that it is to
    compute in.
    """

    recipe: Recipe
    store: str = "warehouse/store"
    device: str = "auto"
    workers: int | None = None
    on: str = field(init=False)

    def __post_init__(self) -> None:
        on = pick_device(self.device)
        for phase in self.recipe.phase:
            compute_type(on, phase.compute)
        object.__setattr__(self, "on", on)

    @cached_property
    def place(self) -> Store:
        return Store(self.store)

    @property
    def students(self) -> tuple[Phase, ...]:
        """The phases that are trained once for each seed of the recipe."""
        return tuple(p for p in self.recipe.phase if p.seed is None and p.checkpoint is None)

    @property
    def shared(self) -> tuple[Phase, ...]:
        """The phases whose model all seeds share: brought, or trained with a seed of their own."""
        return tuple(p for p in self.recipe.phase if p not in self.students)


def model_key(job: Job, phase: Phase, seed: int) -> str:
    """Key of a phase's model. The models that it depends on must be there."""
    if phase.checkpoint is not None:
        return content_key("brought", str(modelfolder.find(phase.checkpoint)))
    source = job.recipe.embeddings_from(phase)
    return content_key(
        "model",
        SCHEMA,
        job.recipe.task.key(),
        job.recipe.task.metrics[0],
        drawn_seed(job, phase, seed),
        transfer_key(job, phase) if phase.asks else None,
        [teacher_fingerprint(job, name, seed) for name in phase.asks],
        [teacher_fingerprint(job, name, seed) for name in (source, phase.start, *phase.members) if name],
        _files_key(job, phase, seed),
        _settled(job, phase),
        job.on.split(":")[0],
    )


def _settled(job: Job, phase: Phase) -> dict[str, Any]:
    """Everything that a recipe says of a training."""
    settings = {
        "model": job.recipe.model_part(phase).settings(),
        "vocab": phase.vocab and phase.vocab.settings(),
        "embeddings": phase.embeddings and phase.embeddings.without("from").settings(),
        "loss": [part.settings() for part in phase.loss],
        "combine": phase.combine.settings(),
        "states": [job.recipe.named(name).states for name in phase.asks],
        "train": phase.train,
        "max_length": phase.max_length,
        **({"share": phase.share} if phase.share < 1 else {}),
    }
    return settings


def _files_key(job: Job, phase: Phase, seed: int) -> list[str | None]:
    """What a training reads from files that the recipe only names: checkpoints, vectors, another phase's tokenizer."""
    vectors = phase.embeddings.arguments.get("path") if phase.embeddings else None
    asked = [part.arguments["from"] for part in (phase.vocab, phase.model) if part and part.arguments.get("from")]
    return [
        *(_start_key(name) for name in _checkpoints(phase.model.arguments)),
        modelfolder.digest(Path(vectors)) if vectors else None,
        *(teacher_fingerprint(job, name, seed) for name in asked),
    ]


def _checkpoints(arguments: Mapping[str, Any]) -> Iterator[str]:
    for key, value in arguments.items():
        if isinstance(value, Mapping):
            yield from _checkpoints(value)
        elif key == "checkpoint" and value:
            yield value


def _start_key(checkpoint: str) -> str:
    folder = modelfolder.find(checkpoint)
    modelfolder.check_weights(folder)
    return modelfolder.fingerprint(folder, (), 0, "start")


def transfer_key(job: Job, phase: Phase) -> str:
    return transfer.key(job.recipe.task, **transfer_settings(phase))


def own_seed(phase: Phase, seed: int) -> int:
    return seed if phase.seed is None else phase.seed


def drawn_seed(job: Job, phase: Phase, seed: int) -> int:
    """The seed of a phase's weights, order of rows and dropout: its own, but for a network that learns from one of its
    own kind. Each generation is drawn anew (Furlanello et al. 2018, arXiv:1805.04770, section 3)."""
    own, generation = own_seed(phase, seed), _generation(job.recipe, phase)
    return own if not generation else int(content_key("generation", own, generation)[:8], 16)


def _generation(recipe: Recipe, phase: Phase) -> int:
    """How many teachers in a row have the phase's own model and vocabulary."""
    older = [recipe.named(name) for name in phase.asks]
    alike = [p for p in older if p.model is not None and (p.model, p.vocab) == (phase.model, phase.vocab)]
    return max((1 + _generation(recipe, p) for p in alike), default=0)


def model_folder(job: Job, phase: Phase, seed: int) -> Path:
    """Where a phase's model lies: brought, or made by `train_phase`."""
    if phase.checkpoint is not None:
        return modelfolder.find(phase.checkpoint)
    return job.place.local_model(model_key(job, phase, seed))


def teacher_fingerprint(job: Job, name: str, seed: int) -> str:
    phase = job.recipe.named(name)
    folder = model_folder(job, phase, seed)
    if not folder.is_dir():
        raise UserError(
            f"{job.recipe.name} -> {name}: its model is not trained yet; run the teach stage first "
            "('augment-and-teach', or kdpipe run)"
        )
    modelfolder.check_weights(folder, in_store=phase.checkpoint is None)
    return modelfolder.fingerprint(
        folder, job.recipe.task.labels, _max_length(folder, phase), compute_type(job.on, phase.compute),
        phase.label_names,
    )


def _max_length(folder: Path, phase: Phase) -> int:
    return modelfolder.read_card(folder).max_length if (folder / modelfolder.CARD).is_file() else phase.max_length


def teacher_of(job: Job, name: str, seed: int) -> Cache:
    """The cache of a phase that is asked; its model is loaded at the first row that is missing."""
    asked = job.recipe.named(name)
    fingerprint = teacher_fingerprint(job, asked.name, seed)
    folder, compute = model_folder(job, asked, seed), compute_type(job.on, asked.compute)
    task = job.recipe.task
    return Cache(
        job.place,
        fingerprint,
        lambda: live(job, name, seed),
        task.outputs,
        made_by(
            fingerprint,
            {
                "task": task.name,
                "kind": task.kind,
                "labels": task.labels,
                "folder": folder.name,
                "checkpoint": asked.checkpoint and _portable(asked.checkpoint),
                "label_names": asked.label_names,
                "max_length": _max_length(folder, asked),
                "compute": compute,
            },
        ),
    )


def live(job: Job, name: str, seed: int) -> Live:
    """A phase's model, ready to be asked."""
    asked = job.recipe.named(name)
    return Live(load_model(job, asked, seed), teacher_fingerprint(job, name, seed), job.on,
                compute_type(job.on, asked.compute))


def _portable(checkpoint: str) -> str:
    """A name as it was said; a folder with its whole path, so that it is found from another working folder too."""
    return str(Path(checkpoint).resolve()) if Path(checkpoint).is_dir() else checkpoint


def load_model(job: Job, phase: Phase, seed: int) -> Loaded:
    task = job.recipe.task
    folder, fingerprint = model_folder(job, phase, seed), teacher_fingerprint(job, phase.name, seed)
    return _load(str(folder), fingerprint, task.labels, task.kind, phase.label_names, phase.max_length)


@lru_cache(maxsize=2)
def _load(
    folder: str, fingerprint: str, labels: tuple[str, ...], kind: Kind, names: tuple[str, ...] | None, max_length: int
) -> Loaded:
    """Kept by the fingerprint too: a folder that was written over is another model."""
    return modelfolder.load(folder, labels, kind, names, max_length)


def transfer_set(job: Job, phase: Phase) -> tuple[dict[str, Any], bool]:
    """The counts of a phase's transfer set, made first where it is not there, and whether it was there."""
    start, key = time.perf_counter(), transfer_key(job, phase)
    if job.place.is_complete(job.place.transfer(key)):
        return transfer.facts(job.place, key)["counts"], True
    transfer.build(job.place, job.recipe.task, **transfer_settings(phase), workers=job.workers)
    counts = transfer.facts(job.place, key)["counts"]
    job.place.add_cost("augment", key, time.perf_counter() - start, counts["rows"])
    return counts, False
