"""From what a file says of a row to the index of its class or its score."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.tasks._bad import counted, quoted

_SHOWN = 5


def as_names(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Labels as text: trimmed, null where empty; the number 1.0 is "1"."""
    trimmed = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def as_scores(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """Labels as float64; null where there is no finite number."""
    unique = names.unique()
    numbers = pa.array([_number(text) for text in unique.to_pylist()], pa.float64())
    return pc.take(numbers, pc.index_in(names, value_set=unique))


def _number(text: str | None) -> float | None:
    if text is None or "_" in text:  # Python reads "1_0" as ten
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def has_fractions(names: Sequence[str]) -> bool:
    """Are all of these labels numbers and some of them not whole? Then they are scores, not classes."""
    numbers = [_number(name) for name in names]
    return None not in numbers and any(number % 1 for number in numbers)


def sorted_names(names: pa.ChunkedArray) -> tuple[str, ...]:
    """The distinct labels: numbers by value, words by code point."""
    distinct = names.drop_null().unique().to_pylist()
    numeric = all(_number(name) is not None for name in distinct)
    return tuple(sorted(distinct, key=lambda name: (_number(name), name) if numeric else name))


def as_classes(names: pa.ChunkedArray, labels: Sequence[str]) -> pa.ChunkedArray:
    """Labels -> index of the class as float64; null where there is no label or an unknown one."""
    return pc.index_in(names, value_set=pa.array(labels, pa.string()), skip_nulls=True).cast(pa.float64())


def strangers(table: pa.Table, unit: str) -> tuple[int, str]:
    """Rows of labels that are no classes (columns label, line) -> how many labels, "'a' (3 rows, first on line 7)"."""
    groups = table.group_by("label", use_threads=False).aggregate([("line", "count"), ("line", "min")]).to_pylist()
    shown = [
        f"{quoted(group['label'])} ({counted(group['line_count'], 'row')}, first on {unit} {group['line_min']})"
        for group in groups[:_SHOWN]
    ]
    more = [f"and {len(groups) - _SHOWN:,} more"] if len(groups) > _SHOWN else []
    return len(groups), ", ".join(shown + more)
