"""A live model as a source of signals: rows -> logits and states by a forward pass."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from kdpipe.errors import UserError
from kdpipe.modelfolder import Loaded
from kdpipe.progress import say
from kdpipe.signals.kinds import Signal, signal
from kdpipe.types import Encoded, Outputs, Ragged, Values

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kdpipe.models import Model

COMPARED = 256  # rows, spread over the first shard, on which int8 is held against fp32
_LEAST_WIDTH = 64  # of a linear layer that is worth int8: the classifier stays as it is


def pick_device(asked: str) -> str:
    """ "auto" takes the GPU where there is one. Raises UserError when a GPU was asked for and there is none."""
    import torch

    there = torch.cuda.is_available()
    if asked == "auto":
        return "cuda" if there else "cpu"
    if asked.startswith("cuda") and not there:
        raise UserError(f"device '{asked}': this machine has no GPU that PyTorch can use; take --device cpu or auto")
    if asked.startswith("cuda:") and asked not in {f"cuda:{i}" for i in range(torch.cuda.device_count())}:
        raise UserError(f"device '{asked}': there are {torch.cuda.device_count()} GPUs here, counted from cuda:0")
    if asked not in ("cpu", "cuda") and not asked.startswith("cuda:"):
        raise UserError(f"device '{asked}': allowed are cpu, cuda, cuda:N and auto")
    return asked


def compute_type(device: str, asked: str = "auto") -> str:
    """What a teacher computes in: "auto" is fp32 on a CPU; on a GPU bf16 where it has it, else fp16.

    Raises UserError for int8 on a GPU.
    """
    import torch

    on_gpu = device.startswith("cuda")
    if asked == "int8" and on_gpu:
        raise UserError(f"compute = 'int8' on {device}: int8 is for CPUs; take --device cpu, or compute = 'auto'")
    if asked != "auto":
        return asked
    return "fp32" if not on_gpu else "bf16" if torch.cuda.is_bf16_supported() else "fp16"


@dataclass(frozen=True)
class Agreement:
    """How far a cheaper type is from fp32: share of rows with the same class, and distances between logits."""

    rows: int
    same: float | None  # None where there are no classes
    mean: float
    largest: float

    def __str__(self) -> str:
        same = "" if self.same is None else f"same class as in fp32 for {self.same:.1%}, "
        return f"{same}logits differ by {self.mean:.2g} on average, by {self.largest:.2g} at most ({self.rows} rows)"


@dataclass(frozen=True)
class Rounding:
    """What it costs to keep states in float16: distances from float32, and the largest number."""

    mean: float
    largest: float
    of: float

    def __str__(self) -> str:
        return (f"float16 differs from float32 by {self.mean:.2g} on average, by {self.largest:.2g} at most "
                f"(largest number {self.of:.3g})")


class Live:
    """Asks a loaded model. Logits come in the order of the task's classes, float32.

    compute: what `compute_type` says of the device, or "int8" on a CPU: 8-bit weights (a scale for each output) and
    inputs (a scale for each batch, so the last digits of a row depend on the rows that it is asked with). How far it
    is from fp32 is measured on some of the first rows that are asked, said, and kept in `agreement`.
    rounding: by signal, what keeping the first rows in float16 cost.
    """

    def __init__(self, loaded: Loaded, fingerprint: str, device: str = "cpu", compute: str | None = None):
        self.loaded, self.fingerprint, self.device = loaded, fingerprint, device
        self.type = compute or compute_type(device)
        self.dtype = _dtype(self.type)
        self.model = _in_int8(loaded.model.to(device)) if self.type == "int8" else loaded.model.to(device)
        self.agreement: Agreement | None = None
        self.rounding: dict[str, Rounding] = {}

    def prepare(self, rows: pa.Table) -> Encoded:
        """Rows [n] -> token ids; needs no model."""
        return self.loaded.vocab.encode(rows, self.loaded.max_length)

    def compute(self, signals: Sequence[str], encoded: Encoded) -> dict[str, Values]:
        """Encoded rows [n] -> the values of each signal, as kdpipe.signals.kinds keeps them."""
        asked = [signal(name) for name in signals]
        if self.type == "int8" and (slopes_of := [s.name for s in asked if s.part in _SLOPES]):
            raise UserError(f"teacher {self.fingerprint}: no {', '.join(slopes_of)} in int8, which has no derivatives; "
                            "take compute = 'fp32'")
        found = self._values(self.model, encoded, asked)
        if self.model is not self.loaded.model and self.agreement is None and len(encoded):
            self._compare(encoded)
        return found

    def _compare(self, encoded: Encoded) -> None:
        some = encoded.take(np.unique(np.linspace(0, len(encoded) - 1, COMPARED).astype(int)))
        cheap, exact = (self._values(model, some, [signal("logits")])["logits"]
                        for model in (self.model, self.loaded.model))
        self.agreement = _agreement(cheap, exact)
        say(f"teacher {self.fingerprint} in {self.type}: {self.agreement}")

    def _values(self, model: Model, encoded: Encoded, asked: Sequence[Signal]) -> dict[str, Values]:
        from kdpipe.train import answers

        parts = frozenset("vectors" if s.part in _SLOPES else s.part for s in asked) - {"logits"}
        plan, found = [np.empty(0, np.int64)], {s: [] for s in asked}
        for rows, said in answers(model, encoded, parts, device=self.device, dtype=self.dtype):
            plan.append(rows)
            if said.logits is not None:
                said.logits = said.logits[:, list(self.loaded.order)]
            if "vectors" in parts:
                said.gradient, said.saliency = slopes(said)
            for s in asked:
                exact = values(s, said).detach()  # beside slopes, all else hangs on the graph too
                found[s].append(kept := exact.to(_torch_type(s)).cpu())
                if s.dtype == np.float16 and s.name not in self.rounding and exact.numel():
                    self.rounding[s.name] = _rounding(exact, kept)
        back = np.argsort(np.concatenate(plan))
        lengths = encoded.segments[0].lengths
        return {s.name: _in_order(s, pieces, plan, back, lengths) for s, pieces in found.items()}


_SLOPES = ("gradient", "saliency")


def slopes(said: Outputs) -> tuple[Tensor, Tensor]:
    """The slope of the largest logit, or of the score, by the token vectors [B, N, E]; its product with them [B, N]."""
    import torch

    top = said.logits.max(-1).values if said.logits.shape[-1] > 1 else said.logits.squeeze(-1)
    slope, = torch.autograd.grad(top.sum(), said.vectors)
    return slope, (slope * said.vectors.detach()).sum(-1)


def values(s: Signal, said: Outputs) -> Tensor:
    """A signal of a batch: [B, d]; flat, row behind row, where longer rows have more values."""
    import torch

    if s.part == "logits":
        return said.logits.float()
    if s.part == "cls":
        return torch.stack([said.cls[i] for i in sorted(said.cls)], 1).flatten(1).float()
    if s.part == "boundaries":
        bits = torch.stack([said.boundaries[i] for i in sorted(said.boundaries)], 1)
        return torch.from_numpy(np.packbits(bits.cpu().numpy(), axis=-1)).flatten(1)
    if s.part == "hidden":
        return said.hidden[s.layer][said.mask].flatten().float()
    if s.part == "attention":
        scores = said.attention[s.layer]
        return scores[block(said.mask).expand_as(scores)].float()
    return getattr(said, s.part)[said.mask].flatten().float()


def block(mask: Tensor) -> Tensor:
    """Real tokens [B, N] -> real pairs of them [B, 1, N, N]."""
    return mask[:, None, :, None] & mask[:, None, None, :]


def _in_order(s: Signal, pieces: list[Tensor], plan: list[np.ndarray], back: np.ndarray, lengths: np.ndarray) -> Values:
    """Pieces of the planned batches -> the rows in the order in which they were given."""
    import torch

    if not s.ragged:
        return torch.cat(pieces).numpy()[back] if pieces else np.empty((0, 0), s.dtype)
    flat = torch.cat(pieces).numpy() if pieces else np.empty(0, s.dtype)
    n = lengths[np.concatenate(plan)]
    tokens = n * n if s.part == "attention" else n
    each = tokens * (len(flat) // max(1, int(tokens.sum())))
    return Ragged(flat, np.concatenate([[0], np.cumsum(each)])).take(back)


def _rounding(exact: Tensor, kept: Tensor) -> Rounding:
    apart = (exact.cpu() - kept.float()).abs()
    return Rounding(float(apart.mean()), float(apart.max()), float(exact.abs().max()))


def _torch_type(s: Signal) -> torch.dtype:
    import torch

    return {np.dtype(np.float16): torch.float16, np.dtype(np.float32): torch.float32,
            np.dtype(np.uint8): torch.uint8}[s.dtype]


def _agreement(found: np.ndarray, exact: np.ndarray) -> Agreement:
    apart = np.abs(found - exact)
    same = float((found.argmax(1) == exact.argmax(1)).mean()) if exact.shape[1] > 1 else None
    return Agreement(len(found), same, float(apart.mean()), float(apart.max()))


def _in_int8(model: Model) -> Model:
    """A copy with all large linear layers in int8; the model itself stays as it is."""
    import torch
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    large = [name for name, layer in model.named_modules()
             if isinstance(layer, torch.nn.Linear) and layer.out_features >= _LEAST_WIDTH]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao says that it will move to a package of its own
        return quantize_dynamic(copy.deepcopy(model), dict.fromkeys(large, per_channel_dynamic_qconfig))


def _dtype(name: str) -> torch.dtype | None:
    import torch

    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name)
