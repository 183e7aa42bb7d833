"""Rows of one file that cannot be used, by what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from pathlib import Path

_SHOWN = 5


class BadRows:
    """Readers and checks add rows to it; `load` then refuses the file or drops the rows, as the task file says.

    unit: "line" or "row", what the positions count.
    """

    def __init__(self, path: Path, unit: str = "line"):
        self.path, self.unit = path, unit
        self._rows: dict[str, list[tuple[int, str]]] = {}

    def add(self, reason: str, positions: Iterable[int], found: Iterable[str] = repeat("")) -> None:
        """`reason` ends the sentence "3 rows with ..."; `found` is what stands at each position."""
        rows = list(zip(positions, found, strict=False))
        if rows:
            self._rows.setdefault(reason, []).extend(rows)

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def sentences(self) -> list[str]:
        """One sentence for each reason: the file, how many rows, where the first of them stand."""
        return [
            f"{self.path}: {counted(len(rows), 'row')} with {reason}: {self._where(rows)}"
            for reason, rows in self._rows.items()
        ]

    def _where(self, rows: list[tuple[int, str]]) -> str:
        shown = [f"{self.unit} {at} ({found})" if found else f"{self.unit} {at}" for at, found in rows[:_SHOWN]]
        more = [f"and {len(rows) - _SHOWN:,} more"] if len(rows) > _SHOWN else []
        return ", ".join(shown + more)


def counted(n: int, noun: str) -> str:
    """counted(2, "row") -> "2 rows"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def quoted(value: object) -> str:
    """A value of the user's file for a message: in quotes, escaped, cut after 40 characters."""
    text = str(value)
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
