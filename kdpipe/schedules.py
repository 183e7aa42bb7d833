"""Schedules: progress in [0, 1] through a training -> number."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

from kdpipe.errors import UserError, did_you_mean

Schedule = Callable[[float], float]
_LARGEST = 1e30
RATES = ("linear", "constant", "cosine")


def as_schedule(value: object) -> Schedule:
    """What a recipe says -> a schedule.

        0.5                                 always 0.5
        {"linear": [a, b]}                  a + (b - a) p
        {"cosine": [a, b]}                  b + (a - b) (1 + cos(pi p)) / 2
        {"steps": [[0.0, v], [0.5, w]]}     v, and w from p = 0.5 on
        {"join": [[0.0, s], [0.5, t]]}      s over [0, 0.5), then t over [0.5, 1]: each sees its own [0, 1]

    Raises UserError for anything else. A schedule passes through.
    """
    if callable(value):
        return value
    if _is_number(value):
        return _Constant(float(value))
    if not isinstance(value, Mapping) or len(value) != 1:
        kinds = ", ".join(f"{{ {name} = ... }}" for name in _MAKE)
        raise UserError(f"schedule {value!r}: allowed: a number, or one of {kinds}")
    (name, said), = value.items()
    if name not in _MAKE:
        raise UserError(f"schedule {value!r}: no schedule '{name}'{did_you_mean(str(name), _MAKE)}")
    return _MAKE[name](said)


def rate_factor(name: str, warmup: float = 0.0) -> Schedule:
    """The factor of the learning rate: 0 to 1 over the share `warmup`, then constant, or down to 0 by line or cosine.

    Raises UserError for another name or a share outside [0, 1).
    """
    faults = []
    if name not in RATES:
        faults.append(f"schedule = {name!r}{did_you_mean(str(name), RATES)}")
    if not _is_number(warmup) or not 0 <= warmup < 1:
        faults.append(f"warmup = {warmup!r}; allowed: a share of the steps, from 0 to below 1")
    if faults:
        raise UserError(faults)
    after = as_schedule(1.0 if name == "constant" else {name: [1.0, 0.0]})
    return after if not warmup else _Join((0.0, float(warmup)), (_Line(0.0, 1.0), after))


def extremes(schedule: Schedule) -> tuple[float, float]:
    """The least and the largest value over all of [0, 1]; of a function that nobody here made, of 101 places."""
    ends = getattr(schedule, "ends", None) or [schedule(i / 100) for i in range(101)]
    return min(ends), max(ends)


# Classes, not closures: a schedule is part of an objective, which may be sent to another process.


class _Constant:
    def __init__(self, value: float):
        self.value, self.ends = value, (value,)

    def __call__(self, progress: float) -> float:
        return self.value


class _Line:
    def __init__(self, first: float, last: float):
        self.first, self.last = self.ends = first, last

    def __call__(self, progress: float) -> float:
        return self.first + (self.last - self.first) * progress


class _Cosine(_Line):
    def __call__(self, progress: float) -> float:
        return self.last + (self.first - self.last) * (1 + math.cos(math.pi * progress)) / 2


class _Join:
    """Pieces that begin at `starts`; each is told how far it is through its own piece."""

    def __init__(self, starts: Sequence[float], pieces: Sequence[Schedule]):
        self.starts, self.pieces = tuple(starts), tuple(pieces)
        self.ends = tuple(end for piece in self.pieces for end in extremes(piece))

    def __call__(self, progress: float) -> float:
        i = bisect_right(self.starts, progress) - 1
        begin, end = self.starts[i], (*self.starts, 1.0)[i + 1]
        return self.pieces[i]((progress - begin) / (end - begin))


def _line(said: object) -> Schedule:
    return _Line(*_two(said, "linear"))


def _cosine(said: object) -> Schedule:
    return _Cosine(*_two(said, "cosine"))


def _steps(said: object) -> Schedule:
    pairs = _pairs(said, "steps")
    bad = [v for _, v in pairs if not _is_number(v)]
    if bad:
        raise UserError(f"schedule steps = {said!r}: {bad[0]!r} is not a number; say [[0.0, 1.0], [0.5, 0.1]]")
    return _Join([at for at, _ in pairs], [_Constant(float(v)) for _, v in pairs])


def _join(said: object) -> Schedule:
    pairs = _pairs(said, "join")
    return _Join([at for at, _ in pairs], [as_schedule(v) for _, v in pairs])


_MAKE: Mapping[str, Callable[[object], Schedule]] = {
    "linear": _line, "cosine": _cosine, "steps": _steps, "join": _join}


def _two(said: object, name: str) -> tuple[float, float]:
    if not isinstance(said, Sequence) or len(said) != 2 or not all(map(_is_number, said)):
        raise UserError(f"schedule {name} = {said!r}: allowed: two numbers [first, last]")
    return float(said[0]), float(said[1])


def _pairs(said: object, name: str) -> list[tuple[float, object]]:
    """[[0.0, x], [0.5, y]]: shares that begin at 0 and rise, below 1."""
    ok = isinstance(said, Sequence) and len(said) > 0 and all(
        isinstance(p, Sequence) and len(p) == 2 and _is_number(p[0]) for p in said)
    starts = [p[0] for p in said] if ok else []
    if not ok or starts[0] != 0 or starts[-1] >= 1 or any(a >= b for a, b in zip(starts, starts[1:], strict=False)):
        raise UserError(f"schedule {name} = {said!r}: allowed: pairs [share, value] whose shares begin at 0, rise "
                        "and stay below 1")
    return [(float(at), value) for at, value in said]


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and -_LARGEST <= value <= _LARGEST
