"""Word pieces by the Rust library `tokenizers`: trained here, or those of a Hugging Face checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.errors import UserError
from kdpipe.types import MASK, Encoded, Ragged
from kdpipe.vocab import CARD, Vocabulary, _ragged, has_card, read_card, read_json, write_json
from kdpipe.vocab._hugging_face import CONFIG, TOKENIZER, Special, config_of, fetch, special_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BATCH = 8_192  # texts that Rust tokenises at once: bounds the Python objects that stand for their results


class WordPieces(Vocabulary):
    """WordPiece as BERT has it when built here; whatever the checkpoint has when it comes from one."""

    def __init__(self, tokenizer: Tokenizer, config: dict, special: Special):
        self._tokenizer, self._config, self._special = tokenizer, config, special
        tokenizer.no_padding()

    @property
    def packs_pairs(self) -> bool:
        return self._special.packed

    @classmethod
    def build(cls, texts: _ragged.Texts, size: int = 8_000, lower: bool = True, packed: bool = False) -> WordPieces:
        """A BERT-style vocabulary of at most `size` pieces, the same for any order of the texts.

        Wu et al. 2016, arXiv:1609.08144, with the merges of byte-pair encoding as in BertWordPieceTokenizer.
        """
        from kdpipe.vocab._train_wordpieces import CONTROL, UNKNOWN, train

        tokenizer = train(texts, size, lower)
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
            "pad_token": "[PAD]", "unk_token": UNKNOWN, "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": MASK,
        }
        ids = tuple(tokenizer.token_to_id(token) for token in CONTROL)
        return cls(tokenizer, config, Special(packed, MASK, tokenizer.token_to_id(UNKNOWN), ids, types=True))

    @classmethod
    def from_checkpoint(cls, ref: str | Path, packed: bool = True) -> WordPieces:
        """The tokenizer of a Hugging Face folder or name, or of a model folder of ours.

        Raises UserError where there is none, or none that the Rust library can run.
        """
        folder = Path(ref)
        if folder.is_dir() and has_card(folder):
            found = cls.load(folder)
            return cls(found._tokenizer, found._config, replace(found._special, packed=packed))
        tokenizer = fetch(ref)
        return cls(tokenizer.backend_tokenizer, config_of(tokenizer), special_of(tokenizer, packed))

    @cached_property
    def tokens(self) -> Sequence[str]:
        vocab = self._tokenizer.get_vocab(with_added_tokens=True)
        tokens = [""] * (max(vocab.values()) + 1)
        for token, i in vocab.items():
            tokens[i] = token
        return tokens

    def encode(self, rows: pa.Table, max_length: int) -> Encoded:
        """Packed: one segment of at most max_length ids, special tokens counted, the longer text of a pair cut first.

        Else one segment for each text, without special tokens. Raises UserError where max_length leaves no room.
        """
        pair = "text_b" in rows.column_names and rows["text_b"].null_count < len(rows)
        columns = [self._masked(rows[name]) for name in ("text_a", "text_b")[: 1 + pair]]
        self._truncate(max_length, pair)
        if not self._special.packed:
            return Encoded(tuple(self._encode_distinct([column])[0] for column in columns))
        ids, types = self._encode_distinct(columns)
        return Encoded((ids,), types)

    def encode_spans(self, texts: Sequence[str], max_length: int) -> tuple[Ragged, np.ndarray]:
        """Single texts, special tokens round them -> ids, and the characters [start, end) behind each id.

        Spans are int32 [total, 2], (0, 0) for special tokens, and count in the text with "[MASK]" replaced.
        """
        self._truncate(max_length, pair=False)
        texts = [text.replace(MASK, self._special.mask or MASK) for text in texts]
        found = self._tokenizer.encode_batch(texts)
        spans = np.array([span for one in found for span in one.offsets], np.int32).reshape(-1, 2)
        return _ragged.from_lists([one.ids for one in found]), spans

    def _truncate(self, max_length: int, pair: bool) -> None:
        room = 1 + pair + self._tokenizer.num_special_tokens_to_add(pair) if self._special.packed else 1
        if max_length < room:
            raise UserError(f"max_length {max_length}: this tokenizer needs at least {room} for a "
                            f"{'pair' if pair else 'text'} with its special tokens")
        self._tokenizer.enable_truncation(max_length, strategy="longest_first", direction=self._special.side)

    def _masked(self, texts: pa.ChunkedArray) -> pa.ChunkedArray:
        if self._special.mask in (MASK, None):
            return texts
        return pc.replace_substring(texts, MASK, self._special.mask)

    def _encode_distinct(self, columns: list[pa.ChunkedArray]) -> tuple[Ragged, np.ndarray | None]:
        """Texts or pairs -> ids and token types, each distinct one tokenised once."""
        first, inverse = _distinct(columns)
        if len(first) < len(inverse):
            columns = [column.take(first) for column in columns]
        parts = [self._encode_batch([column.slice(start, BATCH) for column in columns])
                 for start in range(0, max(len(first), 1), BATCH)]
        found = [_ragged.join(kind) for kind in zip(*parts, strict=True)]
        if len(first) < len(inverse):
            found = [_ragged.gather(kind, inverse) for kind in found]
        types = _ragged.fill(found[1], 0).flat.astype(np.uint8) if len(found) == 2 else None
        return _ragged.fill(found[0], self._special.unknown), types

    def _encode_batch(self, columns: list[pa.ChunkedArray]) -> list[Ragged]:
        """Ids and, where the model reads them, token types."""
        texts = [pc.fill_null(column, "").to_pylist() for column in columns]
        inputs = texts[0] if len(texts) == 1 else list(zip(*texts, strict=True))
        found = self._tokenizer.encode_batch_fast(inputs, add_special_tokens=self._special.packed)
        ids = _ragged.from_lists([one.ids for one in found])
        if not (self._special.packed and self._special.types):
            return [ids]
        return [ids, _ragged.from_lists([one.type_ids for one in found])]

    def unknown(self, encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
        pieces = [_ragged.count(s, ~np.isin(s.flat, self._special.ids)) for s in encoded.segments]
        unknown = [_ragged.count(s, s.flat == self._special.unknown) for s in encoded.segments]
        return np.sum(pieces, axis=0, dtype=np.int32), np.sum(unknown, axis=0, dtype=np.int32)

    def save(self, folder: Path) -> None:
        """tokenizer.json and tokenizer_config.json, which transformers' AutoTokenizer reads too, and vocab.json."""
        from tokenizers import Tokenizer

        plain = Tokenizer.from_str(self._tokenizer.to_str())
        plain.no_truncation()
        (folder / TOKENIZER).write_text(plain.to_str(), encoding="utf-8")
        write_json(folder / CONFIG, self._config)
        write_json(folder / CARD, {"kind": "wordpieces", **asdict(self._special)})

    @classmethod
    def load(cls, folder: Path) -> WordPieces:
        from tokenizers import Tokenizer

        card = read_card(folder, "wordpieces")
        tokenizer = json.dumps(read_json(folder / TOKENIZER), ensure_ascii=False)
        try:
            special = Special(**{name: value for name, value in card.items() if name != "kind"})
            special.check()
        except (TypeError, ValueError) as e:
            raise UserError(f"{folder / CARD}: broken ({e}); restore the file or train the model again") from None
        return cls(Tokenizer.from_str(tokenizer), read_json(folder / CONFIG), replace(special, ids=tuple(special.ids)))


def _distinct(columns: list[pa.ChunkedArray]) -> tuple[np.ndarray, np.ndarray]:
    """Texts or pairs [n] -> the position of one row of each distinct kind, and for each row which kind it is."""
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        coded = column.dictionary_encode(null_encoding="encode").unify_dictionaries()
        codes = [chunk.indices.to_numpy() for chunk in coded.chunks]
        size = len(coded.chunk(0).dictionary) if codes else 0
        key = key * size + np.concatenate([np.empty(0, np.int64), *codes]).astype(np.int64)
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return first, inverse
