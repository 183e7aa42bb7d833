"""Many small parts into few, while others read and write.

What takes a part away has first written all its rows anew, whole and on disk, into parts whose names depend on the
names of those that they were made of: no part is ever made of itself. So two processes that do this at once may leave
a row twice, but never lose one. A reader whose listed part has gone lists again (`Store.scan`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from kdpipe.care.holdings import Walk, distance, said_of
from kdpipe.care.teachers import chosen
from kdpipe.errors import UserError
from kdpipe.idset import IdSet, Places, halves
from kdpipe.signals.cache import made_by, row_values
from kdpipe.store import PartGone, Store
from kdpipe.types import content_key

ROWS = 1_000_000  # of a part that is large enough to be left alone
_TRIES = 10


@dataclass(frozen=True)
class Compacted:
    """Parts and rows of a teacher's signal, before and after."""

    teacher: str
    signal: str
    parts: tuple[int, int]
    rows: tuple[int, int]


def compact(store: Store, teacher: str | None = None, rows: int = ROWS, tolerance: float = 0.0) -> list[Compacted]:
    """Put parts of fewer rows than `rows` together, and rows that stand more than once into one.

    tolerance: how far the values of such a row may lie apart; by default they must be equal, bit by bit.
    Raises UserError, and leaves all as it was, where a part is broken or values lie further apart.
    """
    return [_compact(store, *key, rows, tolerance) for key in chosen(store, teacher)]


def _compact(store: Store, fingerprint: str, signal: str, size: int, tolerance: float) -> Compacted:
    for _ in range(_TRIES):
        try:
            return _once(store, fingerprint, signal, size, tolerance)
        except PartGone:  # another process puts the same parts together
            continue
    raise UserError(f"teacher {fingerprint}: its parts change all the time; let the other `cache compact` end first")


def _once(store: Store, fingerprint: str, signal: str, size: int, tolerance: float) -> Compacted:
    """All new parts are written before the first old one goes, and hold every row of those that go."""
    walk, ids, kinds = Walk(store, fingerprint, signal), {}, {}
    for path, table in walk:
        ids[path] = halves(table["id"])
        kinds.setdefault(table["values"].type, path)
    if walk.broken:
        raise UserError(list(walk.broken.values()))
    if len(kinds) > 1:
        (kind, path), (other, another) = list(kinds.items())[:2]
        raise UserError(f"{path}: rows of {said_of(kind)}, of {said_of(other)} in {another.rsplit('/', 1)[-1]}; one of "
                        f"these parts is not of teacher {fingerprint}; `kdpipe cache verify` says more")
    later = _later(ids)
    doubles = Places(_doubles(ids, later))
    _check_agreement(store, fingerprint, ids, later, doubles, tolerance)
    shared = {path for path in ids if (doubles.find(ids[path]) >= 0).any()}
    old = [path for path in ids if len(ids[path]) < size or path in shared]
    groups = [g for g in _groups(old, later, size) if len(g) > 1 or g[0] in shared]
    for group in groups:
        _put_together(store, fingerprint, signal, group, later, {**made_by(fingerprint, *walk.asked), "signal": signal})
    gone = [path for group in groups for path in group]
    store.remove_parts(gone)
    left = sum(1 for group in groups if not all(later[path].all() for path in group))
    rows = sum(map(len, ids.values()))
    fewer = rows - int(sum(mask.sum() for mask in later.values()))
    return Compacted(fingerprint, signal, (len(ids), len(ids) - len(gone) + left), (rows, fewer))


def _later(ids: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """For each part, which of its rows stood in it or in an earlier part before: bool [n]."""
    seen = IdSet()
    return {path: ~seen.add(here) for path, here in ids.items()}


def _doubles(ids: dict[str, np.ndarray], later: dict[str, np.ndarray]) -> np.ndarray:
    """The ids that stand more than once, each once: uint64 [n, 2]."""
    found = np.concatenate([np.empty((0, 2), np.uint64), *(here[later[path]] for path, here in ids.items())])
    return found[IdSet().add(found)]


def _check_agreement(
    store: Store,
    fingerprint: str,
    ids: dict[str, np.ndarray],
    later: dict[str, np.ndarray],
    doubles: Places,
    tolerance: float,
) -> None:
    """Raises UserError where the values of a row that stands more than once lie further apart than allowed."""
    first, owners = {}, []
    for path in ids:
        place = doubles.find(ids[path])
        here = np.flatnonzero(place >= 0)
        if not len(here):
            continue
        values = row_values(store.read_part(path, ["values"]))
        new, again = here[~later[path][here]], here[later[path][here]]
        first |= {place[row]: values[row].copy() for row in new}
        owners.append(path.rsplit("/", 1)[-1])
        apart = np.array([distance(values[row], first[place[row]]) for row in again])
        if wrong := int((~(apart <= tolerance)).sum()):
            raise UserError(
                f"{path}: {wrong} rows disagree by up to {apart.max():.3g} with the same rows in "
                f"{', '.join(owners[:3])}; nothing was changed. Two processes that asked at once may differ in the "
                f"last bits: --tolerance {apart.max() * 1.01:.1e} keeps the first of each; `kdpipe cache verify` says "
                "whether both are right"
            )


def _groups(old: list[str], later: dict[str, np.ndarray], size: int) -> list[list[str]]:
    """Parts that become one, of at least `size` rows, the last of fewer."""
    groups, rows = [], size
    for path in old:
        if rows >= size:
            groups.append([])
            rows = 0
        groups[-1].append(path)
        rows += int((~later[path]).sum())
    return groups


def _put_together(
    store: Store, fingerprint: str, signal: str, group: list[str], later: dict[str, np.ndarray], made: dict[str, str]
) -> None:
    tables = [store.read_part(path).filter(pa.array(~later[path])) for path in group]
    whole = pa.concat_tables([table.replace_schema_metadata(None) for table in tables]).combine_chunks()
    if not len(whole):
        return
    names = sorted(path.rsplit("/", 1)[-1] for path in group)
    path = store.write_part(store.signals(fingerprint, signal), whole, {**made, "put_together": content_key(names)})
    if store.local:  # packing is no use of the rows: their time stays that of the asking
        with suppress(FileNotFoundError):
            newest = max(os.stat(old).st_mtime for old in group)
            os.utime(path, (newest, newest))
