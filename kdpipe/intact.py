"""Records and folders that show whether they are as they were written.

A record is a JSON object whose first key is the checksum of all bytes below it and of the place it belongs in. A
folder's `_digests.json` is a record of the digests of its files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import xxhash

from kdpipe.errors import UserError

DIGESTS = "_digests.json"
_CLOCK_TICK = 2_000_000_000  # nanoseconds; file systems keep times to between 1 ns and 2 s
_digests: dict[tuple, str] = {}
_HEAD = b'{\n "checksum": "%b",\n'
_ANEW = "move it away and run again: it is made anew"
_WHOLE_HEAD = re.compile(rb'\{\n "checksum": "([0-9a-f]{32})",\n')


# ---- records


def record(value: dict[str, Any], place: str = "") -> bytes:
    """A record's bytes. place: where it belongs, in words that do not change when all moves together."""
    rest = json.dumps(value, indent=1, ensure_ascii=False).removeprefix("{\n").encode() + b"\n"
    return _HEAD % _checksum(rest, place) + rest


def _checksum(rest: bytes, place: str) -> bytes:
    return xxhash.xxh3_128_hexdigest(place.encode() + b"\0" + rest).encode()


def check_record(path: str | Path, raw: bytes, place: str = "", remedy: str = _ANEW) -> None:
    """Raises UserError where the bytes of a record that lies at `path` are not those written for `place`."""
    head = _WHOLE_HEAD.match(raw)
    if not head or _checksum(raw[head.end():], place) != head[1]:
        raise UserError(f"{path}: broken record, its {len(raw)} bytes are not those that were written here; {remedy}")


def parse(path: str | Path, raw: bytes, place: str = "", remedy: str = _ANEW) -> dict[str, Any]:
    """The value of a record. Raises UserError as `check_record` does."""
    check_record(path, raw, place, remedy)
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path}: broken record, not JSON ({e}); {remedy}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: broken record, not an object; {remedy}")
    value.pop("checksum", None)
    return value


# ---- folders


def seal(folder: Path, key: str) -> None:
    """Leave the digests of all files of a folder in it, and the key under which it will be found."""
    files = {file.name: digest(file) for file in sorted(folder.iterdir()) if file.is_file() and file.name != DIGESTS}
    (folder / DIGESTS).write_bytes(record({"key": key, "files": files}))


def check(folder: Path, in_store: bool = False, counts: tuple[str, ...] = ()) -> None:
    """Raises UserError naming the file of a sealed folder that is changed, missing or, by its ending, one too many.

    in_store: the folder must be sealed, and its name must be its key; a brought one may have no seal.
    counts: endings of files that matter to whoever reads the folder.
    """
    path, remedy = folder / DIGESTS, f"restore it, or move {folder} away and run again: it is made anew"
    try:
        sealed = parse(path, path.read_bytes(), remedy=remedy)
    except FileNotFoundError:
        if in_store:
            raise UserError(f"{path}: missing; {remedy}") from None
        return
    files, key = sealed.get("files"), sealed.get("key")
    if not isinstance(files, dict) or not isinstance(key, str):
        raise UserError(f"{path}: no record of digests; {remedy}")
    if in_store and folder.name.rsplit("--", 1)[-1] != key:
        raise UserError(f"{folder}: holds what was stored as {key}; {remedy}")
    there = {file.name: file for file in folder.iterdir() if file.is_file()}
    for name in files:
        if name not in there:
            raise UserError(f"{folder / name}: missing; {remedy}")
        if digest(there[name]) != files[name]:
            raise UserError(f"{folder / name}: broken file, its bytes are not those that were written; {remedy}")
    for name in sorted(there.keys() - files.keys() - {DIGESTS}):
        if name.endswith(counts or ("\0",)):
            raise UserError(f"{folder / name}: was not written with the rest of this folder; move it away")


def digest(path: Path) -> str:
    """Hex key of a file's bytes. A file that was left alone since this process last read it is not read again."""
    seen = stamp(path)
    if seen not in _digests:
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        except PermissionError:
            raise UserError(f"{path}: this user may not read it") from None
        if not is_settled(seen):
            return found
        _digests[seen] = found
    return _digests[seen]


def stamp(path: str | Path) -> tuple[str, int, int, int, int]:
    """What changes with every writing of a file, once it is settled: place, inode, size and times."""
    about = os.stat(path)
    return os.path.abspath(path), about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def is_settled(seen: tuple[str, int, int, int, int]) -> bool:
    """Whether so much time has gone by that the next writing must move the file's times."""
    return time.time_ns() - seen[-1] >= _CLOCK_TICK
