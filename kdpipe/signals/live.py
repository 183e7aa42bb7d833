"""A live model as a source of signals: rows -> logits by a forward pass."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from kdpipe.errors import UserError
from kdpipe.modelfolder import Loaded
from kdpipe.progress import say
from kdpipe.types import Encoded

if TYPE_CHECKING:
    import torch

    from kdpipe.models import Model

SIGNALS = ("logits",)
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


class Live:
    """Asks a loaded model. Logits come in the order of the task's classes, float32.

    compute: what `compute_type` says of the device, or "int8" on a CPU: 8-bit weights (a scale for each output) and
    inputs (a scale for each batch, so the last digits of a row depend on the rows that it is asked with). How far it
    is from fp32 is measured on some of the first rows that are asked, said, and kept in `agreement`.
    """

    def __init__(self, loaded: Loaded, fingerprint: str, device: str = "cpu", compute: str | None = None):
        self.loaded, self.fingerprint, self.device = loaded, fingerprint, device
        self.type = compute or compute_type(device)
        self.dtype = _dtype(self.type)
        self.model = _in_int8(loaded.model.to(device)) if self.type == "int8" else loaded.model.to(device)
        self.agreement: Agreement | None = None

    def prepare(self, rows: pa.Table) -> Encoded:
        """Rows [n] -> token ids; needs no model."""
        return self.loaded.vocab.encode(rows, self.loaded.max_length)

    def compute(self, signal: str, encoded: Encoded) -> np.ndarray:
        """Encoded rows [n] -> float32 [n, C]."""
        if signal not in SIGNALS:
            raise UserError(f"no signal '{signal}'; a live model says {', '.join(SIGNALS)}")
        logits = self._logits(self.model, encoded)
        if self.model is not self.loaded.model and self.agreement is None and len(encoded):
            some = np.unique(np.linspace(0, len(encoded) - 1, COMPARED).astype(int))
            self.agreement = _agreement(logits[some], self._logits(self.loaded.model, encoded.take(some)))
            say(f"teacher {self.fingerprint} in {self.type}: {self.agreement}")
        return logits

    def _logits(self, model: Model, encoded: Encoded) -> np.ndarray:
        from kdpipe.train import predict

        logits = predict(model, encoded, device=self.device, dtype=self.dtype)
        return np.ascontiguousarray(logits[:, list(self.loaded.order)])


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
