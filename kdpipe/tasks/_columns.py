"""What all formats with named columns share: which column is which."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from kdpipe.errors import UserError, did_you_mean
from kdpipe.tasks import Reader
from kdpipe.tasks._bad import BadRows, quoted

_USUAL_TEXTS = (("text",), ("sentence",), ("text_a", "text_b"))
_USUAL_LABELS = ("label", "score")


@dataclass(frozen=True)
class Wanted:
    """The columns of a file that make a row."""

    texts: tuple[str, ...]  # one, or two for a pair
    label: str | None  # None: the file has no labels

    @property
    def names(self) -> list[str]:
        return [*self.texts, *([] if self.label is None else [self.label])]

    @property
    def roles(self) -> list[str]:
        return [*("text_a", "text_b")[: len(self.texts)], *([] if self.label is None else ["label"])]

    @property
    def schema(self) -> pa.Schema:
        """Of a table of these columns in a format that knows only text."""
        return pa.schema([*((role, pa.string()) for role in self.roles), ("line", pa.int64())])


class NamedColumns(Reader):
    """A format whose columns the task file names.

    text, or text_a and text_b: the columns of the texts. None: "text", "sentence", or "text_a" and "text_b".
    label: the column of the label or score. None: "label" or "score".
    """

    no_header: ClassVar[str] = ""  # what to do with a file that has no header

    def __init__(
        self, text: str | None = None, text_a: str | None = None, text_b: str | None = None, label: str | None = None
    ):
        if text is not None and (text_a is not None or text_b is not None):
            raise UserError("text: name one column (text) or the two of a pair (text_a and text_b), not both")
        if (text_a is None) != (text_b is None):
            raise UserError("text_a, text_b: a pair needs both; a single text is called text")
        self.texts = (text,) if text is not None else (text_a, text_b) if text_a is not None else None
        self.label = label

    @abstractmethod
    def columns(self, path: Path) -> list[str]:
        """The names of all columns, in order."""

    @abstractmethod
    def values(self, path: Path, wanted: Wanted, bad: BadRows) -> pa.Table:
        """The wanted columns under the names of their roles, then line."""

    def read(self, path: Path, bad: BadRows, labelled: bool = True) -> pa.Table:
        return self.values(path, self.wanted(path, labelled), bad)

    def wanted(self, path: Path, labelled: bool = True) -> Wanted:
        """Which columns of the file are read. Raises UserError naming those that it lacks or has twice."""
        found = self.columns(path)
        texts = self.texts or next((names for names in _USUAL_TEXTS if set(names) <= set(found)), None)
        label = self.label or next((name for name in _USUAL_LABELS if name in found), None)
        faults = []
        if texts is None:
            faults.append("no column 'text', 'sentence', or 'text_a' and 'text_b'")
        if label is None and labelled:
            faults.append("no column 'label' or 'score'")
        if label not in found and not labelled:
            label = None
        wanted = Wanted(texts or (), label)
        faults += [fault for name in wanted.names if (fault := _missing(name, found))]
        if faults:
            raise UserError(f"{path}: {fault}; columns found: {_shown(found)}{self.no_header}" for fault in faults)
        return wanted


def _missing(name: str, found: list[str]) -> str:
    if found.count(name) > 1:
        return f"{found.count(name)} columns are named {quoted(name)}"
    hint = did_you_mean(name, found)
    return "" if name in found else f"no column {quoted(name)}" + (hint if "did you mean" in hint else "")


def _shown(found: list[str]) -> str:
    return ", ".join(map(quoted, found[:12])) + (f" and {len(found) - 12} more" if len(found) > 12 else "")
