"""The classifier on top of a sentence's state that Tang's models share."""

from torch import nn


def classifier(width: int, fc: int, outputs: int, dropout: float) -> nn.Sequential:
    """Linear(width, fc) + ReLU + dropout -> Linear(fc, outputs): states [B, width] -> logits [B, outputs]."""
    return nn.Sequential(nn.Linear(width, fc), nn.ReLU(), nn.Dropout(dropout), nn.Linear(fc, outputs))
