"""A task by name, task file, folder or data file -> its rows, labelled; what there is to know of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.errors import UserError, did_you_mean
from kdpipe.leaks import HeldOut
from kdpipe.tasks import _labels, _rows, metrics
from kdpipe.tasks._bad import counted
from kdpipe.tasks._find import available, find
from kdpipe.tasks._taskfile import Source
from kdpipe.tasks._text import line_blocks
from kdpipe.types import ROWS, Kind, Task, row_ids

__all__ = ["available", "describe", "load", "overlap", "read_unlabelled"]

log = logging.getLogger("kdpipe.tasks")


def load(ref: str | Path, limit: Mapping[str, int] | None = None) -> Task:
    """A task with all of its splits.

    ref: the name of a shipped task, a task file, a folder that holds task.toml, or a data file. Of a data file
    (.csv, .tsv, .jsonl, .parquet, also .gz; columns text, sentence, or text_a and text_b; label or score) a tenth of
    the texts becomes dev and another tenth test, by the hash of the text: the same for any order of the rows.
    limit: at most so many rows of a split, those of the smallest ids: the same for any order of the rows, and a
    larger limit keeps the rows of a smaller one.
    Raises UserError with every fault of the task file, else with every fault of its rows.
    """
    source = find(ref)
    tables = _rows.read(source)
    labels = _class_names(source, tables) if source.kind == "classification" else ()
    splits = _with_classes(source, tables, labels) if labels else tables
    splits = {split: table.select(ROWS.names).cast(ROWS) for split, table in splits.items()}
    if "all" in splits:
        splits = _split_by_id(source, splits["all"])
    if source.near is not None:
        splits["train"] = _without_leaks(source, splits)
    readable = tuple(source.names.get(label, label) for label in labels)
    return Task(source.name, source.kind, readable, source.metrics, _limited(splits, limit or {}))


def _class_names(source: Source, tables: Mapping[str, pa.Table]) -> tuple[str, ...]:
    """The labels by index, as they stand in the files. Raises UserError where they make no classification."""
    labels = source.labels or _labels.sorted_names(tables.get("all", tables.get("train"))["label"])
    faults = []
    if len(labels) < 2:
        faults.append(f"{source.where}: the only label is {', '.join(labels)}; a classification has at least 2")
    if "all" in source.files and _labels.has_fractions(labels):
        faults.append(f"{source.where}: the labels are numbers with fractions; call the column score for a regression")
    faults += [
        f"{source.where} -> names: no label '{key}'{did_you_mean(key, labels)}"
        for key in source.names
        if key not in labels
    ]
    readable = [source.names.get(label, label) for label in labels]
    faults += [
        f"{source.where} -> names: two labels are called '{name}'; give each its own name"
        for name in sorted({name for name in readable if readable.count(name) > 1})
    ]
    faults += [
        f"{source.where} -> metrics: {fault}" for fault in metrics.check(source.metrics, source.kind, len(labels))
    ]
    if faults:
        raise UserError(faults)
    return labels


def _with_classes(source: Source, tables: Mapping[str, pa.Table], labels: tuple[str, ...]) -> dict[str, pa.Table]:
    """Each split with class indexes for labels; rows of unknown labels refused or left out, as the task file says."""
    splits, faults = {}, []
    for split, table in tables.items():
        classes = _labels.as_classes(table["label"], labels)
        strange = pc.and_(pc.is_null(classes), pc.is_valid(table["label"]))
        if pc.any(strange).as_py():
            found = _strangers(source, split, table.filter(strange))
            if source.unknown_labels == "drop":
                log.warning("%s: left out", found)
            else:
                faults.append(f'{found}; list them in labels, or set unknown_labels = "drop" in {source.where}')
        kept = pc.invert(strange)
        splits[split] = table.set_column(table.column_names.index("label"), "label", classes).filter(kept)
        if not len(splits[split]):
            faults.append(f"{source.files[split]}: no row has a label of the task, such as '{labels[0]}'")
    if not faults and pc.count_distinct(splits.get("train", splits.get("all"))["label"]).as_py() < 2:
        faults.append(f"{source.where}: all training rows have one label; a classification needs at least 2")
    if faults:
        raise UserError(faults)
    return splits


def _strangers(source: Source, split: str, rows: pa.Table) -> str:
    count, what = _labels.strangers(rows, source.reader.unit)
    lacks = "labels does not list" if source.labels else "train lacks"
    return f"{source.files[split]}: {counted(count, 'label')} that {lacks}: {what}"


def _leading(table: pa.Table) -> np.ndarray:
    """The first eight bytes of each id as a number: a hash of the texts, uint64 [n]."""
    ids = b"".join(table["id"].to_pylist())
    return np.frombuffer(ids, dtype=">u8")[::2].astype(np.uint64)


def _split_by_id(source: Source, rows: pa.Table) -> dict[str, pa.Table]:
    """Eight tenths train, one tenth dev, one tenth test; equal texts stay together."""
    tenth = _leading(rows) % 10
    splits = {
        "train": rows.filter(pa.array(tenth > 1)),
        "dev": rows.filter(pa.array(tenth == 0)),
        "test": rows.filter(pa.array(tenth == 1)),
    }
    if not all(map(len, splits.values())):
        raise UserError(
            f"{source.where}: {counted(len(rows), 'row')}, too few to split off dev and test; "
            "bring more rows, or name train and dev files in a task file"
        )
    return splits


def _without_leaks(source: Source, splits: Mapping[str, pa.Table]) -> pa.Table:
    """The training rows that are no copies of dev or test rows, nor near one."""
    train = splits["train"]
    held_out = pa.concat_tables([rows for split, rows in splits.items() if split != "train"])
    leaked = pc.is_in(train["id"], value_set=held_out["id"].combine_chunks()).to_numpy()
    leaked[HeldOut(held_out, source.near).find(train).rows] = True
    if leaked.all():
        raise UserError(f"{source.where} -> near: all training rows are copies of dev or test rows, or near one")
    if leaked.any():
        log.warning("%s: left out, copies of dev or test rows or near one (near = %g): %s",
                    source.files["train"], source.near, counted(int(leaked.sum()), "row"))
    return train.filter(pa.array(~leaked))


def _limited(splits: Mapping[str, pa.Table], limit: Mapping[str, int]) -> dict[str, pa.Table]:
    faults = [f"limit: no split '{split}'{did_you_mean(split, splits)}" for split in limit if split not in splits]
    faults += [f"limit: found {n} for {split}; at least 1 row is needed" for split, n in limit.items() if n < 1]
    if faults:
        raise UserError(faults)
    return {split: _sample(table, limit[split]) if split in limit else table for split, table in splits.items()}


def _sample(table: pa.Table, n: int) -> pa.Table:
    """The n rows of the smallest ids, in the order of the table."""
    return table.take(np.sort(np.argsort(_leading(table), kind="stable")[:n]))


def overlap(task: Task) -> dict[str, int]:
    """For dev and test: how many of its rows stand, text for text, in train as well."""
    train = task.splits["train"]["id"].combine_chunks()
    return {
        split: pc.sum(pc.is_in(table["id"], value_set=train)).as_py()
        for split, table in task.splits.items()
        if split != "train"
    }


def describe(task: Task) -> dict[str, Any]:
    """What a user may want to see first: classes, metrics, and of each split its size, balance, lengths and leaks."""
    seen = overlap(task)
    return {
        "name": task.name,
        "kind": task.kind,
        "pair": task.pair,
        "labels": list(task.labels),
        "metrics": list(task.metrics),
        "splits": {
            split: {**_about(table, task.kind), "also_in_train": seen.get(split)}
            for split, table in task.splits.items()
        },
    }


def _about(table: pa.Table, kind: Kind) -> dict[str, Any]:
    """majority: share of the largest class, what a constant answer scores. Words are by white space, both texts."""
    words = pc.list_value_length(pc.utf8_split_whitespace(table["text_a"]))
    words = pc.add(words, pc.fill_null(pc.list_value_length(pc.utf8_split_whitespace(table["text_b"])), 0))
    counts = pc.value_counts(table["label"].drop_null()).field("counts") if kind == "classification" else None
    return {
        "rows": len(table),
        "labelled": len(table) - table["label"].null_count,
        "majority": pc.max(counts).as_py() / pc.sum(counts).as_py() if counts else None,
        "distinct": pc.count_distinct(table["id"]).as_py(),
        "mean_words": pc.mean(words).as_py(),
        "max_words": pc.max(words).as_py(),
    }


def read_unlabelled(path: Path) -> pa.Table:
    """Plain text (or .gz), one sentence a line -> rows of schema ROWS without labels; blank lines are skipped."""
    parts, blank = [], 0
    for lines in line_blocks(Path(path)):
        full = pc.not_equal(pc.utf8_trim_whitespace(lines), "")
        texts = lines.filter(full)
        blank += len(lines) - len(texts)
        parts.append(
            pa.table(
                [row_ids(texts), texts, pa.nulls(len(texts), pa.string()), pa.nulls(len(texts), pa.float64())],
                schema=ROWS,
            )
        )
    if blank:
        log.warning("%s: %s skipped", path, counted(blank, "blank line"))
    if not any(map(len, parts)):
        raise UserError(f"{path}: no sentences; one sentence a line is needed")
    return pa.concat_tables(parts)
