"""Losses are computed in 32 bits or more, whatever the network computes in."""

import torch
from torch import Tensor


def full(values: Tensor) -> Tensor:
    """bfloat16 and float16 become float32; float32 and float64 stay."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
