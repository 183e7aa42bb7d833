"""An installed spaCy pipeline: how a text becomes words, and the words' tags."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa

from kdpipe.augment._tokens import split
from kdpipe.errors import UserError
from kdpipe.types import MASK

SHIPPED = "kdpipe"
_TAGGING = {"tok2vec", "transformer", "tagger", "morphologizer"}


class Pipeline:
    """A spaCy pipeline by the name "kdpipe" (the one that ships), by a package's name or by its folder."""

    def __init__(self, name: str = SHIPPED):
        import spacy

        self.name = name
        self.nlp = spacy.load(folder(name))
        self.nlp.select_pipes(enable=[pipe for pipe in self.nlp.pipe_names if pipe in _TAGGING])
        self.nlp.tokenizer.add_special_case(MASK, [{"ORTH": MASK}])
        self.nlp.max_length = 2**31  # spaCy's limit guards a parser's memory; only words and tags are asked for here

    def split(self, texts: pa.Array | pa.ChunkedArray) -> pa.ListArray:
        """Texts [n] -> their words [n], white space left out; word for word those of `nlp(text)`."""
        return split(texts, lambda piece: [t.text for t in self.nlp.tokenizer(piece) if not t.is_space])

    def tag(self, texts: list[str]) -> tuple[pa.ListArray, pa.ListArray]:
        """Texts [n] -> their words and the words' tags (fine-grained; coarse ones where a pipeline has no others).

        Raises UserError where the pipeline gives no tags at all.
        """
        words, tags = [], []
        for doc in self.nlp.pipe(texts, batch_size=256):
            kept = [token for token in doc if not token.is_space]
            words.append([token.text for token in kept])
            tags.append([token.tag_ or token.pos_ for token in kept])
        if not all(tag for row in tags for tag in row):
            raise UserError(f"tagger '{self.name}': this spaCy pipeline has no tagger (parts: "
                            f"{', '.join(self.nlp.pipe_names) or 'none'}); name one that tags, such as '{SHIPPED}'")
        return pa.array(words, pa.list_(pa.string())), pa.array(tags, pa.list_(pa.string()))


def folder(name: str) -> Path:
    """Where a pipeline lies, found without loading spaCy. Raises UserError where it is not installed."""
    if _is_package(name):
        place = next(Path(find_spec(name).origin).parent.glob("*/config.cfg"), None)  # package/name-version/config.cfg
    else:
        place = (Path(__file__).with_name("tagger") if name == SHIPPED else Path(name)) / "config.cfg"
    if place is None or not place.is_file():
        raise UserError(f"tagger '{name}': no such spaCy pipeline is installed and no such folder holds one; use "
                        f"'{SHIPPED}', which ships with this package, or install one: python -m spacy download "
                        f"{name if name.isidentifier() else 'en_core_web_sm'}")
    return place.parent


@cache
def fingerprint(name: str) -> str:
    """Hex key of spaCy's version and of every file of the pipeline: another one tags and splits anew."""
    place = folder(name)
    h = hashlib.blake2b(version("spacy").encode(), digest_size=10)
    for file in sorted(f for f in place.rglob("*") if f.is_file() and f.suffix != ".pyc"):
        h.update(f"\0{file.relative_to(place).as_posix()}\0{file.stat().st_size}\0".encode())
        h.update(file.read_bytes())
    return h.hexdigest()


@cache
def pipeline(name: str) -> Pipeline:
    """The pipeline of that name, loaded once in each process."""
    return Pipeline(name)


def _is_package(name: str) -> bool:
    if name == SHIPPED or not name.isidentifier() or Path(name).is_dir():
        return False
    spec = find_spec(name)
    return spec is not None and spec.origin is not None
