"""What objectives on the inside share: layer maps, buckets of layers, projections, averages over real tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from kdpipe.errors import UserError, did_you_mean
from kdpipe.objectives._precision import full
from kdpipe.types import Shape

Pairs = tuple[tuple[int, int], ...]  # (student's layer, teacher's layer), student's layers rising
Buckets = tuple[tuple[int, tuple[int, ...]], ...]  # (student's layer, teacher's layers), student's layers rising
Words = Mapping[str, Callable[[int, int], Pairs]]  # numbers of layers of student and teacher -> pairs; () for none
BucketWords = Mapping[str, Callable[[int, int], Buckets]]
SCHEDULES = ("all", "progressive", "stacked")


def uniform(student: int, teacher: int) -> Pairs:
    """Student's layer m <- teacher's layer m L_T / L_S, for m = 1 .. L_S."""
    return () if teacher % student else tuple((m, m * teacher // student) for m in range(1, student + 1))


def last(student: int, teacher: int) -> Pairs:
    """The last layer <- the last layer."""
    return ((student, teacher),)


def check_layers(name: str, said: object, words: Iterable[str]) -> None:
    """Raises UserError unless this is a word or a list that can say a layer map."""
    if isinstance(said, str):
        one_of(name, "layers", said, words)
    elif not _are_layers(said) and not _are_pairs(said):
        raise UserError(f"{name}: layers = {said!r}; allowed: {', '.join(map(repr, words))}, the teacher's layers in "
                        "order ([2, 4, 6]), or pairs of student's and teacher's layers ([[1, 4], [2, 6]])")


def pairs_of(said: str | Sequence, words: Words, student: Shape, teacher: Shape, first: int = 1) -> Pairs:
    """A layer map as a recipe says it -> pairs of layers, which `pair_faults` must then judge.

    said: one of the words; the teacher's layers for the student's layers first, first + 1, ... in order; or pairs.
    """
    if isinstance(said, str):
        return words[said](student.layers, teacher.layers)
    return tuple(sorted(map(tuple, said))) if _are_pairs(said) else tuple(enumerate(said, start=first))


def pair_faults(name: str, said: object, pairs: Pairs, student: Shape, teacher: Shape, first: int = 1) -> list[str]:
    """All that is wrong with a layer map. first: the least layer, 0 where that of the embeddings counts."""
    here = f"{name}: layers = {said!r}"
    if not pairs:
        return [f"{here} {_nothing(student, teacher)}; name them, as in layers = [[1, {teacher.layers}]]"]
    faults = [f"{here}: {fault}" for fault in (*_not_there("student", [s for s, _ in pairs], student, first),
                                               *_not_there("teacher", [t for _, t in pairs], teacher, first))]
    return faults + [f"{here}: the student's layer {s} is named {n} times"
                     for s, n in Counter(s for s, _ in pairs).items() if n > 1]


def teacher_layers(pairs: Pairs) -> tuple[int, ...]:
    """The teacher's layers of a map, each once."""
    return tuple(sorted({t for _, t in pairs}))


def _are_layers(said: object) -> bool:
    return isinstance(said, Sequence) and len(said) > 0 and all(type(layer) is int for layer in said)


def _are_pairs(said: object) -> bool:
    return isinstance(said, Sequence) and len(said) > 0 and all(_are_layers(p) and len(p) == 2 for p in said)


def _nothing(student: Shape, teacher: Shape) -> str:
    numbers = f"a student of {student.layers} and a teacher of {teacher.layers} layers"
    why = f": {student.layers} does not divide {teacher.layers}" if teacher.layers % student.layers else ""
    return f"maps no layers between {numbers}{why}"


def _not_there(side: str, layers: Iterable[int], shape: Shape, first: int) -> list[str]:
    wrong = sorted({layer for layer in layers if not first <= layer <= shape.layers})
    there = f"{first} to {shape.layers}" if shape.layers > first else f"{first}"
    return [f"the {side} has no layer {', '.join(map(str, wrong))}; it has {there}"] if wrong else []


def even_buckets(student: int, teacher: int) -> Buckets:
    """The teacher's layers cut into runs as even as can be, one for each of the student's: 6 -> 2 gives 1-3, 4-6."""
    ends = [-(-teacher * m // student) for m in range(student + 1)]
    return tuple((m, tuple(range(ends[m - 1] + 1, ends[m] + 1))) for m in range(1, student + 1))


def wide_buckets(student: int, teacher: int) -> Buckets:
    """The even buckets, each longer by one layer on each side where there is one: 6 -> 2 gives 1-4 and 3-6."""
    return tuple((m, tuple(range(max(run[0] - 1, 1), min(run[-1] + 1, teacher) + 1)) if run else run)
                 for m, run in even_buckets(student, teacher))


def check_buckets(name: str, said: object, words: Iterable[str]) -> None:
    """Raises UserError unless this is a word or a list of lists of layers."""
    if isinstance(said, str):
        one_of(name, "buckets", said, words)
    elif not isinstance(said, Sequence) or not said or not all(map(_are_layers, said)):
        raise UserError(f"{name}: buckets = {said!r}; allowed: {', '.join(map(repr, words))}, or the teacher's layers "
                        "for each of the student's in order ([[1, 2, 3], [4, 5, 6]])")


def buckets_of(said: str | Sequence, words: BucketWords, student: Shape, teacher: Shape) -> Buckets:
    """Buckets as a recipe says them -> (student's layer, teacher's layers), which `bucket_faults` must then judge."""
    if isinstance(said, str):
        return words[said](student.layers, teacher.layers)
    return tuple((m, tuple(bucket)) for m, bucket in enumerate(said, start=1))


def bucket_faults(name: str, said: object, buckets: Buckets, student: Shape, teacher: Shape) -> list[str]:
    """All that is wrong with buckets."""
    faults = [*_not_there("student", [m for m, _ in buckets], student, 1),
              *_not_there("teacher", [t for _, bucket in buckets for t in bucket], teacher, 1)]
    if not all(bucket for _, bucket in buckets):
        faults.append(f"the teacher's {teacher.layers} layers are too few for a student of {student.layers}; name them")
    faults += [f"the teacher's layer {t} is {n} times in the bucket of the student's layer {m}"
               for m, bucket in buckets for t, n in Counter(bucket).items() if n > 1]
    return [f"{name}: buckets = {said!r}: {fault}" for fault in faults]


def in_force(pairs: Pairs, schedule: str, progress: float) -> Pairs:
    """The pairs that count now, where training is cut evenly over the pairs from bottom to top.

    "all": all of them, all the time; "progressive": one at a time; "stacked": the present one and all below it.
    """
    if schedule == "all":
        return pairs
    now = min(int(progress * len(pairs)), len(pairs) - 1)
    return pairs[now if schedule == "progressive" else 0:now + 1]


def widths_of(pairs: Pairs, student: Shape, teacher: Shape) -> dict[int, tuple[int, int]]:
    """Student's layer -> the widths of the student's and the teacher's states."""
    return {s: (student.width if s else student.embedding, teacher.width if t else teacher.embedding)
            for s, t in pairs}


def width_faults(name: str, widths: Iterable[tuple[int, int]], project: bool) -> list[str]:
    """What is wrong where widths differ and no projection is allowed."""
    return [] if project else [
        f"{name}: the student's states have {ours} numbers, the teacher's {theirs}; take a student of this width, or "
        "project = true" for ours, theirs in sorted(set(widths)) if ours != theirs]


def head_faults(name: str, student: Shape, teacher: Shape) -> list[str]:
    """What is wrong where the numbers of attention heads differ."""
    return [] if student.heads == teacher.heads else [
        f"{name}: the student has {student.heads or 'no'} attention heads, the teacher {teacher.heads or 'none'}; "
        "their numbers must be equal"]


def refuse(faults: Sequence[str]) -> None:
    """Raises UserError where there are faults."""
    if faults:
        raise UserError(faults)


class Projections(nn.ModuleDict):
    """For each of the student's layers a linear map to another width, or none where the widths are equal."""

    def __init__(self, widths: Mapping[int, tuple[int, int]], bias: bool = False, always: bool = False):
        """widths: layer -> (student's width, width wanted). always: make a map between equal widths too."""
        super().__init__({str(layer): nn.Linear(ours, wanted, bias=bias)
                          for layer, (ours, wanted) in widths.items() if always or ours != wanted})

    def project(self, layer: int, states: Tensor) -> Tensor:
        """[..., H_S] -> [..., H_T], at least float32"""
        states = full(states)
        return self[str(layer)](states) if str(layer) in self else states


def of_teacher(states: Tensor) -> Tensor:
    """A teacher's values: at least float32, and no gradient goes back."""
    return full(states).detach()


def real(states: Tensor, mask: Tensor) -> Tensor:
    """States [B, N, H] with 0 at padding: nothing that stood there, not even a NaN, gets into a loss or a gradient."""
    return states.masked_fill(~mask[..., None], 0)


def token_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Values [B, N], one for each token -> the mean over each row's real tokens [B]."""
    return values.masked_fill(~mask, 0).sum(1) / mask.sum(1).clamp(min=1)


def unit(vectors: Tensor, dim: int = -1) -> Tensor:
    """x / ||x||; 0 stays 0, and the gradient there is finite."""
    norm = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors / norm.where(norm > 0, 1)


def one_of(name: str, argument: str, value: object, allowed: Iterable[str]) -> None:
    """Raises UserError unless the value is one of these words."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise UserError(f"{name}: {argument} = {value!r}{did_you_mean(str(value), allowed)}")


def number(name: str, argument: str, value: object, least: float, most: float = float("inf"),
           above: bool = False) -> None:
    """Raises UserError unless the value is a finite number from `least` (above it, where said) to `most`."""
    ok = type(value) in (int, float) and least <= value <= most and value < float("inf")
    if not ok or (above and value == least):
        bound = f"above {least:g}" if above else f"from {least:g}"
        end = "" if most == float("inf") else f" to {most:g}"
        raise UserError(f"{name}: {argument} = {value!r}; allowed: a number {bound}{end}")


def flags(name: str, **values: object) -> None:
    """Raises UserError unless every value is true or false."""
    refuse([f"{name}: {argument} = {value!r}; allowed: true or false"
            for argument, value in values.items() if type(value) is not bool])
