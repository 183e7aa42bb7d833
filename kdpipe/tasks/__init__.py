"""Readers of datasets as users have them. The contract of the room; one file format or layout a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from kdpipe.tasks._bad import BadRows


class Reader(ABC):
    """Reads one file of one split into columns. Its constructor's arguments are what a task file may say of it.

    A plain format takes its column names from the task file; a GLUE layout knows them.
    """

    unit: ClassVar[str] = "line"  # what `line` counts: lines of a text file, rows of a Parquet file

    def of_split(self, split: str) -> Reader:
        """The reader of a split, where one file holds several."""
        return self

    @abstractmethod
    def read(self, path: Path, bad: BadRows, labelled: bool = True) -> pa.Table:
        """File -> columns text_a (string), text_b (string, only for pairs), label (string or float64) and
        line (int64: where each row stands in the file, 1-based).

        Rows that are no rows (wrong number of fields, broken JSON) are left out and told to `bad`. Texts are passed on
        as they are; a text or label that is not there is empty or null.
        labelled: False allows a file without the label column; the table has none then.
        Raises UserError for a file that cannot be read at all: missing, broken, not UTF-8, without a named column.
        """


PIPELINE = frozenset()
PART = Reader
NOT_PARTS = ("load", "metrics")
