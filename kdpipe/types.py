"""All that crosses rooms: tables of rows, tasks, token batches, model outputs, sources of teacher signals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import pyarrow as pa
import xxhash

if TYPE_CHECKING:
    from torch import Tensor

ID = pa.binary(16)

# A gold or unlabelled row. `label` is the index of the class or the score; null where nobody gave one.
ROWS = pa.schema(
    [
        pa.field("id", ID, nullable=False),
        pa.field("text_a", pa.string(), nullable=False),
        pa.field("text_b", pa.string()),
        pa.field("label", pa.float64()),
    ]
)

# A row that a student learns from, with its lineage. `operator` is "gold", "unlabelled" or the names of all
# operators that changed the row, joined by "+" ("mask+ngram"). `source` is the id of the row it was made from.
TRANSFER = pa.schema(
    [
        *ROWS,
        pa.field("source", ID, nullable=False),
        pa.field("operator", pa.string(), nullable=False),
        pa.field("copy", pa.int32(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
    ]
)

# What one run answered for one row. Classification fills label/prediction/confidence, regression target/score.
PREDICTIONS = pa.schema(
    [
        pa.field("id", ID, nullable=False),
        pa.field("text_a", pa.string(), nullable=False),
        pa.field("text_b", pa.string()),
        pa.field("label", pa.string()),  # gold class name; null in regression
        pa.field("target", pa.float64()),  # class index or gold score
        pa.field("prediction", pa.string()),  # class name; null in regression
        pa.field("score", pa.float64()),  # predicted class index or predicted score
        pa.field("confidence", pa.float32()),  # softmax probability of the predicted class; null in regression
        pa.field("logits", pa.list_(pa.float32()), nullable=False),
        pa.field("n_words", pa.int32(), nullable=False),  # tokens of the model's own vocabulary, both texts
        pa.field("n_unknown", pa.int32(), nullable=False),  # of these, unknown to the vocabulary
    ]
)

# What one run answered for a text of a split after a perturbation (kdpipe.perturb). `id` is that of the text as it was.
PERTURBED = pa.schema(
    [
        pa.field("id", ID, nullable=False),
        pa.field("perturbed_id", ID, nullable=False),
        pa.field("text_a", pa.string(), nullable=False),
        pa.field("text_b", pa.string()),
        *(PREDICTIONS.field(name) for name in ("prediction", "score", "confidence", "logits")),
    ]
)

# The nearest training rows of a dev or test row (cosine of TF-IDF vectors), rank 1 first.
NEIGHBOURS = pa.schema(
    [
        pa.field("id", ID, nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("neighbour", ID, nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),
    ]
)

# Rows that are, or nearly are, rows of dev or test (kdpipe.leaks), and whether they were kept out of a transfer set.
LEAKS = pa.schema(
    [
        pa.field("id", ID, nullable=False),
        pa.field("text_a", pa.string(), nullable=False),
        pa.field("text_b", pa.string()),
        pa.field("operator", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("held_out", ID, nullable=False),
        pa.field("held_out_a", pa.string(), nullable=False),
        pa.field("held_out_b", pa.string()),
        pa.field("similarity", pa.float32(), nullable=False),
        pa.field("dropped", pa.bool_(), nullable=False),
    ]
)
# A set of rows that somebody saved under a name.
SLICE = pa.schema([pa.field("id", ID, nullable=False)])

MASK = "[MASK]"  # how a masked word stands in a made row, whatever the tokenizer of a model calls it


def row_ids(text_a: pa.Array | pa.ChunkedArray, text_b: pa.Array | pa.ChunkedArray | None = None) -> pa.Array:
    """128-bit xxh3 of the exact UTF-8 text [n] -> ids [n]; pairs are length-prefixed, so no two pairs run together.

    A null in `text_b` means a single text.
    """
    digest, double = xxhash.xxh3_128_digest, 1
    first = _utf8(text_a)
    if text_b is None or text_b.null_count == len(text_b):
        digests = map(digest, first)
    else:
        digests = (digest(a) if b is None else digest(len(a).to_bytes(8, "little") + a + b, double)
                   for a, b in zip(first, _utf8(text_b), strict=True))
    return pa.FixedSizeBinaryArray.from_buffers(ID, len(first), [None, pa.py_buffer(b"".join(digests))])


def _utf8(texts: pa.Array | pa.ChunkedArray) -> list[bytes | None]:
    return texts.cast(pa.large_binary()).to_numpy(zero_copy_only=False).tolist()


def id_bytes(ids: pa.FixedSizeBinaryArray) -> memoryview:
    """The bytes of row ids, one after the other, uncopied."""
    return memoryview(ids.buffers()[1] or b"")[16 * ids.offset:16 * (ids.offset + len(ids))]


def content_key(*parts: object, size: int = 10) -> str:
    """Hex key of JSON-serialisable values: equal content, equal key, on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def table_key(table: pa.Table) -> str:
    """Hex key of the ids and labels of a table of rows, in order."""
    h = hashlib.blake2b(digest_size=10)
    for name in ("id", "label"):
        column = table[name].combine_chunks()
        array = column.fill_null(float("nan")).to_numpy(zero_copy_only=False) if name == "label" else None
        h.update(array.tobytes() if array is not None else id_bytes(column))
    return h.hexdigest()


Kind = Literal["classification", "regression"]


@dataclass(frozen=True)
class Task:
    """A labelled dataset with its columns, label names and metrics. Every split is a table of schema ROWS."""

    name: str
    kind: Kind
    labels: tuple[str, ...]  # class names by index; empty in regression
    metrics: tuple[str, ...]  # the first is the one that is selected on
    splits: Mapping[str, pa.Table]  # "train", "dev" and, where there is one, "test"

    @property
    def pair(self) -> bool:
        return self.splits["train"]["text_b"].null_count == 0 and len(self.splits["train"]) > 0

    @property
    def outputs(self) -> int:
        """C: the number of classes, or 1."""
        return len(self.labels) if self.kind == "classification" else 1

    def key(self) -> str:
        return content_key(self.kind, self.labels, {name: table_key(t) for name, t in self.splits.items()})


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths without padding, token ids or numbers: row i is flat[offsets[i]:offsets[i + 1]]."""

    flat: np.ndarray  # [total]
    offsets: np.ndarray  # int64 [rows + 1]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.flat[self.offsets[row]:self.offsets[row + 1]]

    def take(self, rows: np.ndarray) -> Ragged:
        """Some rows, by position."""
        starts, ends = self.offsets[rows], self.offsets[rows + 1]
        cut = [self.flat[start:end] for start, end in zip(starts, ends, strict=True)]
        offsets = np.concatenate([[0], np.cumsum(ends - starts)])
        return Ragged(np.concatenate([self.flat[:0], *cut]), offsets)


Values = np.ndarray | Ragged  # of a signal: [n, d], or as many numbers for a row as its length asks for


@dataclass(frozen=True)
class Encoded:
    """Tokenised rows: one Ragged for each segment that the model reads (two for a siamese model, else one).

    types: token types of segment 0, aligned with its flat (BERT's sentence A / B), or None.
    """

    segments: tuple[Ragged, ...]
    types: np.ndarray | None = None  # uint8 [total of segment 0]

    def __len__(self) -> int:
        return len(self.segments[0])

    def take(self, rows: np.ndarray) -> Encoded:
        """Some rows, by position."""
        found = tuple(segment.take(rows) for segment in self.segments)
        types = self.types
        if types is not None:
            types = Ragged(types, self.segments[0].offsets).take(rows).flat
        return Encoded(found, types)


@dataclass
class Tokens:
    """A padded batch of token ids. mask is True on real tokens."""

    ids: Tensor  # int64 [B, N]
    mask: Tensor  # bool [B, N]
    types: Tensor | None = None  # int64 [B, N]


@dataclass
class Batch:
    """What a model reads and an objective may look at."""

    segments: tuple[Tokens, ...]
    labels: Tensor  # float32 [B]: class index or score; meaningless where has_label is False
    has_label: Tensor  # bool [B]
    rows: Tensor  # int64 [B]: position of each row in the training table
    epoch: int = 0
    seed: int = 0  # of the training


Layers = Mapping[int, "Tensor"]  # by layer: 0 what the first layer reads, 1 .. L what each layer makes


@dataclass
class Outputs:
    """What teacher and student say of a batch. Parts that nobody asked for are None.

    cls: [B, H] of each layer: the state of the whole text, pooled as the model's classifier pools it: at [CLS], as a
        mean over real tokens, or a BiLSTM's last states. The last layer's is what the classifier reads.
    hidden: [B, N, H] of each layer, the states of the tokens. attention: [B, A, N, N] of each layer, Q K^T / sqrt(d)
        of each head before mask and softmax. boundaries: bool [B, F] of each layer, whether a unit of its feed-forward
        network is active at the text's state. mask: True on real tokens; what stands elsewhere means nothing.
    gradient: [B, N, E], of <direction, logits> by the token vectors; saliency: [B, N], its product with the vector
        of each token. vectors: [B, N, E], the student's token vectors, part of the graph that leads to its logits.
    """

    logits: Tensor  # [B, C]
    cls: Layers | None = None
    hidden: Layers | None = None
    attention: Layers | None = None
    mask: Tensor | None = None  # bool [B, N]
    boundaries: Layers | None = None
    gradient: Tensor | None = None
    saliency: Tensor | None = None
    vectors: Tensor | None = None


@dataclass(frozen=True)
class Shape:
    """What is known of a network before it has said anything.

    gives: the parts of Outputs that it can say. aligned: whether its tokens are those of one text (or packed pair), so
    that another network with the same vocabulary has a state at the same positions.
    """

    layers: int  # L
    width: int  # H of layers 1 .. L
    embedding: int  # H of layer 0
    outputs: int  # C; 0 where it has no classifier
    gives: frozenset[str]
    heads: int | None = None  # A; None where there is no attention
    ffn: int | None = None  # F
    positions: int | None = None  # tokens that it can read of a row; None: any number


class SignalSource(Protocol):
    """Anything that can say a signal of rows, in two steps so that the first can be done ahead of the second."""

    fingerprint: str

    def prepare(self, rows: pa.Table) -> Encoded:
        """Rows with id, text_a, text_b [n] -> what `compute` reads."""
        ...

    def compute(self, signals: Sequence[str], prepared: Encoded) -> dict[str, Values]:
        """-> the values of each signal, in the order of the rows."""
        ...


@dataclass(frozen=True)
class Round:
    """Where a phase stands when operators are asked for rows."""

    index: int = 0
    seed: int = 0
