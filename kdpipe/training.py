"""One training of one phase: its rows, signals, vocabulary, vectors and network, into a model folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file, save_file

from kdpipe import catalog, intact, modelfolder
from kdpipe.asking import asked
from kdpipe.binding import bind, found, teacher_shape
from kdpipe.errors import UserError
from kdpipe.growing import joined
from kdpipe.job import (
    Job,
    drawn_seed,
    live,
    load_model,
    model_folder,
    model_key,
    own_seed,
    teacher_fingerprint,
    teacher_of,
    transfer_key,
    transfer_set,
)
from kdpipe.modelfolder import Card
from kdpipe.schema import Part, Phase
from kdpipe.signals import combine
from kdpipe.signals.said import Said
from kdpipe.transfer import Rows, read_rows, rows_of
from kdpipe.types import content_key

if TYPE_CHECKING:
    from kdpipe.embeddings import Embeddings
    from kdpipe.models import Model
    from kdpipe.train import Fitted, Term
    from kdpipe.vocab import Vocabulary


def train_phase(job: Job, phase: Phase, seed: int) -> str:
    """Train a phase's model on its rows and leave it in the store; its key."""
    from kdpipe import train as loop

    if phase.members:
        return _assemble(job, phase, seed)
    started, drawn = time.perf_counter(), drawn_seed(job, phase, seed)
    task, key = job.recipe.task, model_key(job, phase, seed)
    with loop.seeded(drawn):
        terms = bind(job.recipe, phase)
    rows = _rows(job, phase)
    teacher, new = _teacher(job, phase, seed, rows)
    model, vocab, part = _network(job, phase, seed, rows)
    _check_tokens(job, phase, seed, terms, vocab)
    dev_score = _on_dev(job, phase, model, vocab)
    encoded = joined((vocab.encode(part, phase.max_length) for part in rows.parts), len(vocab.tokens))
    settings, title = loop.Settings(**phase.train), f"{phase.name} seed {own_seed(phase, seed)}"
    fitted = loop.fit(model, terms, encoded, rows.labels, teacher, settings, dev_score, drawn, job.on, title)
    card = Card(part, task.kind, task.labels, task.outputs, len(vocab.tokens), task.pair, phase.max_length, task.name)
    with job.place.new_model(key) as folder:
        modelfolder.save(folder, model.cpu(), vocab, card)
        _write_training(folder, fitted, time.perf_counter() - started, new, len(rows))
    return key


def _network(job: Job, phase: Phase, seed: int, rows: Rows) -> tuple[Model, Vocabulary, dict[str, Any]]:
    """A phase's network before it is trained, its vocabulary, and what its card says of the model."""
    from kdpipe.train import seeded

    if phase.start:
        folder = model_folder(job, job.recipe.named(phase.start), seed)
        modelfolder.check_weights(folder, in_store=True)
        loaded = modelfolder.load(folder, job.recipe.task.labels, job.recipe.task.kind)
        return loaded.model, loaded.vocab, loaded.card.model
    part, vocab = job.recipe.model_part(phase), _vocabulary(job, phase, rows, seed)
    vectors = _vectors(job, phase, part, vocab, seed)
    with seeded(drawn_seed(job, phase, seed)):
        model = catalog.find("models", part.name)(
            vocab_size=len(vocab.tokens), outputs=job.recipe.task.outputs, vectors=vectors,
            **_starting(job, part.arguments, seed))
    _check_reads(phase, model, vocab)
    return model, vocab, _plain(part)


def _on_dev(job: Job, phase: Phase, model: Model, vocab: Vocabulary) -> Callable[[], float]:
    """Scores the model, as it is by then, on dev by the task's first metric."""
    from kdpipe.tasks.metrics import score
    from kdpipe.train import predict

    task = job.recipe.task
    dev, metric = task.splits["dev"], task.metrics[0]
    encoded, gold = vocab.encode(dev, phase.max_length), dev["label"].to_numpy()
    return lambda: score(task.kind, task.labels, [metric], gold, predict(model, encoded, device=job.on))[metric]


def _assemble(job: Job, phase: Phase, seed: int) -> str:
    """Put the trained members of an ensemble together; nothing is trained."""

    started, task, key = time.perf_counter(), job.recipe.task, model_key(job, phase, seed)
    parts = [load_model(job, job.recipe.named(name), seed) for name in phase.members]
    first = parts[0]
    for name, other in zip(phase.members, parts, strict=True):
        if tuple(other.vocab.tokens) != tuple(first.vocab.tokens):
            raise UserError(f"{phase.name} -> members: {name} has other tokens than {phase.members[0]}; give both the "
                            'vocabulary of one phase: vocab = { name = "wordpieces", from = "..." }')
    said = {"name": phase.model.name, "members": [part.card.model for part in parts]}
    model: Model = catalog.find("models", phase.model.name)(
        vocab_size=len(first.vocab.tokens), outputs=task.outputs, vectors=None, members=said["members"])
    for member, part in zip(model.members, parts, strict=True):
        member.load_state_dict(part.model.state_dict())
    card = Card(said, task.kind, task.labels, task.outputs, len(first.vocab.tokens), task.pair, first.max_length,
                task.name)
    best = _on_dev(job, phase, model, first.vocab)()
    with job.place.new_model(key) as folder:
        modelfolder.save(folder, model, first.vocab, card)
        _write_facts(folder, [], 1, best, time.perf_counter() - started, 0.0, 0, 0)
    return key


def _check_reads(phase: Phase, model: Model, vocab: Vocabulary) -> None:
    kind = type(vocab).__module__.rsplit(".", 1)[-1]
    if kind not in model.reads:
        raise UserError(f"{phase.name} -> vocab: the model reads {', '.join(model.reads)}, not {kind}")


def _check_tokens(job: Job, phase: Phase, seed: int, terms: Sequence[Term], vocab: Vocabulary) -> None:
    """Raises UserError where token is held against token and the two vocabularies are not one."""
    aligned = [part.name for part, term in zip(phase.loss, terms, strict=True) if term.objective.aligned]
    if not aligned:
        return
    name = phase.asks[0]
    asked = job.recipe.named(name)
    its, longest = modelfolder.reading(model_folder(job, asked, seed), asked.max_length)
    if tuple(its.tokens) != tuple(vocab.tokens) or longest != phase.max_length:
        raise UserError(f"{phase.name} -> loss: {', '.join(aligned)} holds token against token, but {name} reads "
                        f"{len(its.tokens)} tokens and {longest} of a row at most, {phase.name} {len(vocab.tokens)} "
                        f'and {phase.max_length}; take vocab = {{ name = "wordpieces", from = "{name}" }} and '
                        f"max_length = {longest}")
    if its.packs_pairs != vocab.packs_pairs:  # it goes on with a model that was trained without such a term
        raise UserError(f"{phase.name} -> loss: {', '.join(aligned)} holds token against token, but of {name} and "
                        f"'{phase.start}' one alone reads special tokens round a text; give '{phase.start}' such a "
                        "term, too")


def prepare_vectors(job: Job) -> None:
    """Take the teacher's token vectors once, before seeds are trained side by side and each would take its own."""
    shared, seed = {p.name for p in job.shared}, job.recipe.seeds[0]
    for phase in job.students:
        if job.recipe.embeddings_from(phase) in shared and shared.issuperset(phase.asks) and not phase.start:
            vocab = _vocabulary(job, phase, _rows(job, phase), seed)
            _vectors(job, phase, job.recipe.model_part(phase), vocab, seed)


def is_small(phase: Phase) -> bool:
    """Whether a phase's network is trained on one core: then its bits do not depend on how many seeds run beside it."""
    return phase.model is not None and not _is_large(phase.model.settings())


def _is_large(model: Mapping[str, Any]) -> bool:
    """Whether a model, or one that it is made of, is large."""
    inner = [part for part in (model.get("encoder"), *model.get("members", ())) if isinstance(part, Mapping)]
    return catalog.find("models", model["name"]).half or any(map(_is_large, inner))


def _rows(job: Job, phase: Phase) -> Rows:
    """What a phase learns from: its share of its transfer set, or of the gold rows where no teacher is asked."""
    if not phase.asks:
        return rows_of(job.recipe.task.splits["train"]).some(phase.share)
    transfer_set(job, phase)
    return read_rows(job.place, transfer_key(job, phase)).some(phase.share)


def _teacher(job: Job, phase: Phase, seed: int, rows: Rows) -> tuple[Said | None, int]:
    """What the teachers say of the rows, in their order, and how many rows they were asked for now."""
    needs = asked(job, phase, seed)
    if not needs.kept and not needs.live:
        return None, 0
    caches = [teacher_of(job, name, seed) for name in phase.asks]
    ask = [needs.kept, rows.ids, rows.parts, needs.besides]
    stored = [cache.ask_all(*ask) for cache in caches] if needs.kept else [{}]
    found = stored[0]
    if len(stored) > 1:
        task, way = job.recipe.task, phase.combine
        combined = combine.way(way.name, way.arguments, len(stored), task.kind)
        found = {signal: combined([each[signal] for each in stored]) for signal in needs.kept}
    source = live(job, phase.asks[0], seed) if needs.live else None
    ahead = (source, source.prepare(pa.concat_tables(rows.parts)), needs.live) if source else None
    return Said(len(rows), teacher_shape(job.recipe, phase), found, ahead), sum(cache.asked for cache in caches)


def _vocabulary(job: Job, phase: Phase, rows: Rows, seed: int) -> Vocabulary:
    """Built from train and made rows, or taken from the teacher, or the one that the model's checkpoint came with."""
    model, checkpoint = catalog.find("models", phase.model.name), phase.model.arguments.get("checkpoint")
    part, packed = phase.vocab or Part(name=model.reads[0]), _packed(job, phase, seed)
    room, arguments = catalog.find("vocab", part.name), part.without("from").arguments
    if checkpoint and phase.vocab is None:
        return room.from_checkpoint(modelfolder.find(checkpoint), packed=packed)
    first = part.arguments.get("from") or (None if phase.vocab else phase.model.arguments.get("from"))
    if first:
        asked = job.recipe.named(first)
        return room.from_checkpoint(model_folder(job, asked, seed), packed=packed, **arguments)
    return room.build(rows.texts, packed=packed, **arguments)


def _packed(job: Job, phase: Phase, seed: int) -> bool:
    """Whether a pair is one segment, and a text has special tokens round it: as the model wants it, or as the teacher
    reads it where token is held against token."""
    terms = (catalog.find("objectives", part.name)(**part.without("weight").arguments) for part in phase.loss)
    if not any(term.aligned for term in terms):
        return catalog.find("models", phase.model.name).packs_pairs
    asked = job.recipe.named(phase.asks[0])
    return modelfolder.reading(model_folder(job, asked, seed), asked.max_length)[0].packs_pairs


def _vectors(job: Job, phase: Phase, model: Part, vocab: Vocabulary, seed: int) -> np.ndarray | None:
    """float32 [V, width], or None where the model draws its own."""
    if phase.embeddings is None:
        return None
    source = catalog.find("embeddings", phase.embeddings.name)(**phase.embeddings.without("from").arguments)
    texts = pa.chunked_array(list(rows_of(job.recipe.task.splits["train"]).texts), pa.string())
    tokens, width = list(vocab.tokens), _width(model)
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
    if model.arguments.get("preset"):
        return catalog.find("models", model.name).shape_for(vocab_size=1, outputs=None, **model.arguments).embedding
    if "width" in arguments:
        return model.arguments.get("width", arguments["width"].default)
    inner = model.arguments.get("encoder", arguments["encoder"].default)
    if isinstance(inner, str):
        return _width(Part(name=inner))
    return _width(Part(name=inner["name"], arguments={k: v for k, v in inner.items() if k != "name"}))


def _starting(job: Job, arguments: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """A model's arguments with every checkpoint, and the phase that it starts from, as a folder of this machine."""
    said = found(arguments)
    if "from" in said:
        said["checkpoint"] = str(model_folder(job, job.recipe.named(said.pop("from")), seed))
    return said


def _plain(part: Part) -> dict[str, Any]:
    """What the model folder must know to build the model again; where it started from is past."""
    return {k: v for k, v in part.settings().items() if k not in ("checkpoint", "from", "take")}


def _write_training(folder: Path, fitted: Fitted, seconds: float, asked: int, rows: int) -> None:
    _write_facts(folder, list(fitted.curve), fitted.best_epoch, fitted.best_score, seconds, fitted.rows_per_second,
                 asked, rows, fitted.sparsity)


def _write_facts(folder: Path, curve: list[dict[str, Any]], best_epoch: int, best_score: float, seconds: float,
                 rows_per_second: float, asked: int, rows: int, sparsity: float | None = None) -> None:
    facts = {
        "curve": curve,
        "best_epoch": best_epoch,
        "best_score": best_score,
        "seconds": round(seconds, 3),
        "rows_per_second": round(rows_per_second, 1),
        "teacher_rows_asked": asked,
        "rows": rows,
        **({"sparsity": round(sparsity, 4)} if sparsity is not None else {}),
    }
    (folder / modelfolder.TRAINING).write_text(json.dumps(facts, indent=1) + "\n")
