"""JSON lines: one JSON object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from kdpipe.errors import UserError
from kdpipe.tasks._bad import BadRows, quoted
from kdpipe.tasks._columns import NamedColumns, Wanted
from kdpipe.tasks._text import line_blocks

_SURROGATE = re.compile("[\ud800-\udfff]")


class Jsonl(NamedColumns):
    """https://jsonlines.org. Texts are strings; a label may be a string, a number, true or false."""

    def columns(self, path: Path) -> list[str]:
        """The keys of the first object."""
        bad = BadRows(path)
        first = next((row for block in _objects(path, bad) for _, row in block), None)
        if first is None:
            raise UserError(bad.sentences() or f"{path}: the file is empty")
        return list(first)

    def values(self, path: Path, wanted: Wanted, bad: BadRows) -> pa.Table:
        parts = [_table(block, wanted, bad) for block in _objects(path, bad)]
        return pa.concat_tables(parts)


def _objects(path: Path, bad: BadRows) -> Iterator[Iterator[tuple[int, dict]]]:
    """The objects of a file with their lines, block by block."""
    line = 1
    for lines in line_blocks(path):
        yield _parsed(lines, line, bad)
        line += len(lines)


def _parsed(lines: pa.Array, line: int, bad: BadRows) -> Iterator[tuple[int, dict]]:
    for at, text in enumerate(lines.to_pylist(), line):
        try:
            row = json.loads(text)
        except json.JSONDecodeError as e:
            bad.add("broken JSON", [at], [f"{e.msg}, column {e.colno}"])
        except (ValueError, RecursionError):  # a number of thousands of digits, brackets nested thousands deep
            bad.add("broken JSON", [at], ["too long or too deep"])
        else:
            if isinstance(row, dict):
                yield at, row
            else:
                bad.add("something else than a JSON object", [at], [quoted(text)])


def _table(rows: Iterator[tuple[int, dict]], wanted: Wanted, bad: BadRows) -> pa.Table:
    columns: list[list] = [[] for _ in wanted.schema]
    for line, row in rows:
        cells = [*map(row.get, wanted.texts), *([] if wanted.label is None else [_plain(row.get(wanted.label))])]
        wrong = [name for name, cell in zip(wanted.names, cells, strict=True) if not _storable(cell)]
        if wrong:
            bad.add("a value that is no text", [line], [f"{wrong[0]}: {quoted(ascii(row[wrong[0]]))}"])
            continue
        for column, cell in zip(columns, [*cells, line], strict=True):
            column.append(cell)
    return pa.table(columns, schema=wanted.schema)


def _plain(label: object) -> object:
    """A JSON label as other formats write it: 1, 1.0 -> "1"; true -> "true"."""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label) if isinstance(label, int | float) else label


def _storable(cell: object) -> bool:
    """None, or a string that UTF-8 can hold: JSON may escape half of a surrogate pair."""
    return cell is None or (isinstance(cell, str) and (cell.isascii() or not _SURROGATE.search(cell)))
