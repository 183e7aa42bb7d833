"""TSV: one row a line, fields between tabs, no quoting: a double quote is an ordinary character."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.errors import UserError
from kdpipe.tasks._bad import BadRows, counted
from kdpipe.tasks._columns import NamedColumns, Wanted
from kdpipe.tasks._text import line_blocks


class Tsv(NamedColumns):
    """IANA text/tab-separated-values, as GLUE and most NLP sets are written.

    columns: the names of the columns of a file that has no header.
    """

    no_header: ClassVar[str] = "; if the first line is a row, name the columns in a task file: columns = [...]"

    def __init__(
        self,
        text: str | None = None,
        text_a: str | None = None,
        text_b: str | None = None,
        label: str | None = None,
        columns: list[str] | None = None,
    ):
        super().__init__(text, text_a, text_b, label)
        self.named = columns

    def columns(self, path: Path) -> list[str]:
        first = next(line_blocks(path), None)
        if first is None:
            raise UserError(f"{path}: the file is empty")
        return self.named or [name.strip() for name in first[0].as_py().split("\t")]

    def values(self, path: Path, wanted: Wanted, bad: BadRows) -> pa.Table:
        header = self.columns(path)
        places = [header.index(name) for name in wanted.names]
        parts, line = [], 1
        for lines in line_blocks(path):
            at = pa.array(range(line, line + len(lines)), pa.int64())
            skip = int(line == 1 and self.named is None)
            line += len(lines)
            fields, at = _whole(lines[skip:], at[skip:], len(header), bad)
            parts.append(pa.table([*(pc.list_element(fields, i) for i in places), at], schema=wanted.schema))
        return pa.concat_tables(parts)


def _whole(lines: pa.Array, at: pa.Array, width: int, bad: BadRows) -> tuple[pa.Array, pa.Array]:
    """The fields of the lines that have `width` of them, and where these lines stand."""
    fields = pc.split_pattern(lines, "\t")
    counts = pc.list_value_length(fields)
    good = pc.equal(counts, width)
    wrong = pc.invert(good)
    bad.add(
        f"a wrong number of fields ({counted(width, 'column')})",
        at.filter(wrong).to_pylist(),
        (counted(n, "field") for n in counts.filter(wrong).to_pylist()),
    )
    return fields.filter(good), at.filter(good)
