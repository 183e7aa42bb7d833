"""Vectors from a text file: GloVe's or word2vec's, also compressed with gzip."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import xxhash

from kdpipe.embeddings import Embeddings
from kdpipe.errors import UserError
from kdpipe.progress import bar
from kdpipe.resources import is_file

SHOWN = 5  # faulty lines that are reported before reading stops
ABSENT = 0.25  # entries of tokens that the file lacks are uniform in [-0.25, 0.25]


class File(Embeddings):
    """A token and its numbers on each line, parted by single spaces; word2vec begins with "count width".

    GloVe: Pennington et al. 2014, D14-1162; word2vec: Mikolov et al. 2013, arXiv:1301.3781. A token that the file
    lacks is looked for in lower case; one that it lacks then too is drawn from U[-0.25, 0.25] (Tang & Lin 2019) by
    its own name and the seed. Of a token that stands there twice the first line counts.
    """

    def __init__(self, path: str):
        self.path = path

    def vectors(self, tokens: list[str], texts: pa.ChunkedArray, width: int, seed: int, teacher: object) -> np.ndarray:
        """Raises UserError for a file that is missing, of another width, broken, or without any of the tokens."""
        lower = [token.lower() for token in tokens]
        wanted = {word.encode() for word in (*tokens[1:], *lower[1:])}
        found: dict[bytes, np.ndarray] = {}
        for word, vector in self._read(wanted, width):
            found.setdefault(word, vector)
        if not found:
            raise UserError(f"{self.path}: none of the vocabulary's {len(tokens)} tokens is in it "
                            f"({', '.join(tokens[3:8])}, ...); is it of another language?")
        table = np.empty((len(tokens), width), np.float32)
        for i, token in enumerate(tokens):
            vector = found.get(token.encode(), found.get(lower[i].encode()))
            table[i] = drawn(token, width, seed) if vector is None else vector
        table[0] = 0
        return table

    def _read(self, wanted: Collection[bytes], width: int) -> Iterator[tuple[bytes, np.ndarray]]:
        """The wanted tokens and their vectors [width]. Faulty lines are reported together."""
        faults: list[str] = []
        with self._lines() as lines:
            for number, line in enumerate(lines, 1):
                line = line.rstrip(b" \r\n")
                if number == 1:
                    self._check_width(line.split(b" "), width)
                if not line or (number == 1 and _is_header(line.split(b" "))):
                    continue
                if line.count(b" ") == width and line[: line.index(b" ")] not in wanted:
                    continue
                word, vector = _parse(line.split(b" "), width)
                if isinstance(vector, str):
                    faults.append(f"{self.path}, line {number}: {vector}")
                elif word in wanted:
                    yield word, vector
                if len(faults) == SHOWN:
                    break
        if faults:
            raise UserError(faults)

    def _check_width(self, first: list[bytes], width: int) -> None:
        if len(first) < 2:
            raise UserError(f"{self.path}, line 1: a token and its numbers, parted by spaces, are wanted; found "
                            f"{b' '.join(first)[:60].decode(errors='replace')!r}")
        found = int(first[1]) if _is_header(first) else len(first) - 1
        if found != width:
            raise UserError(f"{self.path}: its vectors have {found} numbers, the model's width is {width}; "
                            f"set width = {found} in the recipe's model or name another file")

    @contextmanager
    def _lines(self) -> Iterator[Iterator[bytes]]:
        """The lines, under a bar that counts the bytes of the file as it lies on the disk."""
        path = Path(self.path)
        if not is_file(path):
            raise UserError(f"{self.path}: no such file of vectors")
        if ".bin" in path.suffixes:
            raise UserError(f"{self.path}: word2vec's binary format is not read; save it as text first, with gensim: "
                            "KeyedVectors.load_word2vec_format(path, binary=True).save_word2vec_format(new_path)")
        with path.open("rb") as raw, bar("vectors", path.stat().st_size, unit="byte") as advance:
            lines = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            try:
                yield _counted(lines, raw, advance)
            except (EOFError, gzip.BadGzipFile, zlib.error) as e:
                raise UserError(f"{self.path}: broken gzip file ({e}); fetch it again") from None


def drawn(token: str, width: int, seed: int) -> np.ndarray:
    """float32 [width], uniform in [-0.25, 0.25]; depends on the token and the seed alone."""
    generator = np.random.default_rng((seed, xxhash.xxh3_64_intdigest(token.encode())))
    return generator.uniform(-ABSENT, ABSENT, width).astype(np.float32)


def _is_header(fields: list[bytes]) -> bool:
    return len(fields) == 2 and all(field.isdigit() for field in fields)


def _parse(fields: list[bytes], width: int) -> tuple[bytes, np.ndarray | str]:
    """Token and vector, or token and what is wrong. Tokens of some GloVe files have spaces inside."""
    word, numbers = fields[:-width], _floats(fields[-width:])
    if not word:
        return b"", f"{len(fields) - 1} numbers after the token, {width} are wanted"
    if len(word) > 1 and _floats(word[-1:]) is not None:
        return b"", f"more than {width} numbers after the token"
    if numbers is None:
        return b"", f"the {width} fields after {b' '.join(word).decode(errors='replace')!r} are not all finite numbers"
    return b" ".join(word), numbers


def _floats(fields: list[bytes]) -> np.ndarray | None:
    try:
        numbers = np.array([float(field) for field in fields], np.float32)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _counted(lines: Iterable[bytes], raw: BinaryIO, advance: Callable[[int], None]) -> Iterator[bytes]:
    seen = 0
    for number, line in enumerate(lines):
        if number % 1_000 == 0:
            advance(raw.tell() - seen)
            seen = raw.tell()
        yield line
    advance(raw.tell() - seen)
