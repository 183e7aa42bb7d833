"""What a recipe may say of a training."""

from __future__ import annotations

from dataclasses import dataclass

from kdpipe.errors import UserError, did_you_mean
from kdpipe.schedules import rate_factor

OPTIMIZERS = ("adamw", "adam", "adadelta")
SELECTIONS = ("best", "last")
_MOST, _LARGEST = 2**31 - 1, 1e30  # of whole numbers and of others: beyond any use, within all arithmetic
PRUNINGS = ("cubic", "one_shot")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """What a recipe's train table may say. Raises UserError with every fault.

    lr: peak learning rate; schedule and warmup (a share of all steps) shape it over the training.
    rho: of adadelta. clip: largest joint norm of the gradients. evaluate_every: epochs.
    patience: evaluations without a better dev score before the end.
    select: the weights that are kept: of the "best" epoch on dev, or the "last", for a phase whose loss says nothing of
        its answers yet; then dev is looked at once, at the end.
    unfreeze: epochs between two steps of gradual unfreezing (Howard and Ruder 2018, arXiv:1801.06146): the classifier
        is trained alone first, then with the layer below it, down to the token vectors; None: all from the start.
    sparsity: the share of the network's matrices, tables apart, that is 0 in the end (kdpipe.pruning); pruning: "cubic"
        reaches it in the middle of the training, "one_shot" at once. Epochs before that are not selected.
    precision: of the network's arithmetic; "auto" is bfloat16 for transformers on a GPU that has it, else float32.
    """

    epochs: int = 30
    batch_size: int = 50
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    rho: float = 0.95
    schedule: str = "linear"
    warmup: float = 0.0
    clip: float | None = 5.0
    evaluate_every: int = 1
    patience: int | None = None
    select: str = "best"
    unfreeze: int | None = None
    sparsity: float | None = None
    pruning: str = "cubic"
    precision: str = "auto"

    def __post_init__(self) -> None:
        faults = [*_not_counts(self), *_not_numbers(self)]
        for name, allowed in (("optimizer", OPTIMIZERS), ("precision", PRECISIONS), ("select", SELECTIONS),
                              ("pruning", PRUNINGS)):
            if getattr(self, name) not in allowed:
                faults.append(f"{name} = {getattr(self, name)!r}{did_you_mean(str(getattr(self, name)), allowed)}")
        try:
            rate_factor(self.schedule, self.warmup)
        except UserError as e:
            faults += e.faults
        if self.select == "last" and self.patience is not None:
            faults.append("patience and select = 'last': there is no best epoch to wait for; take one of them away")
        if faults:
            raise UserError(faults)


def _not_counts(settings: Settings) -> list[str]:
    optional = [name for name in ("patience", "unfreeze") if getattr(settings, name) is not None]
    said = {name: getattr(settings, name) for name in ("epochs", "batch_size", "evaluate_every", *optional)}
    return [f"{name} = {value!r}; allowed: a whole number from 1 to {_MOST:,}"
            for name, value in said.items() if type(value) is not int or not 1 <= value <= _MOST]


def _not_numbers(settings: Settings) -> list[str]:
    within = {"lr": (0, _LARGEST), "weight_decay": (0, _LARGEST), "rho": (0, 1),
              **({"clip": (0, _LARGEST)} if settings.clip is not None else {}),
              **({"sparsity": (0, 1)} if settings.sparsity is not None else {})}
    said = {name: getattr(settings, name) for name in within}
    return [f"{name} = {value!r}; allowed: a number from {within[name][0]:g} to {within[name][1]:g}"
            for name, value in said.items()
            if type(value) not in (int, float) or not within[name][0] <= value <= within[name][1]]
