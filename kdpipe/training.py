"""One training of one phase: its rows, signals, vocabulary, vectors and network, into a model folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from kdpipe import catalog, modelfolder, transfer
from kdpipe.job import (
    Job,
    load_model,
    model_folder,
    model_key,
    model_part,
    own_seed,
    teacher_of,
    transfer_key,
    transfer_set,
)
from kdpipe.modelfolder import Card
from kdpipe.recipe import Part, Phase

if TYPE_CHECKING:
    from kdpipe.models import Model
    from kdpipe.train import Fitted
    from kdpipe.vocab import Vocabulary


def train_phase(job: Job, phase: Phase, seed: int) -> str:
    """Train a phase's model on its rows and leave it in the store; its key."""
    from kdpipe import train as loop
    from kdpipe.tasks.metrics import score

    started, own = time.perf_counter(), own_seed(phase, seed)
    task, key = job.recipe.task, model_key(job, phase, seed)
    rows, signals, asked = _material(job, phase, seed)
    vocab = _vocabulary(job, phase, rows, seed)
    encoded = vocab.encode(rows, phase.max_length)
    dev = task.splits["dev"]
    dev_encoded, gold = vocab.encode(dev, phase.max_length), dev["label"].to_numpy()
    part = model_part(job, phase)
    vectors = _vectors(job, phase, part, vocab, rows, seed)
    with loop.seeded(own):
        model = _build(part, len(vocab.tokens), task.outputs, vectors)
        terms = [_term(p) for p in phase.loss]
    labels = rows["label"].to_numpy(zero_copy_only=False).astype(np.float32)
    del rows

    def dev_score() -> float:
        logits = loop.predict(model, dev_encoded, device=job.on)
        return score(task.kind, task.labels, task.metrics[:1], gold, logits)[task.metrics[0]]

    fitted = loop.fit(
        model,
        terms,
        encoded,
        labels,
        signals,
        loop.Settings(**phase.train),
        dev_score,
        own,
        device=job.on,
        title=f"{phase.name} seed {own}",
    )
    card = Card(
        _plain(part), task.kind, task.labels, task.outputs, len(vocab.tokens), task.pair, phase.max_length, task.name
    )
    with job.place.new_model(key) as folder:
        modelfolder.save(folder, model.cpu(), vocab, card)
        _write_training(folder, fitted, time.perf_counter() - started, asked, len(labels))
    return key


def _material(job: Job, phase: Phase, seed: int) -> tuple[pa.Table, dict[str, np.ndarray], int]:
    """Rows to learn from, teacher signals in their order, and how many rows the teacher was asked for now."""
    if phase.teacher is None:
        return job.recipe.task.splits["train"], {}, 0
    transfer_set(job, phase)
    rows = transfer.read(job.place, transfer_key(job, phase), ["id", "text_a", "text_b", "label"])
    needs = frozenset().union(*(catalog.find("objectives", p.name).needs for p in phase.loss))
    cache = teacher_of(job, phase, seed)
    return rows, {signal: cache.ask(signal, rows) for signal in sorted(needs)}, cache.asked


def _vocabulary(job: Job, phase: Phase, rows: pa.Table, seed: int) -> Vocabulary:
    """Built from train and made rows, or the one that the model's checkpoint came with."""
    checkpoint = phase.model.arguments.get("checkpoint")
    if checkpoint and phase.vocab is None:
        return catalog.find("vocab", "wordpieces").from_checkpoint(modelfolder.find(checkpoint))
    part = phase.vocab or Part(name="words")
    if part.arguments.get("from"):
        asked = job.recipe.named(part.arguments["from"])
        arguments = part.without("from").arguments
        return catalog.find("vocab", part.name).from_checkpoint(model_folder(job, asked, seed), **arguments)
    texts = [rows["text_a"], rows["text_b"].drop_null()] if job.recipe.task.pair else [rows["text_a"]]
    return catalog.find("vocab", part.name).build(
        pa.chunked_array([c for t in texts for c in t.chunks], pa.string()), **part.arguments
    )


def _vectors(job: Job, phase: Phase, model: Part, vocab: Vocabulary, rows: pa.Table, seed: int) -> np.ndarray | None:
    if phase.embeddings is None:
        return None
    arguments = phase.embeddings.without("from").arguments
    source = catalog.find("embeddings", phase.embeddings.name)(**arguments)
    width = _width(model)
    teacher = None
    if source.needs_teacher:
        teacher = load_model(job, job.recipe.named(job.recipe.embeddings_from(phase)), seed)
    train_rows = job.recipe.task.splits["train"]
    texts = [train_rows["text_a"], train_rows["text_b"].drop_null()]
    return source.vectors(
        list(vocab.tokens), pa.chunked_array([c for t in texts for c in t.chunks], pa.string()), width, 0, teacher
    )


def _width(model: Part) -> int:
    """The width of the token vectors: said in the recipe, else the constructor's default."""
    inner = model.arguments.get("encoder", model.settings())
    default = catalog.arguments(catalog.find("models", inner["name"]))["width"].default
    return inner.get("width", default)


def _build(part: Part, vocab_size: int, outputs: int, vectors: np.ndarray | None) -> Model:
    arguments = dict(part.arguments)
    if arguments.get("checkpoint"):
        arguments["checkpoint"] = str(modelfolder.find(arguments["checkpoint"]))
    return catalog.find("models", part.name)(vocab_size=vocab_size, outputs=outputs, vectors=vectors, **arguments)


def _plain(part: Part) -> dict[str, Any]:
    """What the model folder must know to build the model again; where it started from is past."""
    return part.without("checkpoint").settings()


def _term(part: Part) -> Any:
    from kdpipe.schedules import as_schedule
    from kdpipe.train import Term

    objective = catalog.find("objectives", part.name)(**part.without("weight").arguments)
    return Term(objective, as_schedule(part.arguments.get("weight", 1.0)))


def _write_training(folder: Path, fitted: Fitted, seconds: float, asked: int, rows: int) -> None:
    facts = {
        "curve": list(fitted.curve),
        "best_epoch": fitted.best_epoch,
        "best_score": fitted.best_score,
        "seconds": round(seconds, 3),
        "rows_per_second": round(fitted.rows_per_second, 1),
        "teacher_rows_asked": asked,
        "rows": rows,
    }
    (folder / modelfolder.TRAINING).write_text(json.dumps(facts, indent=1) + "\n")
