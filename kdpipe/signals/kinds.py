"""What a teacher can say of a row, and how it is kept.

| signal        | values of a row                     | kept as                             |
|---------------|-------------------------------------|-------------------------------------|
| logits        | [C]                                 | float32                             |
| cls           | [L, H], all layers                  | float16                             |
| boundaries    | [L, F], all layers                  | one bit each                        |
| hidden_3      | [n, H] of layer 3, n real tokens    | float16, as long as the row         |
| attention_3   | [A, n, n] of layer 3, before softmax| float16, as long as the row squared |
| saliency      | [n]                                 | float32                             |
| gradient      | [n, E]                              | float16                             |

With "_fp32" behind the name, states are kept in float32.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from kdpipe.errors import UserError
from kdpipe.types import Shape

PARTS = ("logits", "cls", "boundaries", "hidden", "attention", "saliency", "gradient")  # of Outputs
CHEAP = ("logits", "cls")  # what a forward pass that was made for other signals leaves behind too
_NAME = re.compile(r"([a-z]+)(?:_(\d+))?(_fp32)?")


@dataclass(frozen=True)
class Signal:
    """One signal by its name in the store. part: the part of Outputs that it is, or one layer of it."""

    part: str
    layer: int | None = None
    exact: bool = False  # float32 where float16 is the rule

    @property
    def name(self) -> str:
        return self.part + (f"_{self.layer}" if self.layer is not None else "") + ("_fp32" if self.exact else "")

    @property
    def dtype(self) -> np.dtype:
        if self.part == "boundaries":
            return np.dtype(np.uint8)
        return np.dtype(np.float32 if self.exact or self.part in ("logits", "saliency") else np.float16)

    @property
    def ragged(self) -> bool:
        """Whether longer rows have more values."""
        return self.part in ("hidden", "attention", "saliency", "gradient")

    def numbers(self, shape: Shape, n: np.ndarray | float = 1, squared: np.ndarray | float = 1) -> np.ndarray | float:
        """How many numbers a row of n tokens has. squared: n^2, or its mean."""
        return {
            "logits": shape.outputs,
            "cls": shape.layers * shape.width,
            "boundaries": shape.layers * -(-(shape.ffn or 0) // 8),
            "hidden": n * (shape.width if self.layer else shape.embedding),
            "attention": squared * (shape.heads or 0),
            "saliency": n,
            "gradient": n * shape.embedding,
        }[self.part]

    def bytes(self, shape: Shape, n: float = 1, squared: float = 1) -> float:
        """Of a row of n tokens, as it is kept, less its id."""
        return float(self.numbers(shape, n, squared) * self.dtype.itemsize)


def signal(name: str) -> Signal:
    """A signal by its name. Raises UserError where there is none of this name."""
    found = _NAME.fullmatch(name)
    if not found or found[1] not in PARTS or (found[2] is not None) != (found[1] in ("hidden", "attention")):
        raise UserError(f"no signal '{name}'; a teacher says {', '.join(PARTS)} (hidden and attention by layer: "
                        "hidden_3)")
    return Signal(found[1], None if found[2] is None else int(found[2]), found[3] is not None)


def wanted(needs: Iterable[str], layers: Iterable[Mapping[str, tuple[int, ...]]], exact: bool = False) -> list[Signal]:
    """The signals behind parts of Outputs and the layers that are read of hidden states and attention."""
    found = set()
    for part in needs:
        here = {layer for read in layers for layer in read.get(part, ())} if part in ("hidden", "attention") else {None}
        found |= {Signal(part, layer, exact and part in ("cls", "hidden", "attention", "gradient")) for layer in here}
    return sorted(found, key=lambda s: (PARTS.index(s.part), s.layer or 0))
