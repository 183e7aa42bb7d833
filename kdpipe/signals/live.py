"""A live model as a source of signals: rows -> logits by a forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from kdpipe.errors import UserError
from kdpipe.modelfolder import Loaded
from kdpipe.types import Encoded

if TYPE_CHECKING:
    import torch

SIGNALS = ("logits",)


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


def compute_type(device: str) -> str:
    """fp32 on a CPU; on a GPU bf16 where it has it, else fp16."""
    import torch

    if not device.startswith("cuda"):
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


class Live:
    """Asks a loaded model. Logits come in the order of the task's classes, float32."""

    def __init__(self, loaded: Loaded, fingerprint: str, device: str = "cpu"):
        self.loaded, self.fingerprint, self.device = loaded, fingerprint, device
        self.dtype = _dtype(compute_type(device))
        loaded.model.to(device)

    def prepare(self, rows: pa.Table) -> Encoded:
        """Rows [n] -> token ids; needs no model."""
        return self.loaded.vocab.encode(rows, self.loaded.max_length)

    def compute(self, signal: str, encoded: Encoded) -> np.ndarray:
        """Encoded rows [n] -> float32 [n, C]."""
        from kdpipe.train import predict

        if signal not in SIGNALS:
            raise UserError(f"no signal '{signal}'; a live model says {', '.join(SIGNALS)}")
        logits = predict(self.loaded.model, encoded, device=self.device, dtype=self.dtype)
        return np.ascontiguousarray(logits[:, list(self.loaded.order)])


def _dtype(name: str) -> torch.dtype | None:
    import torch

    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[name]
