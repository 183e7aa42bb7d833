"""The cache carried between machines: a folder, a tar file, or any other store.

What comes from elsewhere is believed in nothing: names must be those of parts of signals, bytes must have the hash in
their name, tables must be ids and finite values of the teacher that their folder names. All of it is checked before
the first row is taken; nothing is ever unpacked to a path that the archive names.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from kdpipe.care.holdings import all_finite, said_of
from kdpipe.care.teachers import asked_of, beginning, chosen
from kdpipe.errors import UserError, is_lack_of_memory
from kdpipe.idset import IdSet, halves
from kdpipe.signals.cache import made_by
from kdpipe.store import PartBroken, PartGone, Store, full_disk_said_plainly

_MEMBER = re.compile(
    r"(?:\./)?signals/teacher=([0-9a-f]{20})/signal=([a-z][a-z0-9_]{0,63})/(part-([0-9a-f]{32})\.parquet)"
)
_LARGEST = 1 << 32  # bytes of a part, as a file or as a table


@dataclass(frozen=True)
class Carried:
    """Parts and rows that were carried; those that were there already."""

    parts: int
    rows: int
    known: int  # rows that were there already and stay as they are


class _Place(Protocol):
    """A place that holds parts by (teacher, signal, name)."""

    def names(self) -> list[tuple[str, str, str]]: ...

    def bytes(self, key: tuple[str, str, str]) -> bytes: ...


# ---- out


def export(store: Store, target: str, teacher: str | None = None) -> Carried:
    """Copy whole parts into a folder (beside what is there) or into a new tar file.

    Raises UserError where a part is broken, or a tar file of that name is there.
    """
    keys = chosen(store, teacher)
    return _export_tar(store, keys, Path(target)) if _is_tar(target) else _export_folder(store, keys, Store(target))


def _is_tar(name: str) -> bool:
    if re.search(r"\.(zip|tgz|tar\.\w+|7z)$", name):
        raise UserError(f"{name}: a folder or a .tar file; parts are compressed already")
    if name.endswith(".tar") and "://" in name:
        raise UserError(f"{name}: give the URL of a folder, or the path of a .tar file on this machine")
    return name.endswith(".tar")


def _export_folder(store: Store, keys: list[tuple[str, str]], target: Store) -> Carried:
    parts = rows = 0
    for key in keys:
        for _, data, count in _whole(store, *key):
            target.put_part(target.signals(*key), data)
            parts, rows = parts + 1, rows + count
    return Carried(parts, rows, 0)


def _export_tar(store: Store, keys: list[tuple[str, str]], target: Path) -> Carried:
    if target.exists():
        raise UserError(f"{target}: is there already; give another name, or move it away")
    parts = rows = 0
    with _new_file(target) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for fingerprint, signal in keys:
            for path, data, count in _whole(store, fingerprint, signal):
                name = f"signals/teacher={fingerprint}/signal={signal}/{path.rsplit('/', 1)[-1]}"
                about = tarfile.TarInfo(name)
                about.size, about.mode = len(data), 0o644
                tar.addfile(about, io.BytesIO(data))
                parts, rows = parts + 1, rows + count
    return Carried(parts, rows, 0)


def _whole(store: Store, fingerprint: str, signal: str) -> Iterator[tuple[str, bytes, int]]:
    """(path, bytes, rows) of the parts."""
    place = f"signals/teacher={fingerprint}/signal={signal}"
    for path, data in store.scan_bytes(store.signals(fingerprint, signal)):
        yield path, data, len(store.opened(path, place, data))


@contextmanager
def _new_file(target: Path) -> Iterator[io.BufferedWriter]:
    """A file that is whole or not there."""
    with full_disk_said_plainly(str(target)):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=".tmp-", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(scratch, 0o644)
            os.replace(scratch, target)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise


# ---- in


def bring(store: Store, source: str, teacher: str | None = None) -> Carried:
    """Take the rows that this store lacks from a folder, a tar file or another store; rows that are there stay.

    Raises UserError, and takes nothing, where any part is not what its name says, or is not of signals.
    """
    with _opened(source) as place:
        keys = beginning(teacher, place.names())
        if not keys:
            raise UserError(f"{source}: no parts of {f'teacher {teacher}' if teacher else 'any teacher'} are in it")
        faults, kinds = [], {}
        for key in keys:
            try:
                table = _checked(source, key, place.bytes(key))
                kind = table["values"].type
                if (want := kinds.setdefault(key[:2], _kind(store, *key[:2]) or kind)) != kind:
                    raise PartBroken(f"{source}: {'/'.join(key)}: rows of {said_of(kind)}; this store has "
                                     f"{said_of(want)}")
            except UserError as e:
                faults += e.faults
        if faults:
            raise UserError([*faults, f"{source}: nothing was taken"])
        return _take(store, source, place, keys)


def _take(store: Store, source: str, place: _Place, keys: list[tuple[str, str, str]]) -> Carried:
    parts = rows = known = 0
    for fingerprint, signal in sorted({key[:2] for key in keys}):
        folder, seen = store.signals(fingerprint, signal), IdSet()
        for table in store.scan(folder, ["id"]):
            seen.add(halves(table["id"]))
        for key in (key for key in keys if key[:2] == (fingerprint, signal)):
            data = place.bytes(key)
            table = _checked(source, key, data)
            new = seen.add(halves(table["id"]))
            known += int((~new).sum())
            if new.all():
                store.put_part(folder, data)
            elif new.any():
                made = made_by(fingerprint, *asked_of(table.schema.metadata))
                store.write_part(folder, table.filter(pa.array(new)), {**made, "signal": signal})
            parts, rows = parts + bool(new.any()), rows + int(new.sum())
    return Carried(parts, rows, known)


def _kind(store: Store, fingerprint: str, signal: str) -> pa.DataType | None:
    """The type of a stored row's values; None where there is none."""
    return next((t["values"].type for t in store.scan(store.signals(fingerprint, signal))), None)


def _checked(source: str, key: tuple[str, str, str], data: bytes) -> pa.Table:
    """The table of a part from elsewhere. Raises PartBroken."""
    fingerprint, signal, name = key
    place = f"signals/teacher={fingerprint}/signal={signal}"
    where = f"{source}: {place}/{name}"
    if f"part-{xxhash.xxh3_128_hexdigest(data)}.parquet" != name:
        raise PartBroken(f"{where}: broken part, its {len(data)} bytes are not those that its name says")
    try:
        about = pq.read_metadata(pa.BufferReader(data))
        size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as e:  # a name that is no text
        if is_lack_of_memory(e):
            raise
        raise PartBroken(f"{where}: no Parquet table ({str(e).splitlines()[0]})") from None
    if max(size, about.num_rows * 16) > _LARGEST:
        raise PartBroken(f"{where}: a table of {size:,} bytes is more than a part may have")
    table = Store.opened(where, place, data)
    if not all_finite(table):
        raise PartBroken(f"{where}: values that are NaN or infinite")
    if not IdSet().add(halves(table["id"])).all():
        raise PartBroken(f"{where}: a row stands in it twice")
    return table


@contextmanager
def _opened(source: str) -> Iterator[_Place]:
    if not _is_tar(source):
        place = _Folder(Store(source))
        if not place.store.exists(place.store.path):
            raise UserError(f"{source}: no such folder or file")
        yield place
        return
    if not Path(source).is_file():
        raise UserError(f"{source}: no such file")
    try:
        with tarfile.open(source, mode="r:") as tar:
            yield _Tar(source, tar)
    except tarfile.TarError as e:
        raise UserError(f"{source}: no tar file, or cut off ({e})") from None


class _Folder:
    """Parts in a folder as `export` writes it, or in another store."""

    def __init__(self, store: Store):
        self.store = store

    def names(self) -> list[tuple[str, str, str]]:
        paths = [path for key in self.store.taught() for path in self.store.parts(self.store.signals(*key))]
        found = [_MEMBER.search(path) for path in paths]
        return [match.groups()[:3] for match in found if match]

    def bytes(self, key: tuple[str, str, str]) -> bytes:
        fingerprint, signal, name = key
        path = f"{self.store.signals(fingerprint, signal)}/{name}"
        try:
            return self.store.part_bytes(path)
        except PartGone:
            raise UserError(f"{path}: was taken away meanwhile, perhaps by `kdpipe cache compact`; run again: rows "
                            "that were taken are not taken twice") from None


class _Tar:
    """Parts in an uncompressed tar file. Anything but a plain file with a part's name is refused."""

    def __init__(self, source: str, tar: tarfile.TarFile):
        self.source, self.tar = source, tar
        self.members: dict[tuple[str, str, str], tarfile.TarInfo] = {}

    def names(self) -> list[tuple[str, str, str]]:
        for member in self.tar:
            if member.isdir() and re.fullmatch(r"\.|(\./)?signals(/teacher=[0-9a-f]+(/signal=\w+)?)?", member.name):
                continue
            match = _MEMBER.fullmatch(member.name)
            if not match or not member.isreg() or member.issparse() or member.size > _LARGEST:
                raise UserError(
                    f"{self.source}: '{member.name[:200]}' is not a part of signals; only plain files "
                    "signals/teacher=FINGERPRINT/signal=NAME/part-HASH.parquet are taken; nothing was"
                )
            if match.groups()[:3] in self.members:
                raise UserError(f"{self.source}: '{member.name}' stands in it twice; nothing was taken")
            self.members[match.groups()[:3]] = member
        return list(self.members)

    def bytes(self, key: tuple[str, str, str]) -> bytes:
        return self.tar.extractfile(self.members[key]).read()
