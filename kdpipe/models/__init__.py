"""Models: the contract of the room. A model file knows its network and nothing of tasks, training or storage."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kdpipe.errors import UserError
from kdpipe.types import Batch, Outputs, Shape, Tokens


class Model(nn.Module):
    """A network that speaks Outputs.

    A constructor takes `vocab_size`, `outputs` (C) and `vectors` (float32 array [V, E] of pre-trained token
    vectors or None) from the pipeline; all its other arguments are what a recipe may say.
    """

    reads: ClassVar[tuple[str, ...]]  # names of the vocabularies that it can read, the one by default first
    segments: ClassVar[int] = 1  # how many segments of a batch it reads; a siamese model reads 2
    packs_pairs: ClassVar[bool] = False  # whether it reads a pair as one segment with token types
    on_pairs: ClassVar[str] = "siamese"  # the model that it is put inside where it can read only one text of a pair
    inherits: ClassVar[tuple[str, ...]] = ()  # arguments that are the other phase's where a model starts `from` one
    half: bool = False  # a large network: bfloat16 autocast on a GPU and all cores of a CPU serve it

    @abstractmethod
    def forward(self, batch: Batch, parts: Collection[str] = ()) -> Outputs:
        """Segments [B, N] -> logits [B, C] and the other parts of Outputs that are asked for, as `shape` allows."""

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Layers, widths and the parts of Outputs that it can say."""

    @classmethod
    def shape_for(cls, vocab_size: int, outputs: int, **arguments) -> Shape:
        """The shape of the model of these constructor arguments, which is not built. Raises UserError as it would."""
        with torch.device("meta"):
            return cls(vocab_size=vocab_size, outputs=outputs, vectors=None, **arguments).shape

    @classmethod
    def started(cls, first: Shape, outputs: int, **arguments) -> Shape:
        """The shape of such a model that starts from the weights of one of the shape `first`. Raises UserError."""
        raise UserError(f"{cls.__name__.lower()}: cannot start from another phase's model; leave 'from' out")

    @abstractmethod
    def embedding_parameters(self) -> Iterator[nn.Parameter]:
        """The token tables, trained or frozen: what papers leave out when they count parameters."""

    @abstractmethod
    def representations(self, batch: Batch, cls: bool = False) -> dict[str, Tensor]:
        """What each layer makes of a whole text, the first segment, from the token vectors up: name -> [B, d].

        "embeddings": the mean of the vectors that the first layer reads. Padding and the other rows of the batch have
        no influence. cls: a transformer's states at [CLS], too.
        """

    @abstractmethod
    def redraw(self) -> None:
        """Draw all weights that `representations` reads anew, as a network begins that was never trained."""

    def blocks(self) -> list[nn.Module]:
        """The network from the classifier down to the token tables, in the parts that are unfrozen one by one."""
        return [self]

    def name_outputs(self, labels: Sequence[str]) -> None:  # noqa: B027 - only a checkpoint of Hugging Face has a place
        """The classes in the order of the logits, none for a score: for other tools that read a saved model."""

    def save(self, folder: Path) -> None:
        """Weights to model.safetensors in a folder that exists."""
        save_file({name: t.contiguous() for name, t in self.state_dict().items()}, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path, **arguments) -> Model:
        """The model of these constructor arguments with the weights that `save` left in the folder."""
        model = cls(**arguments)
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return model


class Encoder(Model):
    """A model of one segment whose state another model may read in place of its own head.

    With `outputs=None` its constructor builds no head (`head` is None): then only `encode` works.
    """

    state_width: int  # H
    head: nn.Module | None  # [B, H] -> [B, C]

    @abstractmethod
    def encode(self, tokens: Tokens) -> Tensor:
        """One segment [B, N] -> states [B, H]; padding and the other rows of the batch have no influence."""


def mean(states: Tensor, mask: Tensor) -> Tensor:
    """States of tokens [B, N, H] -> their mean over the real ones [B, H]."""
    real = mask[..., None].to(states.dtype)
    return (states * real).sum(1) / real.sum(1)


def count_parameters(model: Model) -> dict[str, int]:
    """total, embedding and their difference; frozen tables count as embedding."""
    embedding = {id(p): p.numel() for p in model.embedding_parameters()}
    total = sum(p.numel() for p in model.parameters())
    return {"total": total, "embedding": sum(embedding.values()), "non_embedding": total - sum(embedding.values())}


PIPELINE = frozenset({"vocab_size", "outputs", "vectors"})
PART = Model
