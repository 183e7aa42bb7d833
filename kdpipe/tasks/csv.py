"""CSV as RFC 4180 has it: fields between commas; a field in double quotes may hold commas, quotes and line ends."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from kdpipe.errors import UserError
from kdpipe.tasks._bad import BadRows, counted
from kdpipe.tasks._columns import NamedColumns, Wanted
from kdpipe.tasks._text import blocks

_ROWS = 1 << 16  # rows that are Python objects at one time
_LONGEST = 1 << 30  # characters of a field; Python's own limit is 131,072, less than a 20,000-word text


class Csv(NamedColumns):
    """RFC 4180. A broken quote stops the reading: what follows it could be anything.

    delimiter: what stands between fields, one character.
    columns: the names of the columns of a file that has no header.
    """

    no_header: ClassVar[str] = "; if the first line is a row, name the columns in a task file: columns = [...]"

    def __init__(
        self,
        text: str | None = None,
        text_a: str | None = None,
        text_b: str | None = None,
        label: str | None = None,
        delimiter: str = ",",
        columns: list[str] | None = None,
    ):
        super().__init__(text, text_a, text_b, label)
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise UserError(f"delimiter: found {delimiter!r}; one character is needed, no quote and no line end")
        self.delimiter, self.named = delimiter, columns

    def columns(self, path: Path) -> list[str]:
        first = next(self._rows(path), None)
        if first is None:
            raise UserError(f"{path}: the file is empty")
        return self.named or [name.strip() for name in first[1]]

    def values(self, path: Path, wanted: Wanted, bad: BadRows) -> pa.Table:
        header = self.columns(path)
        pick = itemgetter(*map(header.index, wanted.names), len(header))
        rows = islice(self._rows(path), 0 if self.named else 1, None)
        good = (pick([*row, line]) for line, row in _whole(rows, len(header), bad))
        parts = []
        while some := list(islice(good, _ROWS)):
            parts.append(pa.table(list(map(pa.array, zip(*some, strict=True))), schema=wanted.schema))
        return pa.concat_tables(parts) if parts else wanted.schema.empty_table()

    def _rows(self, path: Path) -> Iterator[tuple[int, list[str]]]:
        """Each row with the line that it begins on."""
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
        lines = (line for block in blocks(path) for line in io.StringIO(block.decode(), newline="\n"))
        rows = csv.reader(lines, delimiter=self.delimiter, strict=True)
        begins = 1
        try:
            for row in rows:
                yield begins, row
                begins = rows.line_num + 1
        except csv.Error as e:
            raise UserError(
                f"{path}: the row that begins on line {begins} is broken CSV ({e}); a text that holds quotes, commas "
                "or line ends stands in double quotes, each quote inside it written twice"
            ) from None


def _whole(rows: Iterator[tuple[int, list[str]]], width: int, bad: BadRows) -> Iterator[tuple[int, list[str]]]:
    reason = f"a wrong number of fields ({counted(width, 'column')})"
    for line, row in rows:
        if len(row) == width:
            yield line, row
        else:
            bad.add(reason, [line], [counted(len(row), "field")])
