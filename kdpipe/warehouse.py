"""SQL files -> DuckDB views over the store's files; questions; checks: the only door to DuckDB.

`raw.*` are the store's files as they lie; staging/*.sql rename and cast them; marts/*.sql answer questions and read
only staging; checks/*.sql return no rows when all is well. A file's name is its view's name.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from glob import glob
from itertools import chain
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from kdpipe import intact
from kdpipe.errors import UserError, did_you_mean
from kdpipe.readonly import ReadOnly, only_reading
from kdpipe.render import render
from kdpipe.resources import STORE, folder
from kdpipe.sources import SOURCES
from kdpipe.store import COMPLETE, PartGone, Store
from kdpipe.workers import in_threads

__all__ = ["build", "connect", "hold", "named", "query", "render", "run_checks"]

T = TypeVar("T")
DATABASE = "kdpipe.duckdb"
_TRIES = 30  # questions over files that change while they are read
_kept = threading.local()
_whole: set[tuple] = set()  # stamps of files that this process has read and found whole


@dataclass(frozen=True)
class _File:
    """One SQL file: which folder it lies in, its text, its first comment."""

    room: str
    text: str

    @property
    def grain(self) -> str:
        lines = [line.removeprefix("--").strip() for line in self.text.splitlines() if line.startswith("--")]
        return " ".join(lines).split(". ")[0].rstrip(".")

    @property
    def reads(self) -> list[str]:
        return re.findall(r"\b(?:raw\.|stg_)\w+", re.sub(r"--.*", "", self.text))


@cache
def _files(*rooms: str) -> dict[str, _File]:
    root = folder("warehouse")
    return {p.stem: _File(room, p.read_text("utf-8")) for room in rooms for p in sorted((root / room).glob("*.sql"))}


def _views() -> dict[str, _File]:
    return _files("staging", "marts")


def named() -> list[tuple[str, str]]:
    """All views, marts first, and what one row of each is: (name, grain)."""
    return [(name, file.grain) for name, file in _files("marts", "staging").items()]


# ---- connections


def connect(store: Store | str | os.PathLike | None = None) -> duckdb.DuckDBPyConnection:
    """A database in memory whose views read the store's files. No SQL and no relation of it can change a file of the
    store or reach one outside it; tables that are created live in its memory.

    store: None: the one that the command `kdpipe` takes, $KDPIPE_STORE or else warehouse/store. All its files are
    checked first, once; `query` asks faster, and for one question checks only the files that it needs.
    Raises UserError where there is no store or one of its files is broken or cannot be read.
    """
    store = _store(os.environ.get("KDPIPE_STORE", STORE) if store is None else store)
    if broken := _broken(store, _everything()):
        raise UserError(broken)
    with _errors_said_plainly():
        return _open(store, _everything(), ReadOnly(store.fs))


def hold(store: Store | str | os.PathLike, *names: str) -> duckdb.DuckDBPyConnection:
    """A database in memory with the rows of some views, as tables of the same names, as the store has them now.

    For whoever asks many times: the files are checked and read once. Raises UserError as `query` does.
    """
    store = _store(store)
    with _errors_said_plainly():
        needs = _needs(" ".join(names))
        if broken := _broken(store, needs):
            raise UserError(broken)
        return _as_files_stand(store, needs, lambda: _held(_open(store, needs), names))


def _held(con: duckdb.DuckDBPyConnection, names: Sequence[str]) -> duckdb.DuckDBPyConnection:
    for name in names:
        con.execute(f'create table "held {name}" as from "{name}"')
    for name in names:
        con.execute(f'drop view "{name}"')
        con.execute(f'alter table "held {name}" rename to "{name}"')
    return con


def build(store: Store | str | os.PathLike) -> Path:
    """Writes kdpipe.duckdb, views only, into a local store; a source without files stays empty until the next build."""
    store = _store(store)
    if not store.local:
        raise UserError(f"{store.root}: {DATABASE} is written into local stores only; `kdpipe sql` needs none")
    target = Path(store.path).resolve() / DATABASE
    scratch = target.with_name(f".tmp-{uuid.uuid4().hex}.duckdb")
    try:
        with _errors_said_plainly(), duckdb.connect(str(scratch)) as con:
            _create_views(con, _escaped(str(target.parent)), _everything())
        os.replace(scratch, target)
    finally:
        for leftover in (scratch, scratch.with_name(f"{scratch.name}.wal")):
            leftover.unlink(missing_ok=True)
    return target


def _store(store: Store | str | os.PathLike) -> Store:
    store = store if isinstance(store, Store) else Store(store)
    if not store.exists(store.path):
        raise UserError(f"{store.root}: no such store; `kdpipe run RECIPE` makes one, --store names another")
    keys = {f"{key}=" for source in SOURCES.values() for key in source.folders}
    if taken := [f for f in store.path.split("/") if f.startswith(tuple(keys))]:
        raise UserError(f"{store.root}: SQL takes the folder '{taken[0]}' for a column; rename it, or move the store")
    return store


def _open(store: Store, names: Set[str], guard: ReadOnly | None = None) -> duckdb.DuckDBPyConnection:
    """guard: through which all files are read. It takes twice the time of DuckDB's own reader, and SQL that was looked
    at (`only_reading`) needs none."""
    con = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
            "temp_directory": os.path.join(tempfile.gettempdir(), f"kdpipe-{uuid.uuid4().hex}"),
        },
    )
    base = str(Path(store.path).resolve()) if store.local else store.path.rstrip("/")
    if guard or not store.local:
        con.register_filesystem(guard or store.fs)
        base = (guard or store.fs).unstrip_protocol(base).rstrip("/")
    con.execute("set allowed_directories = [$1, $2]", [base, _escaped(base)])
    con.execute("set parquet_metadata_cache = true")  # parts never change: their names are the hashes of their bytes
    con.execute("set enable_external_access = false")
    con.execute("set lock_configuration = true")
    _create_views(con, _escaped(base), names)
    return con


def _create_views(con: duckdb.DuckDBPyConnection, base: str | None, names: Set[str]) -> None:
    """The views of these names, over the files below `base` (a glob) or over none.

    They are made over empty sources, which get their files last: DuckDB looks at the files for each view it makes.
    """
    con.execute("create schema raw")
    sources = {f"raw.{name}": source for name, source in SOURCES.items() if f"raw.{name}" in names}
    for name, source in sources.items():
        con.execute(f"create view {name} as {source.empty()}")
    for name, file in _views().items():
        if name in names:
            con.execute(f'create view "{name}" as {file.text}')
    for name, source in sources.items() if base else ():
        try:
            con.execute(f"create or replace view {name} as {source.select(base)}")
        except duckdb.IOException as e:
            if "No files found" not in str(e):
                raise


def _everything() -> set[str]:
    return {*_views(), *(f"raw.{name}" for name in SOURCES)}


def _needs(sql: str) -> set[str]:
    """The views and sources that some SQL may speak of, however it spells them, by itself or through a view."""
    words = set(re.findall(r"\w+", sql.lower()))
    names = words & set(_views()) | {f"raw.{name}" for name in words & set(SOURCES) if "raw" in words}
    for file in map(_views().get, tuple(names)):
        names |= _needs(" ".join(file.reads)) if file else set()
    return names


def _escaped(path: str) -> str:
    """A path as a glob that matches nothing but itself."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path)


# ---- questions


def query(
    store: Store | str | os.PathLike, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()
) -> pa.Table:
    """Rows of one select, explain, describe, summarize or show, or of the view whose name is given.

    parameters: values for ?, $1 or $name in the SQL. Only the views and files that the SQL speaks of are opened, and
    the bytes of these files are checked first: DuckDB itself would read a changed number in silence.
    Raises UserError for broken files, for anything that could write, for files outside the store and for mistakes in
    the SQL.
    """
    store = _store(store)
    with _errors_said_plainly(sql):
        text = only_reading(_parser(), _select_of_name(sql))
        names = _needs(text)
        if broken := _broken(store, names):
            raise UserError(broken)
        return _as_files_stand(store, names, lambda: _open(store, names or _everything()).sql(
            text, params=parameters or None).to_arrow_table())


def _parser() -> duckdb.DuckDBPyConnection:
    """A database without anything, one for each thread."""
    if not hasattr(_kept, "parser"):
        _kept.parser = duckdb.connect(":memory:")
    return _kept.parser


def _as_files_stand(store: Store, names: Set[str], ask: Callable[[], T]) -> T:
    """An answer, asked for again where a file went meanwhile: `kdpipe cache compact` puts parts together.

    DuckDB's one listing of a folder may then have missed the old part and the new one alike, and said nothing.
    """
    before = _parts_that_may_go(store, names)
    for _ in range(_TRIES if names else 0):
        try:
            found = ask()
        except duckdb.IOException as e:
            if "No such file" not in str(e) and "No files found" not in str(e):
                raise
            found = None
        after = _parts_that_may_go(store, names)
        if found is not None and before <= after:
            return found
        before = after
    return ask()


def _parts_that_may_go(store: Store, names: Set[str]) -> set[str]:
    return set(_found(store, SOURCES["signals"].pattern)) if "raw.signals" in names else set()


def _select_of_name(sql: str) -> str:
    """A name alone means all of that view."""
    name = sql.strip().lower()
    if not re.fullmatch(r"\w+", name):
        return sql
    if name not in _views():
        raise UserError(f"no view '{name}'{did_you_mean(name, _views())}")
    return f'select * from "{name}"'


def run_checks(store: Store | str | os.PathLike) -> list[str]:
    """What is wrong in the store: its broken files, or else each check that returns rows, one message each."""
    store = _store(store)
    if broken := _broken(store, {f"raw.{name}" for name in SOURCES}):
        return broken
    con, found = _open(store, _everything()), []
    for name, file in _files("checks").items():
        with _errors_said_plainly():
            rows = con.sql(file.text).to_arrow_table()
        if len(rows):
            first = render(rows.slice(0, 1), "json").strip("[]\n ")
            found.append(f"{name}: {file.grain}. {len(rows)} found, the first: {first}")
    return found


def _broken(store: Store, names: Set[str]) -> list[str]:
    """What is wrong with the files of some sources; a file that was left alone is read once by this process."""
    sources = [source for name, source in SOURCES.items() if f"raw.{name}" in names]
    paths = [path for source in sources for path in _found(store, source.pattern)]
    records, parts = [p for p in paths if p.endswith(".json")], [p for p in paths if not p.endswith(".json")]
    sets = [path for path in records if path.endswith(COMPLETE)]
    check = partial(_faults, store)
    return list(chain(*map(check, records), *in_threads(check, parts), *map(partial(_gone, store), sets)))


def _faults(store: Store, path: str) -> tuple[str, ...]:
    try:
        seen = intact.stamp(path) if store.local else None
        if seen in _whole:
            return ()
        store.check_json(path) if path.endswith(".json") else store.read_part(path, columns=[])
    except (FileNotFoundError, PartGone):  # taken away since it was listed
        return ()
    except UserError as e:
        return e.faults
    if seen and intact.is_settled(seen):
        _whole.add(seen)
    return ()


def _gone(store: Store, listed: str) -> tuple[str, ...]:
    """What is missing of the parts that the list of a finished set names."""
    folder = listed.rsplit("/", 1)[0]
    try:
        named, there = store.parts(folder), {path.rsplit("/", 1)[-1] for path in store.listing(folder)}
    except (FileNotFoundError, UserError):  # taken away, or said by `_faults`
        return ()
    lost = [path for path in named if path.rsplit("/", 1)[-1] not in there]
    return tuple(str(PartGone(path)) for path in lost)


def _found(store: Store, pattern: str) -> list[str]:
    """Paths below a store, by name; a local one is listed without fsspec, which takes three times as long."""
    listed = glob if store.local else store.fs.glob
    return sorted(listed(f"{_escaped(store.path.rstrip('/'))}/{pattern}"))


# ---- errors


@contextmanager
def _errors_said_plainly(sql: str = "") -> Iterator[None]:
    """Turns DuckDB's errors into a UserError, with the names that there are where the SQL has an unknown one."""
    try:
        yield
    except duckdb.Error as e:
        raise UserError(_plain(e, sql)) from None


def _plain(error: duckdb.Error, sql: str) -> str | list[str]:
    message = str(error).split("\n\nLINE")[0].strip()
    if unknown := re.search(r"Table with name (\S+) does not exist", message):
        return f"no view '{unknown[1]}'{did_you_mean(unknown[1], _views())}"
    if isinstance(error, duckdb.BinderException) and "column" in message.lower():
        return "\n".join([message, *_columns(sql)])
    return message


def _columns(sql: str) -> Iterator[str]:
    """The columns of the views that some SQL speaks of."""
    con = duckdb.connect(":memory:")
    _create_views(con, None, _needs(sql))
    for name in sorted(set(re.findall(r"\w+", sql.lower())) & set(_views())):
        columns = con.sql(f'from "{name}"').columns
        yield f"columns of {name}: {', '.join(columns)}"
