"""Rows as tagged words, kept in the store: each text is tagged once ever by each tagger."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from kdpipe.augment._spacy import fingerprint, pipeline
from kdpipe.augment._tokens import Tokenised
from kdpipe.idset import IdSet, halves, order
from kdpipe.progress import bar
from kdpipe.store import Store
from kdpipe.types import ID
from kdpipe.workers import cores, in_order

TAGS = pa.schema([
    pa.field("id", ID, nullable=False),
    pa.field("segment", pa.int8(), nullable=False),  # 0: text_a, 1: text_b
    pa.field("words", pa.list_(pa.string()), nullable=False),
    pa.field("tags", pa.list_(pa.string()), nullable=False),
])

_SHARD = 4096  # rows tagged and stored at once: what a killed run loses at most
_FEW = 2 * _SHARD  # for fewer rows starting worker processes takes longer than tagging


def split_rows(rows: pa.Table, tagger: str) -> Tokenised:
    """Rows of schema ROWS -> their words by the pipeline's tokenizer, without tags."""
    spacy = pipeline(tagger)
    return Tokenised.of(halves(rows["id"]), [spacy.split(rows[name]) for name in text_columns(rows)])


def tagged_rows(store: Store, rows: pa.Table, tagger: str, workers: int | None = None) -> Tokenised:
    """Rows of schema ROWS, each id once, sorted by `idset.order` -> their words and tags.

    Only rows that the store lacks are tagged: by `workers` processes, by default one for each core where there are
    many rows.
    """
    columns = text_columns(rows)
    known = _stored(store, tagger, rows)
    missing = rows.filter(pa.array(~IdSet(halves(known["id"])).has(halves(rows["id"]))))
    if len(missing):
        known = pa.concat_tables([known, *_tag_and_store(store, missing, tagger, columns, workers)])
    segments = [_of_segment(known, s) for s in range(len(columns))]
    words, tags = ([part[name].combine_chunks() for part in segments] for name in ("words", "tags"))
    found = Tokenised.of(halves(segments[0]["id"]), words, tags)
    return found.take(_once(found.ids))  # codes are put in order, not strings


def text_columns(rows: pa.Table) -> tuple[str, ...]:
    """("text_a",) for single texts, ("text_a", "text_b") for pairs."""
    return ("text_a",) if rows["text_b"].null_count == len(rows) else ("text_a", "text_b")


def _stored(store: Store, tagger: str, rows: pa.Table) -> pa.Table:
    wanted = IdSet(halves(rows["id"]))
    parts = [_only(part, wanted.has(halves(part["id"]))) for part in store.scan(store.tags(fingerprint(tagger)))]
    return pa.concat_tables([TAGS.empty_table(), *(part.replace_schema_metadata() for part in parts)])


def _tag_and_store(store: Store, rows: pa.Table, tagger: str, columns: Sequence[str],
                   workers: int | None) -> list[pa.Table]:
    if workers is None:
        workers = cores() if len(rows) > _FEW else 1
    shards = [rows.select(["id", *columns]).slice(start, _SHARD) for start in range(0, len(rows), _SHARD)]
    made = []
    with bar("tag", len(rows)) as advance:
        for tagged in in_order(_tag, ((tagger, shard) for shard in shards), min(workers, len(shards))):
            store.write_part(store.tags(fingerprint(tagger)), tagged, {"kdpipe.tagger": tagger})
            made.append(tagged)
            advance(len(tagged) // len(columns))
    return made


def _tag(tagger: str, rows: pa.Table) -> pa.Table:
    """A table of id and texts -> a table of schema TAGS, segment after segment."""
    segments = []
    for segment, name in enumerate(rows.column_names[1:]):
        words, tags = pipeline(tagger).tag(rows[name].to_pylist())
        number = pa.repeat(pa.scalar(segment, pa.int8()), len(rows))
        segments.append(pa.Table.from_arrays([rows["id"], number, words, tags], schema=TAGS))
    return pa.concat_tables(segments)


def _of_segment(known: pa.Table, segment: int) -> pa.Table:
    """The rows of one segment; those of the other stand in the same order."""
    return _only(known, known["segment"].to_numpy() == segment)


def _only(rows: pa.Table, wanted: np.ndarray) -> pa.Table:
    return rows if wanted.all() else rows.filter(pa.array(wanted))


def _once(ids: np.ndarray) -> np.ndarray:
    """Places that sort the ids, each id once (two processes may have tagged the same row)."""
    by_id = order(ids)
    ids = ids[by_id]
    first = np.ones(len(ids), bool)
    first[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    return by_id[first]
