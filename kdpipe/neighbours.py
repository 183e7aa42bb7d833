"""The training rows that are nearest to other rows, by the words that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.types import NEIGHBOURS

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_CELLS = 8_000_000  # similarities that are held at once, 8 bytes each


def nearest(train: pa.Table, rows: pa.Table, k: int = 5) -> pa.Table:
    """The k training rows nearest to each row, by cosine of the TF-IDF vectors of its words and word pairs.

    Tables of schema ROWS, equal ids counted once -> schema NEIGHBOURS in the order of the ids, rank 1 first. A
    training row without a word in common is no neighbour. Equal similarities are ranked by id: the answer does not
    depend on the order of the rows.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    train, rows = _by_id(train), _by_id(rows)
    if not len(train) or not len(rows):
        return NEIGHBOURS.empty_table()
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]", dtype=np.float32)
    known = vectorizer.fit_transform(_texts(train)).T.tocsr()
    asked = vectorizer.transform(_texts(rows))
    step = max(1, _CELLS // len(train))
    found = [_best(asked[i : i + step] @ known, k) for i in range(0, len(rows), step)]
    counts = np.concatenate([counts for counts, _, _ in found])
    return pa.table(
        [
            rows["id"].take(pa.array(np.repeat(np.arange(len(rows)), counts))),
            pa.array(_ranks(counts)),
            train["id"].take(pa.array(np.concatenate([columns for _, columns, _ in found]))),
            pa.array(np.concatenate([values for _, _, values in found])),
        ],
        schema=NEIGHBOURS,
    )


def _by_id(rows: pa.Table) -> pa.Table:
    """Sorted by id, each id once."""
    rows = rows.take(pc.sort_indices(rows["id"])).combine_chunks()
    if len(rows) < 2:
        return rows
    is_new = pc.not_equal(rows["id"][1:], rows["id"][:-1])
    return rows.filter(pa.chunked_array([pa.array([True]), *is_new.chunks]))


def _texts(rows: pa.Table) -> list[str]:
    return pc.binary_join_element_wise(rows["text_a"], rows["text_b"], "\n", null_handling="skip").to_pylist()


def _best(similarities: csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k largest of each row [n, m]: how many there are [n], their columns and their values, row after row."""
    counts, columns, values = [], [], []
    for start, end in zip(similarities.indptr[:-1], similarities.indptr[1:], strict=True):
        column, value = similarities.indices[start:end], similarities.data[start:end]
        if len(value) > k:
            keep = value >= np.partition(value, len(value) - k)[len(value) - k]
            column, value = column[keep], value[keep]
        order = np.lexsort((column, -value))[:k]
        counts.append(len(order))
        columns.append(column[order])
        values.append(value[order])
    return np.array(counts), np.concatenate(columns), np.concatenate(values)


def _ranks(counts: np.ndarray) -> np.ndarray:
    """[2, 3] -> 1, 2, 1, 2, 3."""
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return (np.arange(counts.sum()) - starts + 1).astype(np.int32)
