"""Tokenizers of Hugging Face checkpoints: fetched, and described in words that all of them share."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdpipe.errors import UserError
from kdpipe.vocab import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"
_FILES = (TOKENIZER, "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
          "spm.model", "tekken.json")  # a folder without any of these has no tokenizer


@dataclass(frozen=True)
class Special:
    """How a checkpoint's tokenizer says what all tokenizers say.

    packed: a pair becomes one segment, "[CLS] a [SEP] b [SEP]" or what the checkpoint has for it; else each text is
    a segment of its own without special tokens.
    mask: the text of its mask token. unknown: the id for what it cannot say. ids: of tokens that are no part of a
    text. types: whether its model reads token types. side: the end of a text that truncation cuts off.
    """

    packed: bool
    mask: str | None
    unknown: int
    ids: tuple[int, ...]
    types: bool
    side: str = "right"

    def check(self) -> None:
        """Raises ValueError where a field of a file holds what it cannot."""
        allowed = {
            "packed": isinstance(self.packed, bool),
            "mask": self.mask is None or isinstance(self.mask, str),
            "unknown": _is_id(self.unknown),
            "ids": isinstance(self.ids, list | tuple) and all(map(_is_id, self.ids)),
            "types": isinstance(self.types, bool),
            "side": self.side in ("left", "right"),
        }
        if wrong := [name for name, is_so in allowed.items() if not is_so]:
            raise ValueError(f"{', '.join(wrong)}: of another type than such a file has")


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31


def fetch(ref: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a Hugging Face folder or name; of a folder without touching the network, and never its code.

    Raises UserError where there is none, or none that the Rust library can run: transformers would answer a folder
    without tokenizer files with an empty tokenizer.
    """
    from transformers import AutoTokenizer

    local = Path(ref).is_dir()
    if local and not any((Path(ref) / name).is_file() for name in _FILES):
        raise UserError(f"{ref}: no tokenizer is in it: none of {', '.join(_FILES)}; "
                        "copy the files of the checkpoint's tokenizer there")
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(ref), local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError, ImportError) as e:
        reason = str(e).split("\n")[0]
        raise UserError(f"{ref}: no tokenizer that transformers can load ({reason}); give a folder or the name of a "
                        "Hugging Face checkpoint that has one") from None
    if not tokenizer.is_fast:
        raise UserError(f"{ref}: its tokenizer exists in Python alone; one with a {TOKENIZER} is wanted")
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise UserError(f"{ref}: its tokenizer has no vocabulary; copy the files of the checkpoint's tokenizer there")
    return tokenizer


def config_of(tokenizer: PreTrainedTokenizerBase) -> dict:
    """What transformers would write into tokenizer_config.json, without how this copy was fetched."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        config = read_json(Path(folder) / CONFIG)
    return {name: value for name, value in config.items() if name not in ("is_local", "local_files_only")}


def special_of(tokenizer: PreTrainedTokenizerBase, packed: bool) -> Special:
    """Where a tokenizer has no unknown token (byte-level BPE), its mask or end token stands in."""
    candidates = (tokenizer.unk_token_id, tokenizer.mask_token_id, tokenizer.eos_token_id, 0)
    unknown = next(i for i in candidates if i is not None)
    ids = sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id, tokenizer.mask_token_id})
    types = "token_type_ids" in tokenizer.model_input_names
    return Special(packed, tokenizer.mask_token or tokenizer.unk_token, unknown, tuple(ids), types,
                   tokenizer.truncation_side)
