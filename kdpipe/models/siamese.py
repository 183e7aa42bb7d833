"""Any encoder, read once for each text of a pair."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kdpipe import catalog
from kdpipe.errors import UserError, did_you_mean
from kdpipe.models import PIPELINE, Encoder, Model
from kdpipe.models._checks import check
from kdpipe.models._head import classifier
from kdpipe.types import Batch, Outputs, Shape

HEAD = "siamese.safetensors"  # the head's weights, beside those that the encoder saves for itself


class Siamese(Model):
    """One encoder for both texts: f = [h1; h2; h1 * h2; |h1 - h2|] -> Linear(4H, F), ReLU, dropout -> Linear(F, C).

    Tang et al. 2019, arXiv:1903.12136, section 3.1 (their code swaps the last two parts).

    encoder: the name and arguments of an Encoder of this room, such as {"name": "bilstm", "hidden": 150}.
    Raises UserError for an unknown encoder or unknown arguments of it, all at once.
    """

    reads = ("words", "wordpieces")
    segments = 2

    def __init__(self, vocab_size: int, outputs: int, vectors: np.ndarray | None = None,
                 encoder: Mapping[str, Any] | str = "bilstm", fc: int = 200, dropout: float = 0.1):
        super().__init__()
        part, arguments = _part(encoder)
        self._assemble(part(vocab_size=vocab_size, outputs=None, vectors=vectors, **arguments), outputs, fc, dropout)

    def _assemble(self, encoder: Encoder, outputs: int, fc: int, dropout: float) -> None:
        check("siamese", {"fc": fc}, {"dropout": dropout})
        self.encoder, self.reads, self.half, self.outputs = encoder, encoder.reads, encoder.half, outputs
        self.head = classifier(4 * encoder.state_width, fc, outputs, dropout)

    @property
    def shape(self) -> Shape:
        """One layer of width 4H."""
        return _shape(4 * self.encoder.state_width, self.outputs)

    @classmethod
    def shape_for(cls, vocab_size: int, outputs: int, encoder: Mapping[str, Any] | str = "bilstm", fc: int = 200,
                  dropout: float = 0.1) -> Shape:
        part, arguments = _part(encoder)
        check("siamese", {"fc": fc}, {"dropout": dropout})
        return _shape(4 * part.shape_for(vocab_size, None, **arguments).width, outputs)

    def forward(self, batch: Batch, parts: Collection[str] = ()) -> Outputs:
        """Two segments [B, N1], [B, N2] -> logits [B, C] and f [B, 4H]."""
        state = compare(*(self.encoder.encode(tokens) for tokens in batch.segments))
        return Outputs(self.head(state), cls={1: state})

    def representations(self, batch: Batch, cls: bool = False) -> dict[str, Tensor]:
        """Those of the encoder that reads both texts."""
        return self.encoder.representations(batch, cls)

    def redraw(self) -> None:
        self.encoder.redraw()

    def embedding_parameters(self) -> Iterator[nn.Parameter]:
        return self.encoder.embedding_parameters()

    def blocks(self) -> list[nn.Module]:
        return [self.head, *self.encoder.blocks()]

    def save(self, folder: Path) -> None:
        """The encoder's own files and siamese.safetensors."""
        self.encoder.save(folder)
        save_file(self.head.state_dict(), folder / HEAD)

    @classmethod
    def load(cls, folder: Path, vocab_size: int, outputs: int, vectors: np.ndarray | None = None,
             encoder: Mapping[str, Any] | str = "bilstm", fc: int = 200, dropout: float = 0.1) -> Siamese:
        """What `save` left; a checkpoint that the encoder once started from is not needed any more."""
        part, arguments = _part(encoder)
        arguments.pop("checkpoint", None)
        model = cls.__new__(cls)
        nn.Module.__init__(model)
        model._assemble(part.load(folder, vocab_size=vocab_size, outputs=None, vectors=None, **arguments),
                        outputs, fc, dropout)
        model.head.load_state_dict(load_file(folder / HEAD))
        return model


def _shape(width: int, outputs: int) -> Shape:
    return Shape(1, width, width, outputs, frozenset({"logits", "cls"}))


def compare(first: Tensor, second: Tensor) -> Tensor:
    """States [B, H] of both texts -> [h1; h2; h1 * h2; |h1 - h2|], [B, 4H]."""
    return torch.cat([first, second, first * second, (first - second).abs()], dim=-1)


def _part(encoder: Mapping[str, Any] | str) -> tuple[type[Encoder], dict[str, Any]]:
    """The encoder's class and arguments. Raises UserError for every name that is not known."""
    said = {"name": encoder} if isinstance(encoder, str) else dict(encoder)
    name = said.pop("name", None)
    encoders = [n for n in catalog.names("models") if issubclass(catalog.find("models", n), Encoder)]
    if name not in encoders:
        raise UserError(f"siamese -> encoder: no encoder '{name}'{did_you_mean(str(name), encoders)}")
    part = catalog.find("models", name)
    allowed = catalog.arguments(part, PIPELINE)
    unknown = [f"siamese -> encoder: {name} has no argument '{a}'{did_you_mean(a, allowed)}"
               for a in said if a not in allowed]
    if unknown:
        raise UserError(unknown)
    return part, said
