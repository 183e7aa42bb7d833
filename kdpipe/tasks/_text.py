"""Text files as lines: gzip, byte-order mark, UTF-8 and line ends. Only \\n and \\r\\n end a line."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.errors import UserError

_BLOCK = 1 << 24  # bytes that are read at once
_BOM = b"\xef\xbb\xbf"
_BLANK_END = re.compile(rb"(\r?\n)+\Z")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a plain or .gz file. Raises UserError where it is missing, not readable or broken gzip."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            yield stream
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a folder, not a file") from None
    except PermissionError:
        raise UserError(f"{path}: this user may not read it") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as e:
        raise UserError(f"{path}: broken gzip file ({e}); make or fetch it again") from None


def blocks(path: Path) -> Iterator[bytes]:
    """A file in blocks of whole lines: UTF-8, without byte-order mark, without blank lines at the very end.

    Raises UserError at the first byte that is not UTF-8.
    """
    held = b""  # the last block so far; only the one at the end of the file loses its blank lines
    for block in _checked(path, _whole_lines(path)):
        if held:
            yield held
        held = block
    text = held.rstrip(b"\r\n")
    held = text + _BLANK_END.sub(b"\n", held[len(text) :])
    if held not in (b"", b"\n"):
        yield held


def _whole_lines(path: Path) -> Iterator[bytes]:
    rest: list[bytes] = []
    with opened(path) as stream:
        while data := stream.read(_BLOCK):
            cut = data.rfind(b"\n") + 1
            if cut:
                yield b"".join([*rest, data[:cut]])
                rest = []
            rest.append(data[cut:])
    if any(rest):
        yield b"".join(rest)


def _checked(path: Path, parts: Iterator[bytes]) -> Iterator[bytes]:
    offset, line = 0, 1
    for part in parts:
        try:
            part.decode()
        except UnicodeDecodeError as e:
            raise UserError(_not_utf8(path, part, e.start, offset, line)) from None
        yield part.removeprefix(_BOM) if offset == 0 else part
        offset += len(part)
        line += part.count(b"\n")


def _not_utf8(path: Path, part: bytes, at: int, offset: int, line: int) -> str:
    wide = offset == 0 and part.startswith((b"\xff\xfe", b"\xfe\xff"))
    likely = "UTF-16" if wide else "WINDOWS-1252"
    line += part.count(b"\n", 0, at)
    return (
        f"{path}: line {line}, byte {offset + at}: 0x{part[at]:02X} is not UTF-8; the file looks like {likely}: "
        f"save it as UTF-8, for example with iconv -f {likely} -t UTF-8"
    )


def line_blocks(path: Path) -> Iterator[pa.Array]:
    """The lines of a file, block by block, as Arrow strings without their line ends."""
    for block in blocks(path):
        whole = block.replace(b"\r\n", b"\n").removesuffix(b"\n")
        yield pc.split_pattern(pa.array([whole], pa.string()), "\n").flatten()
