"""Answers as text."""

import csv
import io
import json

import pyarrow as pa
import pytest

from kdpipe.errors import UserError
from kdpipe.render import render

TABLE = pa.table(
    {
        "id": pa.array([b"\x01" * 16, None], pa.binary()),
        "score": [0.123456789, float("nan")],
        "n": [1234567, None],
        "text": ["tab\tand, \"quote\"\nline", "x" * 200],
        "made": [[{"text": "ü", "copy": 1}], []],
    }
)  # fmt: skip


def test_json_holds_everything():
    assert json.loads(render(TABLE, "json")) == [
        {"id": "01" * 16, "score": 0.123456789, "n": 1234567, "text": 'tab\tand, "quote"\nline',
         "made": [{"text": "ü", "copy": 1}]},
        {"id": None, "score": None, "n": None, "text": "x" * 200, "made": []},
    ]  # fmt: skip


def test_csv_reads_back():
    head, first, second = csv.reader(io.StringIO(render(TABLE, "csv")))
    assert head == ["id", "score", "n", "text", "made"]
    assert first == ["01" * 16, "0.123456789", "1234567", 'tab\tand, "quote"\nline', '[{"text": "ü", "copy": 1}]']
    assert second[2:4] == ["", "x" * 200]


def test_a_narrow_table_is_a_grid():
    shown = render(TABLE.select(["score", "n"]))
    assert "│ 0.1235 │ 1234567 │" in shown
    assert shown.endswith("2 rows")


def test_a_wide_table_is_shown_row_by_row_with_long_text_cut():
    wide = TABLE.append_column("text_b", [["y" * 79, "z" * 79]])
    lines = render(wide).splitlines()
    assert lines[0].startswith("-- 1 ---")
    assert lines[1] == f"id      {'01' * 16}"
    assert lines[4] == 'text    tab and, "quote" line'
    assert f"text    {'x' * 79}…" in lines


def test_a_grid_that_is_too_wide_breaks_its_names_then_lies_on_its_side():
    broken = render(pa.table({f"{letter}_rows_per_second_at_64": [640.25] for letter in "abcdef"})).splitlines()
    assert broken[1].split() == ["│", *(part for letter in "abcdef" for part in (f"{letter}_", "│"))]
    on_its_side = render(pa.table({f"column {i}": ["x" * 20, "y" * 20] for i in range(6)})).splitlines()
    assert on_its_side[3] == f"│ column 0 │ {'x' * 20} │ {'y' * 20} │"


def test_an_empty_table_shows_its_columns():
    shown = render(TABLE.slice(0, 0))
    assert "score" in shown and shown.endswith("0 rows")


def test_markup_and_terminal_codes_are_shown_not_obeyed():
    shown = render(pa.table({"text": ["[bold]x[/bold] [MASK] \x1b[31m"]}))
    assert "[bold]x[/bold] [MASK]  [31m" in shown and "\x1b" not in shown


def test_a_plan_is_shown_as_it_is():
    assert render(pa.table({"explain_key": ["physical_plan"], "explain_value": ["a\n b"]})) == "a\n b"


def test_another_format_is_refused():
    with pytest.raises(UserError, match="format 'yaml'; allowed: csv, json, table"):
        render(TABLE, "yaml")
