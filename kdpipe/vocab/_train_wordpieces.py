"""Trains a WordPiece vocabulary that depends on nothing but the multiset of texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.errors import UserError
from kdpipe.types import MASK
from kdpipe.vocab import _ragged

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNKNOWN = "[UNK]"
CONTROL = ("[PAD]", "[CLS]", "[SEP]")  # tokens that are no part of a text
FIRST = ("[PAD]", UNKNOWN, "[CLS]", "[SEP]", MASK)
ALPHABET = 1_000  # characters that may be pieces, as in BertWordPieceTokenizer


def train(texts: _ragged.Texts, size: int, lower: bool) -> Tokenizer:
    """BERT's normaliser, pre-tokeniser, WordPiece model and template "[CLS] a [SEP] b [SEP]".

    The library numbers the characters inside words in the order of a randomly seeded hash table and breaks ties
    between merges by these numbers; so the alphabet is counted here and handed to it in alphabetical order.
    Raises UserError for a size that leaves no room for an alphabet.
    """
    from tokenizers import Tokenizer, decoders, models, processors, trainers

    if not isinstance(size, int) or size < 4 * len(FIRST):
        raise UserError(f"size: {size!r}; a whole number from {4 * len(FIRST)} up is wanted")
    draft = _bert(Tokenizer(models.WordPiece(unk_token=UNKNOWN)), lower)
    first, inner, limit = _alphabet(texts, draft, min(ALPHABET, size // 4))
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=2, limit_alphabet=limit, special_tokens=[*FIRST, *first, *inner],
        continuing_subword_prefix="##", show_progress=False)
    draft.train_from_iterator((block.to_pylist() for block in _unmasked(texts)), trainer)
    vocab = draft.get_vocab(with_added_tokens=False)
    tokenizer = _bert(Tokenizer(models.WordPiece(vocab=vocab, unk_token=UNKNOWN)), lower)
    tokenizer.add_special_tokens(list(FIRST))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    return tokenizer


def _bert(tokenizer: Tokenizer, lower: bool) -> Tokenizer:
    from tokenizers import normalizers, pre_tokenizers

    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _alphabet(texts: _ragged.Texts, tokenizer: Tokenizer, limit: int) -> tuple[list[str], list[str], int]:
    """The most frequent characters, those of them that stand inside words (as "##c"), and how many are kept.

    Where characters with equal counts lie on both sides of the limit, none of them is kept.
    """
    characters: Counter[str] = Counter()
    inside: set[str] = set()
    for chunk, n in _ragged.count_chunks(_unmasked(texts)).items():
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(chunk)):
            inside.update(word[1:])
            for character in word:
                characters[character] += n
    least = characters.most_common(limit + 1)[-1][1] if len(characters) > limit else 0
    kept = sorted(c for c, n in characters.items() if n > least)
    return kept, [f"##{c}" for c in kept if c in inside], len(kept)


def _unmasked(texts: _ragged.Texts) -> Iterator[pa.Array]:
    return (pc.replace_substring(block, MASK, " ") for block in _ragged.blocks(texts))
