"""Tables of answers as text: for reading, as CSV, as JSON. Ids are shown in hex."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
from collections.abc import Callable, Sequence

import pyarrow as pa

from kdpipe.errors import UserError, did_you_mean

_LONGEST = 80  # characters of a cell that is shown for reading


def render(table: pa.Table, form: str = "table") -> str:
    """form "table": for reading, numbers rounded and long text cut; "csv" and "json": all that there is.

    The text does not end in a line end. Raises UserError for another form.
    """
    check_form(form)
    return _FORMS[form](table)


def check_form(form: str) -> None:
    """Raises UserError for a form that `render` does not know."""
    if form not in _FORMS:
        raise UserError(f"format '{form}'{did_you_mean(form, _FORMS)}")


def _table(table: pa.Table) -> str:
    """The first that the terminal is wide enough for: a grid; one with broken names; one on its side; row by row."""
    if table.column_names == ["explain_key", "explain_value"]:
        return "\n".join(table["explain_value"].to_pylist())
    width = shutil.get_terminal_size((120, 24)).columns
    names, cells = table.column_names, [[_shown(v) for v in column.to_pylist()] for column in table.columns]
    numbers = [pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in table.schema.types]
    lines = _grid(names, cells, numbers)
    if len(lines[0]) > width and len(table):
        lines = _grid([re.sub("[_ ]", "\\g<0>\n", name) for name in names], cells, numbers)
    if len(lines[0]) > width and 0 < len(table) <= 9:
        numbered = [str(i + 1) for i in range(len(table))]
        lines = _grid(["", *numbered], [names, *zip(*cells, strict=True)], [False] * (1 + len(table)))
    if len(lines[0]) > width and len(table):
        lines = _records(table, cells, width)
    return "\n".join([*lines, f"{len(table)} row{'' if len(table) == 1 else 's'}"])


def _grid(names: Sequence[str], cells: Sequence[Sequence[str]], numbers: Sequence[bool]) -> list[str]:
    """Columns under their names; numbers stand on the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.ROUNDED)
    for name, number in zip(names, numbers, strict=True):
        grid.add_column(Text(name), justify="right" if number else "left", no_wrap=True)
    for row in zip(*cells, strict=True):
        grid.add_row(*map(Text, row))
    out = io.StringIO()
    Console(file=out, width=100_000, color_system=None).print(grid)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def _records(table: pa.Table, cells: list[list[str]], width: int) -> list[str]:
    """A table that is wider than the terminal: each row as lines of "name  value"."""
    left = max(map(len, table.column_names))
    lines = []
    for i in range(len(table)):
        lines.append(f"-- {i + 1} ".ljust(width, "-"))
        lines += [f"{name:{left}}  {column[i]}" for name, column in zip(table.column_names, cells, strict=True)]
    return [line.rstrip() for line in lines]


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
    text = value if isinstance(value, str) else _text(value)
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _csv(table: pa.Table) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.column_names)
    for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
        writer.writerow(["" if v is None else v if isinstance(v, str) else _text(v) for v in row])
    return out.getvalue().rstrip("\n")


def _json(table: pa.Table) -> str:
    return json.dumps(_plain(table.to_pylist()), indent=1, ensure_ascii=False, allow_nan=False)


def _text(value: object) -> str:
    plain = _plain(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _plain(value: object) -> object:
    """Only what JSON knows: ids in hex, times in ISO 8601, no NaN."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


_FORMS: dict[str, Callable[[pa.Table], str]] = {"table": _table, "csv": _csv, "json": _json}
