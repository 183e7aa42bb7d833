"""One training of one phase: its rows, signals, vocabulary, vectors and network, into a model folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file, save_file

from kdpipe import catalog, intact, modelfolder, transfer
from kdpipe.errors import UserError
from kdpipe.job import (
    Job,
    load_model,
    model_folder,
    model_key,
    model_part,
    own_seed,
    teacher_fingerprint,
    teacher_of,
    transfer_key,
    transfer_set,
)
from kdpipe.modelfolder import Card
from kdpipe.recipe import Part, Phase
from kdpipe.types import content_key

if TYPE_CHECKING:
    from kdpipe.embeddings import Embeddings
    from kdpipe.models import Model
    from kdpipe.train import Fitted
    from kdpipe.vocab import Vocabulary


def train_phase(job: Job, phase: Phase, seed: int) -> str:
    """Train a phase's model on its rows and leave it in the store; its key."""
    from kdpipe import train as loop
    from kdpipe.tasks.metrics import score

    started, own = time.perf_counter(), own_seed(phase, seed)
    task, key = job.recipe.task, model_key(job, phase, seed)
    with loop.seeded(own):
        terms = [_term(p) for p in phase.loss]
    rows = _rows(job, phase)
    signals, asked = _signals(job, phase, seed, rows, frozenset().union(*(t.objective.needs for t in terms)))
    vocab = _vocabulary(job, phase, rows, seed)
    encoded = vocab.encode(rows, phase.max_length)
    dev = task.splits["dev"]
    dev_encoded, gold = vocab.encode(dev, phase.max_length), dev["label"].to_numpy()
    part = model_part(job, phase)
    vectors = _vectors(job, phase, part, vocab, seed)
    with loop.seeded(own):
        model = _build(part, len(vocab.tokens), task.outputs, vectors)
    _check_reads(phase, model, vocab)
    labels = rows["label"].to_numpy(zero_copy_only=False).astype(np.float32)
    del rows

    def dev_score() -> float:
        logits = loop.predict(model, dev_encoded, device=job.on)
        return score(task.kind, task.labels, task.metrics[:1], gold, logits)[task.metrics[0]]

    settings, title = loop.Settings(**phase.train), f"{phase.name} seed {own}"
    fitted = loop.fit(model, terms, encoded, labels, signals, settings, dev_score, own, job.on, title)
    card = Card(
        _plain(part), task.kind, task.labels, task.outputs, len(vocab.tokens), task.pair, phase.max_length, task.name
    )
    with job.place.new_model(key) as folder:
        modelfolder.save(folder, model.cpu(), vocab, card)
        _write_training(folder, fitted, time.perf_counter() - started, asked, len(labels))
    return key


def _check_reads(phase: Phase, model: Model, vocab: Vocabulary) -> None:
    kind = type(vocab).__module__.rsplit(".", 1)[-1]
    if kind not in model.reads:
        raise UserError(f"{phase.name} -> vocab: the model reads {', '.join(model.reads)}, not {kind}")


def prepare_vectors(job: Job) -> None:
    """Take the teacher's token vectors once, before seeds are trained side by side and each would take its own."""
    shared, seed = {p.name for p in job.shared}, job.recipe.seeds[0]
    for phase in job.students:
        if job.recipe.embeddings_from(phase) in shared and (phase.teacher is None or phase.teacher in shared):
            vocab = _vocabulary(job, phase, _rows(job, phase), seed)
            _vectors(job, phase, model_part(job, phase), vocab, seed)


def is_small(phase: Phase) -> bool:
    """Whether a phase's network is trained on one core: then its bits do not depend on how many seeds run beside it."""
    return phase.model is not None and not catalog.find("models", phase.model.name).half


def _rows(job: Job, phase: Phase) -> pa.Table:
    """What a phase learns from: its transfer set, or the gold rows where no teacher is asked."""
    if phase.teacher is None:
        return job.recipe.task.splits["train"]
    transfer_set(job, phase)
    return transfer.read(job.place, transfer_key(job, phase), ["id", "text_a", "text_b", "label"])


def _signals(
    job: Job, phase: Phase, seed: int, rows: pa.Table, needs: frozenset[str]
) -> tuple[dict[str, np.ndarray], int]:
    """What the teacher says of the rows, in their order, and how many rows it was asked for now."""
    if not needs:
        return {}, 0
    cache = teacher_of(job, phase, seed)
    return {signal: cache.ask(signal, rows) for signal in sorted(needs)}, cache.asked


def _vocabulary(job: Job, phase: Phase, rows: pa.Table, seed: int) -> Vocabulary:
    """Built from train and made rows, or taken from the teacher, or the one that the model's checkpoint came with."""
    model, checkpoint = catalog.find("models", phase.model.name), phase.model.arguments.get("checkpoint")
    part, packed = phase.vocab or Part(name=model.reads[0]), model.packs_pairs
    room, arguments = catalog.find("vocab", part.name), part.without("from").arguments
    if checkpoint and phase.vocab is None:
        return room.from_checkpoint(modelfolder.find(checkpoint), packed=packed)
    if part.arguments.get("from"):
        asked = job.recipe.named(part.arguments["from"])
        return room.from_checkpoint(model_folder(job, asked, seed), packed=packed, **arguments)
    return room.build(_texts(rows), packed=packed, **arguments)


def _texts(rows: pa.Table) -> pa.ChunkedArray:
    return pa.chunked_array([*rows["text_a"].chunks, *rows["text_b"].drop_null().chunks], pa.string())


def _vectors(job: Job, phase: Phase, model: Part, vocab: Vocabulary, seed: int) -> np.ndarray | None:
    """float32 [V, width], or None where the model draws its own."""
    if phase.embeddings is None:
        return None
    source = catalog.find("embeddings", phase.embeddings.name)(**phase.embeddings.without("from").arguments)
    texts, tokens, width = _texts(job.recipe.task.splits["train"]), list(vocab.tokens), _width(model)
    if not source.needs_teacher:
        return source.vectors(tokens, texts, width, 0, None)
    return _from_teacher(job, phase, source, texts, tokens, width, seed)


def _from_teacher(
    job: Job, phase: Phase, source: Embeddings, texts: pa.ChunkedArray, tokens: list[str], width: int, seed: int
) -> np.ndarray:
    """A teacher's vectors of a set of tokens, made once and kept: seeds and recipes share them."""
    asked, store, order = job.recipe.named(job.recipe.embeddings_from(phase)), job.place, sorted(tokens[1:])
    settings = phase.embeddings.without("from").settings()
    fingerprint = teacher_fingerprint(job, asked.name, seed)
    place = store.vectors(content_key("vectors", fingerprint, settings, job.recipe.task.key(), order, width))
    if not store.has_folder(place):
        made = source.vectors([tokens[0], *order], texts, width, 0, load_model(job, asked, seed))
        with store.new_folder(place) as folder:
            save_file({"vectors": made}, folder / "vectors.safetensors")
    there = store.local_folder(place)
    intact.check(there, in_store=True)
    kept = load_file(there / "vectors.safetensors")["vectors"]
    where = {token: i for i, token in enumerate(order, start=1)}
    return kept[[0, *(where[token] for token in tokens[1:])]]


def _width(model: Part) -> int:
    """The width of the token vectors, said or the constructor's default; of a siamese model, its encoder's."""
    arguments = catalog.arguments(catalog.find("models", model.name))
    if "width" in arguments:
        return model.arguments.get("width", arguments["width"].default)
    inner = model.arguments.get("encoder", arguments["encoder"].default)
    return _width(Part(name=inner) if isinstance(inner, str) else Part(name=inner["name"], arguments=dict(inner)))


def _build(part: Part, vocab_size: int, outputs: int, vectors: np.ndarray | None) -> Model:
    model = catalog.find("models", part.name)
    return model(vocab_size=vocab_size, outputs=outputs, vectors=vectors, **_found(part.arguments))


def _found(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments with every checkpoint, an encoder's too, as a folder of this machine."""
    return {
        k: str(modelfolder.find(v)) if k == "checkpoint" and v else _found(v) if isinstance(v, dict) else v
        for k, v in arguments.items()
    }


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
