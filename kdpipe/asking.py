"""What a phase needs of its teachers: which signals, and which of them are kept and which asked live."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from kdpipe import modelfolder, transfer
from kdpipe.binding import bind, teacher_shape
from kdpipe.job import Job, model_folder, transfer_key
from kdpipe.schema import Phase
from kdpipe.signals.kinds import CHEAP, Signal, wanted

SAMPLE = 2048  # rows whose lengths are looked at for the size of signals


@dataclass(frozen=True)
class Asked:
    """The signals of a phase's teachers, by name.

    kept: in the cache; live: by a forward pass for each batch, since they would take more than the recipe's budget.
    besides: kept too where a row has to be asked anyway, so that the next recipe finds it. kept_bytes, live_bytes: of
    the signals of all rows, less ids, and of those that would be kept.
    """

    kept: tuple[str, ...]
    live: tuple[str, ...]
    besides: tuple[str, ...]
    kept_bytes: float
    live_bytes: float


def asked(job: Job, phase: Phase, seed: int) -> Asked:
    """What a phase asks. The models of its teachers must be there; its transfer set, too, for signals with a size."""
    import torch

    with torch.device("meta"):
        terms = bind(job.recipe, phase)
    needs = frozenset().union(*(term.objective.needs for term in terms))
    if not needs:
        return Asked((), (), (), 0.0, 0.0)
    shape, exact = teacher_shape(job.recipe, phase), job.recipe.named(phase.asks[0]).states == "fp32"
    signals = wanted(needs, [term.objective.layers for term in terms], exact)
    large = [s for s in signals if s.part in ("hidden", "attention", "gradient")]
    n, squared = _lengths(job, phase, seed) if large else (1.0, 1.0)
    rows = _row_count(job, phase)
    live = large if rows * sum(s.bytes(shape, n, squared) for s in large) > job.recipe.budget else []
    kept = [s for s in signals if s not in live]
    inside = any(s.part not in CHEAP for s in kept) or any(s.part == "cls" for s in kept)
    besides = [Signal(part, exact=exact and part == "cls") for part in CHEAP if inside and part in shape.gives]
    sizes = [rows * sum(s.bytes(shape, n, squared) for s in some) for some in (kept, live)]
    return Asked(_names(kept), _names(live), _names(s for s in besides if s not in kept), *sizes)


def _names(signals: Iterable[Signal]) -> tuple[str, ...]:
    return tuple(s.name for s in signals)


def _row_count(job: Job, phase: Phase) -> int:
    """Rows of the transfer set; of gold until it is made."""
    key = transfer_key(job, phase)
    if job.place.is_complete(job.place.transfer(key)):
        return transfer.facts(job.place, key)["counts"]["rows"]
    return len(job.recipe.task.splits["train"])


def _lengths(job: Job, phase: Phase, seed: int) -> tuple[float, float]:
    """Mean tokens of a row and their mean square, of some rows spread over the set; of gold until it is made."""
    folder = job.place.transfer(transfer_key(job, phase))
    whole = job.place.is_complete(folder)
    tables = job.place.scan(folder, ["id", "text_a", "text_b"]) if whole else [job.recipe.task.splits["train"]]
    some = []
    for table in tables:
        some.append(table.take(pa.array(np.unique(np.linspace(0, len(table) - 1, SAMPLE).astype(int)))))
    read = pa.concat_tables([table.select(["id", "text_a", "text_b"]) for table in some])
    read = read.take(pa.array(np.unique(np.linspace(0, len(read) - 1, SAMPLE).astype(int))))
    teacher = job.recipe.named(phase.asks[0])
    vocab, longest = modelfolder.reading(model_folder(job, teacher, seed), teacher.max_length)
    lengths = vocab.encode(read, longest).segments[0].lengths
    return float(lengths.mean()), float((lengths.astype(float) ** 2).mean())
