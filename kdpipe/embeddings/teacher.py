"""A teacher's states as word vectors: each word's mean state, reduced to the student's width."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import xxhash

from kdpipe.embeddings import Embeddings
from kdpipe.embeddings._names import Names, Run, plain, whole
from kdpipe.errors import UserError
from kdpipe.progress import bar

if TYPE_CHECKING:
    from torch import Tensor

BUDGET = 4_096  # tokens of a padded batch
BLOCK = 4_096  # texts that are tokenised at once


class Loaded(Protocol):
    """What is read of a loaded teacher (kdpipe.modelfolder.Loaded)."""

    model: Any  # with .hf, the transformers model
    vocab: Any  # with .tokens and .encode_spans
    max_length: int


class Teacher(Embeddings):
    """PCA of mean teacher states, one for each token.  After Bommasani et al. 2020, 10.18653/v1/2020.acl-main.431.

    layer: 0 is the embedding table, L the last layer; None: the middle one, L // 2.
    how: "context": mean over the token's occurrences in the training texts, a token without any stands alone;
        "alone": the state of the token as a text of its own. A token of several pieces has the mean of their states.
    max_rows: texts that are read; where there are more, those with the smallest hash, whatever their order.
    std: standard deviation of the entries of the result.
    """

    needs_teacher = True

    def __init__(self, layer: int | None = None, how: Literal["context", "alone"] = "context",
                 max_rows: int = 10_000, std: float = 0.4):
        faults = []
        if how not in ("context", "alone"):
            faults.append(f"teacher -> how: {how!r}; allowed: context, alone")
        if max_rows < 1:
            faults.append(f"teacher -> max_rows: {max_rows}; at least 1 text must be read")
        if not std > 0:
            faults.append(f"teacher -> std: {std}; must be above 0")
        if faults:
            raise UserError(faults)
        self.layer, self.how, self.max_rows, self.std = layer, how, max_rows, std

    def vectors(self, tokens: list[str], texts: pa.ChunkedArray, width: int, seed: int, teacher: Loaded) -> np.ndarray:
        """Raises UserError for a teacher that is no transformer or has no such layer."""
        import torch

        encoder = _Encoder(teacher, self.layer)
        sums, counts = torch.zeros(len(tokens), encoder.width), torch.zeros(len(tokens))
        if self.how == "context":
            names = Names(tokens, encoder.vocab.tokens)
            _add(encoder, smallest(texts, self.max_rows), lambda _, *text: names.runs(*text), sums, counts)
        lacking = (np.flatnonzero(counts.numpy()[1:] == 0) + 1).tolist()
        _add(encoder, [plain(tokens[i]) for i in lacking], lambda k, *text: whole(lacking[k], *text), sums, counts)
        states = (sums / counts.clamp(min=1)[:, None]).numpy()
        return reduce(states, counts.numpy() > 0, width, self.std)


class _Encoder:
    """The teacher's transformer: texts -> states of one layer, in batches of near-equal length."""

    def __init__(self, teacher: Loaded, layer: int | None):
        if not hasattr(teacher.model, "hf") or not hasattr(teacher.vocab, "encode_spans"):
            raise UserError("embeddings 'teacher': the teacher must be a transformer (model 'bert'), since token "
                            "states are read from it; name another with from = \"...\", or take 'random' or 'file'")
        self.net, self.vocab, self.max_length = teacher.model.hf.base_model, teacher.vocab, teacher.max_length
        self.depth, self.width = self.net.config.num_hidden_layers, self.net.config.hidden_size
        self.layer = self.depth // 2 if layer is None else layer
        if not 0 <= self.layer <= self.depth:
            raise UserError(f"teacher -> layer: {layer}; this teacher has the layers 0 (token table) to {self.depth}")

    def batches(self, lengths: np.ndarray) -> Iterator[np.ndarray]:
        """Positions of texts, shortest first; a batch holds at most 4,096 tokens with its padding, or one text."""
        batch: list[int] = []
        for i in np.argsort(lengths, kind="stable"):
            if batch and (len(batch) + 1) * lengths[i] > BUDGET:
                yield np.array(batch)
                batch = []
            batch.append(int(i))
        if batch:
            yield np.array(batch)

    def states(self, rows: list[np.ndarray]) -> Tensor:
        """Ids of texts -> states [tokens of all texts without padding, H]."""
        import torch

        device = next(self.net.parameters()).device
        rows = [torch.from_numpy(row).long() for row in rows]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        with torch.inference_mode():
            return self._run(ids.to(device), mask.to(device))[mask.to(device)].float().cpu()

    def _run(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids [B, N] -> states of the layer [B, N, H]; the layers above it are not computed where they can be found."""
        stacks = [m for m in self.net.modules() if type(m).__name__ == "ModuleList" and len(m) == self.depth]
        if len(stacks) != 1 or not 0 < self.layer < self.depth:
            return self.net(input_ids=ids, attention_mask=mask.long(),
                            output_hidden_states=True).hidden_states[self.layer]
        hook = stacks[0][self.layer - 1].register_forward_hook(_stop)
        try:
            self.net(input_ids=ids, attention_mask=mask.long())
        except _Reached as reached:
            return reached.states
        finally:
            hook.remove()
        raise AssertionError(f"the forward pass did not go through layer {self.layer}")


class _Reached(Exception):
    """Ends a forward pass at the layer that is wanted."""

    def __init__(self, states: Tensor):
        self.states = states


def _stop(layer: Any, inputs: Any, output: Any) -> None:
    raise _Reached(output[0] if isinstance(output, tuple) else output)


def _add(encoder: _Encoder, texts: list[str], find: Callable[..., list[Run]], sums: Tensor, counts: Tensor) -> None:
    """Add to sums [V, H] the mean state of each run that `find` sees in the texts, and count it in counts [V].

    find: (position, text, ids, spans) -> runs.
    """
    with bar("embeddings", len(texts), unit="text") as advance:
        for start in range(0, len(texts), BLOCK):
            block = texts[start : start + BLOCK]
            ids, spans = encoder.vocab.encode_spans(block, encoder.max_length)
            where = [slice(a, b) for a, b in zip(ids.offsets[:-1], ids.offsets[1:], strict=True)]
            for batch in encoder.batches(ids.lengths):
                rows = [ids.flat[where[i]] for i in batch]
                found = [find(start + i, block[i], row, spans[where[i]]) for i, row in zip(batch, rows, strict=True)]
                _add_runs(encoder.states(rows), _shifted(found, ids.lengths[batch]), sums, counts)
                advance(len(batch))


def _shifted(found: list[list[Run]], lengths: np.ndarray) -> np.ndarray:
    """Runs of each text, by pieces of the text -> int64 [runs, 3], by pieces of all texts one after another."""
    before = (np.cumsum(lengths) - lengths).tolist()
    runs = [(first + n, end + n, token) for n, text in zip(before, found, strict=True) for first, end, token in text]
    return np.array(runs, np.int64).reshape(-1, 3)


def _add_runs(states: Tensor, runs: np.ndarray, sums: Tensor, counts: Tensor) -> None:
    import torch

    first, end, token = runs.T
    lengths = end - first
    pieces = np.arange(lengths.sum()) + np.repeat(first - (np.cumsum(lengths) - lengths), lengths)
    weights = torch.from_numpy(np.repeat(1 / lengths, lengths).astype(np.float32))
    sums.index_add_(0, torch.from_numpy(np.repeat(token, lengths)), states[torch.from_numpy(pieces)] * weights[:, None])
    counts.index_add_(0, torch.from_numpy(token.copy()), torch.ones(len(runs)))


def smallest(texts: pa.ChunkedArray, n: int) -> list[str]:
    """The n distinct texts with the smallest 64-bit xxh3 hash, by hash: the same for any order of the texts."""
    hashes, kept = np.empty(0, np.uint64), []
    for chunk in texts.chunks:
        for start in range(0, len(chunk), BLOCK):
            block = chunk.slice(start, BLOCK).to_pylist()
            new = np.fromiter((xxhash.xxh3_64_intdigest(text.encode()) for text in block), np.uint64, len(block))
            hashes, kept = np.concatenate([hashes, new]), kept + block
            order = np.unique(hashes, return_index=True)[1][:n]
            hashes, kept = hashes[order], [kept[i] for i in order]
    return kept


def reduce(states: np.ndarray, known: np.ndarray, width: int, std: float) -> np.ndarray:
    """The first `width` principal components of the known rows of states [V, H] -> float32 [V, width].

    Scaled as a whole, so that entries have this standard deviation and components keep their proportions; each
    component points where its largest loading is positive. Unknown rows are zero (the mean); so are the columns
    beyond H where the width is larger.
    """
    centred = np.where(known[:, None], states, 0).astype(np.float64)
    centred[known] -= centred[known].mean(axis=0) if known.any() else 0
    _, loadings = np.linalg.eigh(centred.T @ centred)
    loadings = loadings[:, ::-1][:, :width]
    loadings *= np.sign(loadings[np.abs(loadings).argmax(axis=0), np.arange(loadings.shape[1])])
    components = centred @ loadings
    spread = components[known].std() if known.any() else 0.0
    table = np.zeros((len(states), width), np.float32)
    table[:, : components.shape[1]] = components * (std / spread if spread else 1.0)
    return table
