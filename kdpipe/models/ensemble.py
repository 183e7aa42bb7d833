"""Several trained models that answer as one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdpipe import catalog
from kdpipe.errors import UserError, did_you_mean
from kdpipe.models import PIPELINE, Model
from kdpipe.types import Batch, Outputs, Shape


class Ensemble(Model):
    """The log of the mean of its members' probabilities; the mean of their scores where C = 1.

    Furlanello et al. 2018, "Born-Again Neural Networks", arXiv:1805.04770, section 3.1.

    members: the name and arguments of two or more models of this room, which read one vocabulary. It serves as a
    phase's `members`: what was trained is taken as it is.
    Raises UserError for members that cannot be.
    """

    reads = ("words", "wordpieces")
    packs_pairs = True  # its members read a pair as they do

    def __init__(self, vocab_size: int, outputs: int, vectors: np.ndarray | None = None,
                 members: Sequence[Mapping[str, Any]] = ({"name": "bilstm"}, {"name": "bilstm"})):
        super().__init__()
        parts = _parts(members)
        self.members = nn.ModuleList(part(vocab_size=vocab_size, outputs=outputs, vectors=vectors, **arguments)
                                     for part, arguments in parts)
        first = self.members[0]
        if any(m.segments != first.segments for m in self.members):
            raise UserError("ensemble: some members read one text and some two; take members that read the same rows")
        self.segments, self.reads, self.outputs = first.segments, first.reads, outputs
        self.half = any(m.half for m in self.members)

    @property
    def shape(self) -> Shape:
        inner = [m.shape for m in self.members]
        return Shape(max(s.layers for s in inner), inner[0].width, inner[0].embedding, self.outputs,
                     frozenset({"logits"}))

    def forward(self, batch: Batch, parts: Collection[str] = ()) -> Outputs:
        logits = torch.stack([m(batch).logits for m in self.members])
        if self.outputs == 1:
            return Outputs(logits.mean(0))
        return Outputs(logits.log_softmax(-1).logsumexp(0) - np.log(len(self.members)))

    def representations(self, batch: Batch, cls: bool = False) -> dict[str, Tensor]:
        """Those of each member."""
        return {f"member_{i}_{name}": state for i, member in enumerate(self.members, 1)
                for name, state in member.representations(batch, cls).items()}

    def redraw(self) -> None:
        for member in self.members:
            member.redraw()

    def embedding_parameters(self) -> Iterator[nn.Parameter]:
        return chain.from_iterable(m.embedding_parameters() for m in self.members)


def _parts(members: Sequence[Mapping[str, Any]]) -> list[tuple[type[Model], dict[str, Any]]]:
    if isinstance(members, str) or not all(isinstance(said, Mapping) for said in members):
        raise UserError(f'ensemble -> members: found {members!r}; allowed: tables, [{{ name = "bilstm" }}, ...]')
    found, faults = [], []
    for said in members:
        arguments = {k: v for k, v in said.items() if k != "name"}
        name, known = str(said.get("name")), catalog.names("models")
        if name not in known:
            faults.append(f"no model '{name}'{did_you_mean(name, known)}")
            continue
        part = catalog.find("models", name)
        allowed = catalog.arguments(part, PIPELINE)
        faults += [f"{name} has no argument '{a}'{did_you_mean(a, allowed)}"
                   for a in arguments if a not in allowed and a != "from"]
        faults += [f"{name} starts from a checkpoint or phase; members are trained from nothing"] * _started(arguments)
        found.append((part, arguments))
    if len(members) < 2:
        faults.append("two members or more")
    if faults:
        raise UserError([f"ensemble -> members: {fault}" for fault in faults])
    return found


def _started(arguments: Mapping[str, Any]) -> bool:
    """Whether a model, or the encoder inside it, has a shape that its arguments do not say."""
    encoder = arguments.get("encoder")
    return any(arguments.get(a) for a in ("checkpoint", "from")) or (isinstance(encoder, Mapping) and _started(encoder))
