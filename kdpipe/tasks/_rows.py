"""The rows of one split as a file has them, checked."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.errors import UserError
from kdpipe.tasks import _labels
from kdpipe.tasks._bad import BadRows, quoted
from kdpipe.tasks._taskfile import Source
from kdpipe.types import row_ids

log = logging.getLogger("kdpipe.tasks")


def read(source: Source) -> dict[str, pa.Table]:
    """Columns id, text_a, text_b, label (text in classification, float64 in regression) and line of each split.

    Raises UserError with the faults of all files.
    """
    tables, faults = {}, []
    for split, path in source.files.items():
        try:
            tables[split] = _split(source, split, path, labelled=split != "test")
        except UserError as e:
            faults += e.faults
    if faults:
        raise UserError(dict.fromkeys(faults))  # one file may hold several splits
    return tables


def _split(source: Source, split: str, path: Path, labelled: bool) -> pa.Table:
    bad = BadRows(path, source.reader.unit)
    table = source.reader.of_split(split).read(path, bad, labelled)
    table = _with_texts(table, bad)
    table = _with_labels(table, source, bad, labelled)
    _settle(bad, source)
    if not len(table):
        raise UserError(f"{path}: no rows")
    pair = "text_b" in table.column_names
    text_b = table["text_b"] if pair else pa.nulls(len(table), pa.string())
    return pa.table(
        {
            "id": row_ids(table["text_a"], text_b if pair else None),
            "text_a": table["text_a"],
            "text_b": text_b,
            "label": table["label"],
            "line": table["line"],
        }
    )


def _with_texts(table: pa.Table, bad: BadRows) -> pa.Table:
    """The rows whose every text holds more than white space."""
    for column in ("text_a", "text_b"):
        if column in table.column_names:
            empty = pc.equal(pc.utf8_trim_whitespace(table[column]), "").fill_null(True)
            table = _without(table, empty, "an empty text", bad)
    return table


def _with_labels(table: pa.Table, source: Source, bad: BadRows, labelled: bool) -> pa.Table:
    """The rows with their label as text or number; null is allowed where `labelled` is False."""
    if "label" not in table.column_names:
        kind = pa.string() if source.kind == "classification" else pa.float64()
        return table.append_column("label", pa.nulls(len(table), kind))
    names = _labels.as_names(table["label"])
    table = table.set_column(table.column_names.index("label"), "label", names)
    if labelled:
        table = _without(table, pc.is_null(names), "no label", bad)
    if source.kind == "classification":
        return table
    names = table["label"]
    scores = _labels.as_scores(names)
    wrong = pc.and_(pc.is_null(scores), pc.is_valid(names))
    table = table.append_column("score", scores)
    table = _without(table, wrong, "a score that is no finite number", bad, "label")
    return table.drop_columns("label").rename_columns({"score": "label"})


def _without(table: pa.Table, wrong: pa.ChunkedArray, reason: str, bad: BadRows, show: str = "") -> pa.Table:
    """The rows that are not wrong; the others are told to `bad`, with their value in the column `show`."""
    if not pc.any(wrong).as_py():
        return table
    rows = table.filter(wrong)
    bad.add(reason, rows["line"].to_pylist(), *([map(quoted, rows[show].to_pylist())] if show else []))
    return table.filter(pc.invert(wrong))


def _settle(bad: BadRows, source: Source) -> None:
    """Refuse the file or leave the bad rows out, as the task file says."""
    if bad and source.bad_rows == "refuse":
        drop = "" if "all" in source.files else f', or set bad_rows = "drop" in {source.where}'
        raise UserError(f"{sentence}; mend or delete them{drop}" for sentence in bad.sentences())
    for sentence in bad.sentences():
        log.warning("%s: left out", sentence)
