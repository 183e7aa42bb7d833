"""Rows that somebody chose: as a slice in the store, or as a file to label."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import pyarrow as pa

from kdpipe.errors import UserError
from kdpipe.store import Store
from kdpipe.types import SLICE

_TAKEN = ("length", "label", "negation", "unknown", "saved")


def save(store: Store, name: str, ids: Collection[bytes]) -> None:
    """A slice of these rows. Raises UserError for a name that is none or that is there, and for no rows."""
    folder = store.slice(name)
    if name.lower() in _TAKEN:
        raise UserError(f"slice '{name}': every row has a slice of this name; take another name")
    there = {path.rstrip("/").rsplit("slice=", 1)[-1].lower() for path in store.listing(folder.rsplit("/", 1)[0])}
    if name.lower() in there:
        raise UserError(f"slice '{name}' is there already and stays as it is; take another name")
    if not ids:
        raise UserError(f"slice '{name}': no row was chosen; tick some, or choose all")
    store.write_part(folder, pa.table({"id": pa.array(sorted(set(ids)), SLICE.field("id").type)}, schema=SLICE))


def to_label(rows: Iterable[Mapping[str, Any]], kind: str) -> Iterator[str]:
    """CSV that `kdpipe tasks` reads once its column of labels is filled in.

    rows: text_a, text_b, label (what is known) and origin.
    """
    empty = "score" if kind == "regression" else "label"
    first = next(rows := iter(rows), None)
    pair = first is not None and first["text_b"] is not None
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*(("text_a", "text_b") if pair else ("text",)), empty, f"known_{empty}", "origin"])
    for row in chain(() if first is None else (first,), rows):
        texts = (row["text_a"], row["text_b"] or "") if pair else (row["text_a"],)
        writer.writerow([*texts, "", row["label"] or "", row["origin"]])
        if out.tell() > 1 << 16:
            yield out.getvalue()
            out.seek(0), out.truncate()
    yield out.getvalue()

