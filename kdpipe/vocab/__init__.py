"""Vocabularies: text <-> ids. The contract of the room; one vocabulary a file."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from kdpipe import catalog
from kdpipe.errors import UserError
from kdpipe.types import Encoded
from kdpipe.vocab._ragged import Texts

CARD = "vocab.json"  # {"kind": the part's name, ...}: what `load` goes by


class Vocabulary(ABC):
    """Turns rows into ids, each distinct text tokenised once. Saved as JSON beside the model that reads it."""

    packs_pairs: bool  # True: a pair becomes one segment with token types; False: two segments

    @classmethod
    @abstractmethod
    def build(cls, texts: Texts, packed: bool = False, **arguments) -> Vocabulary:
        """From texts of train and made rows only; `arguments` are what the recipe says.

        packed: a pair is wanted as one segment; a vocabulary that cannot do so leaves it two.
        """

    @property
    @abstractmethod
    def tokens(self) -> Sequence[str]:
        """Token by id; id 0 is padding."""

    @abstractmethod
    def encode(self, rows: pa.Table, max_length: int) -> Encoded:
        """Rows of schema ROWS [n] -> ids. No row comes out empty: a text without tokens becomes one unknown token."""

    @abstractmethod
    def unknown(self, encoded: Encoded) -> tuple[np.ndarray, np.ndarray]:
        """(tokens, unknown tokens) of each row over all segments: two int32 arrays [n], special tokens not counted."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Leave the vocabulary in a folder that exists: JSON only, `vocab.json` says of which kind."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Vocabulary:
        """What `save` left. Raises UserError where a file is missing or broken."""


def load(folder: Path) -> Vocabulary:
    """The vocabulary of a model's folder: of the kind that its vocab.json names, else its Hugging Face tokenizer.

    Raises UserError where there is neither.
    """
    if has_card(folder):
        return catalog.find("vocab", read_card(folder)["kind"]).load(folder)
    return catalog.find("vocab", "wordpieces").from_checkpoint(folder)


def has_card(folder: Path) -> bool:
    """Whether one of our vocabularies lies there; byte-level BPE checkpoints have a vocab.json of their own."""
    return (folder / CARD).is_file() and "kind" in read_json(folder / CARD)


def read_card(folder: Path, kind: str | None = None) -> dict:
    """vocab.json of a folder, which must be of this kind. Raises UserError where it is missing or broken."""
    card = read_json(folder / CARD)
    if kind is not None and card.get("kind") != kind:
        raise UserError(f"{folder / CARD}: a vocabulary of kind '{kind}' is wanted, this one says {card.get('kind')!r}")
    return card


def read_json(path: Path) -> dict:
    """A JSON object from a file. Raises UserError where it is missing or broken."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: missing; the model cannot be used without its vocabulary") from None
    except ValueError as e:
        raise UserError(f"{path}: broken JSON ({e}); restore the file or train the model again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: a JSON object is wanted, found a {type(value).__name__}")
    return value


def write_json(path: Path, value: object) -> None:
    """UTF-8 JSON, the same bytes for the same value."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


PART = Vocabulary
