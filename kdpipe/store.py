"""Where each artefact lies and how it is keyed: the only door to pyarrow's file layer.

    transfer/set=<key>/part-*.parquet                         rows of schema TRANSFER
    signals/teacher=<fingerprint>/signal=<name>/part-*.parquet   id, values (fixed-size list of float32)
    tags/tagger=<fingerprint>/part-*.parquet                  id, segment, words, tags
    predictions/run=<run>/split=<split>/part-*.parquet        rows of schema PREDICTIONS
    perturbed/run=<run>/split=<split>/perturbation=<name>/part-*.parquet   rows of schema PERTURBED
    neighbours/task=<key>/part-*.parquet                      rows of schema NEIGHBOURS
    leaks/set=<key>/part-*.parquet                            rows of schema LEAKS, of a transfer set
    slices/slice=<name>/part-*.parquet                        ids of rows that were saved under a name
    models/<key>/                                             safetensors, JSON, vocabulary
    vectors/<key>/                                            token vectors taken from a teacher, safetensors
    runs/<run>.json                                           the run record
    states/weights=<fingerprint>/layer=<name>/part-*.parquet  id, values: what a layer makes of a text, for probes
    probed/<name>-<fingerprint>.json                          a model that was probed, and its untrained twin
    probes/<fingerprint>-<task key>-<protocol>.json           what probes of some weights found on one task
    robustness/<run>/<split>.json                             scores on perturbed texts (kdpipe.robustness)
    costs/<stage>-<key>/*.json                                seconds and rows of each piece of work on an artefact
    quarantine/signals/...                                    broken parts that `kdpipe cache repair` set aside

Folders are named key=value so that pyarrow and DuckDB both read the key as a column. A file is written under a
temporary name, flushed and renamed: it is whole or it is not there. A part's name holds the 128-bit hash of its
bytes and its metadata the folder that it was written for, so a changed, cut, swapped or moved part is refused by name;
records and folders carry their own digests (kdpipe.intact). A set of parts that only makes sense whole (a transfer
set) is complete when its `_complete.json` is there; that file lists its parts.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from safetensors import SafetensorError

import kdpipe
from kdpipe import intact
from kdpipe.errors import UserError, is_lack_of_memory
from kdpipe.types import ID, LEAKS, NEIGHBOURS, PERTURBED, PREDICTIONS, SLICE, TRANSFER, content_key
from kdpipe.workers import cores, in_threads

T = TypeVar("T")
COMPLETE = "_complete.json"
_WHOLE = ".whole"  # of a folder in a remote store, written last
_ROOMS = ("transfer", "signals", "tags", "predictions", "neighbours", "leaks", "slices", "states", "probed",
          "probes", "perturbed", "robustness", "models", "vectors", "runs", "costs")
_PART = re.compile(r"part-[0-9a-f]{32}\.parquet")
_FOLDER = "kdpipe.folder"  # in a part's metadata: where in the store it belongs
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_TAUGHT = re.compile(r"/teacher=([^/]+)/signal=([^/]+)$")
_ASIDE = "`kdpipe cache repair` sets it aside and asks for its rows again"
_TRIES = 20  # listings of a folder that changes while it is listed


class PartGone(UserError):
    """A part that was listed is not there any more."""

    def __init__(self, path: str):
        super().__init__(f"{path}: this part is listed but missing; delete its folder to make it again")


class PartBroken(UserError):
    """A part is not what was written, or does not lie where it was written."""


def safe_name(name: str, what: str) -> str:
    """A name that a user gave and that becomes a file's or folder's: no separators, no leading dot."""
    if not _SAFE.fullmatch(name):
        raise UserError(f"{what} '{name}': letters, digits, '.', '_' and '-' only, beginning with a letter or digit")
    return name


def _as_in(field: pa.Field) -> Callable[[pa.ChunkedArray], bool]:
    return lambda column: column.type == field.type and (field.nullable or not column.null_count)


def _are_signals(column: pa.ChunkedArray) -> bool:
    kind = column.type
    fixed = pa.types.is_fixed_size_list(kind) and kind.list_size > 0
    return ((fixed or pa.types.is_large_list(kind)) and kind.value_type in _NUMBERS and not column.null_count
            and not any(chunk.values.null_count for chunk in column.chunks))


_NUMBERS = (pa.float32(), pa.float16(), pa.uint8())


_COLUMNS = {  # what parts of each room hold: name -> whether a column is one of that kind
    "transfer": {field.name: _as_in(field) for field in TRANSFER},
    "predictions": {field.name: _as_in(field) for field in PREDICTIONS},
    "perturbed": {field.name: _as_in(field) for field in PERTURBED},
    "neighbours": {field.name: _as_in(field) for field in NEIGHBOURS},
    "leaks": {field.name: _as_in(field) for field in LEAKS},
    "slices": {field.name: _as_in(field) for field in SLICE},
    "signals": {"id": _as_in(TRANSFER.field("id")), "values": _are_signals},
    "states": {"id": _as_in(TRANSFER.field("id")), "values": _are_signals},
}


class Store:
    """A folder or any fsspec URL. Any number of processes may write into it at once."""

    def __init__(self, root: str | os.PathLike):
        self.root = str(root)
        try:
            self.fs, self.path = fsspec.core.url_to_fs(self.root)
        except (ValueError, ImportError) as e:
            raise UserError(f"store '{self.root}': {e}; give a folder, or a URL that fsspec can open") from None
        self.local = "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))
        if self.local and (file := next(filter(os.path.isfile, (self.path, *Path(self.path).parents)), None)):
            raise UserError(f"store '{self.root}': {file} is a file; give a folder, or a place where one can be made")

    # ---- places

    def transfer(self, key: str) -> str:
        return self._join("transfer", f"set={key}")

    def signals(self, fingerprint: str, signal: str) -> str:
        return self._join("signals", f"teacher={fingerprint}", f"signal={signal}")

    def tags(self, fingerprint: str) -> str:
        return self._join("tags", f"tagger={fingerprint}")

    def predictions(self, run: str, split: str) -> str:
        return self._join("predictions", f"run={run}", f"split={split}")

    def leaks(self, key: str) -> str:
        return self._join("leaks", f"set={key}")
    def perturbed(self, run: str, split: str, name: str) -> str:
        return self._join("perturbed", f"run={run}", f"split={split}", f"perturbation={name}")

    def robustness(self, run: str, split: str) -> str:
        return self._join("robustness", run, f"{split}.json")

    def neighbours(self, task_key: str) -> str:
        return self._join("neighbours", f"task={task_key}")

    def slice(self, name: str) -> str:
        return self._join("slices", f"slice={safe_name(name, 'slice')}")

    def model(self, key: str) -> str:
        return self._join("models", key)

    def vectors(self, key: str) -> str:
        return self._join("vectors", key)

    def run(self, run: str) -> str:
        return self._join("runs", f"{run}.json")

    def states(self, weights: str, layer: str) -> str:
        return self._join("states", f"weights={weights}", f"layer={layer}")

    def probed(self, name: str, weights: str) -> str:
        return self._join("probed", f"{name}-{weights}.json")

    def probe(self, weights: str, task_key: str, protocol: str) -> str:
        return self._join("probes", f"{weights}-{task_key}-{protocol}.json")

    def cost(self, stage: str, key: str) -> str:
        return self._join("costs", f"{stage}-{key}")

    def _join(self, *parts: str) -> str:
        return "/".join([self.path.rstrip("/"), *parts])

    def _within(self, path: str) -> str:
        return path.removeprefix(self.path.rstrip("/") + "/")

    # ---- parts

    def write_part(self, folder: str, table: pa.Table, made_by: Mapping[str, str] | None = None) -> str:
        """One Parquet part, whole or absent; its path. `made_by` goes into the part's metadata.

        Raises UserError where the disk is full or may not be written.
        """
        metadata = {**(made_by or {}), "kdpipe.version": kdpipe.__version__, _FOLDER: self._within(folder)}
        table = table.replace_schema_metadata(metadata)  # not what the part said that the rows were read from
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, write_page_checksum=True, row_group_size=131_072, **_encoding(table.schema))
        data = sink.getvalue()
        return self.put_part(folder, data)

    def put_part(self, folder: str, data: bytes | pa.Buffer) -> str:
        """The bytes of a part, whole or absent; its path, which their hash names."""
        path = f"{folder}/part-{xxhash.xxh3_128_hexdigest(data)}.parquet"
        if not self.fs.exists(path):
            self._write(path, data)
        return path

    def parts(self, folder: str) -> list[str]:
        """Paths of a folder's parts, by name; of a finished set, those that its list names.

        While parts are put together, one listing may miss the old part and the new one alike: the old one goes only
        when the new one is there, so two listings that agree have missed nothing.
        """
        if self.is_complete(folder):
            return [f"{folder}/{name}" for name in self.complete(folder)["parts"]]
        before, found = None, self._listed(folder)
        for _ in range(_TRIES):
            if found == before:
                break
            before, found = found, self._listed(folder)
        return found

    def _listed(self, folder: str) -> list[str]:
        names = (path.rsplit("/", 1)[-1] for path in self.listing(folder))
        return sorted(f"{folder}/{name}" for name in names if _PART.fullmatch(name))

    def listing(self, folder: str) -> list[str]:
        """Paths in a folder, as they are now; none where there is no folder."""
        self.fs.invalidate_cache(folder)
        try:
            return self.fs.ls(folder, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read_part(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """A part whose bytes are those that were written; anything else is refused by name (UserError)."""
        return self.opened(path, self._within(path.rsplit("/", 1)[0]), self.part_bytes(path), columns)

    def part_bytes(self, path: str) -> bytes:
        """The bytes of a part, if they are those that were written. Raises PartGone and PartBroken."""
        try:
            data = self._bytes(path)
        except FileNotFoundError:
            raise PartGone(path) from None
        named = path.rsplit("part-", 1)[-1].removesuffix(".parquet")
        if xxhash.xxh3_128_hexdigest(data) != named:
            folder = path.rsplit("/", 1)[0]
            raise PartBroken(
                f"{path}: broken part, its {len(data)} bytes are not those that were written; "
                f"{self._mend(path, folder)}"
            )
        return data

    def _bytes(self, path: str) -> bytes:
        """Raises FileNotFoundError, and UserError for a file that cannot be read."""
        try:
            if not self.local:
                return self.fs.cat_file(path)
            with open(path, "rb") as file:  # fsspec takes thirty times as long, and there may be thousands
                return file.read()
        except FileNotFoundError:
            raise
        except OSError as e:
            if is_lack_of_memory(e):
                raise
            raise UserError(f"{path}: cannot be read ({e.strerror or e})") from None

    def _mend(self, path: str, folder: str) -> str:
        if "/signals/teacher=" in path:
            return _ASIDE
        away = f"the folder {folder}" if self.is_complete(folder) else "this file"
        return f"move {away} away and run again: only that is made anew"

    @staticmethod
    def opened(path: str, folder: str, data: bytes, columns: list[str] | None = None) -> pa.Table:
        """The table in the bytes of a part.

        folder: where in the store it lies. Raises PartBroken for what is no table, belongs in another folder, or has
        columns that no part of its folder has.
        """
        room = folder.split("/")[0]
        remedy = _ASIDE if room == "signals" else "move it away"
        try:
            with pq.ParquetFile(pa.BufferReader(data)) as file:
                table = file.read(columns, use_threads=False)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as e:  # a name that is no text
            if is_lack_of_memory(e):
                raise
            raise PartBroken(f"{path}: broken part, no Parquet table ({str(e).splitlines()[0]}); {remedy}") from None
        belongs = (table.schema.metadata or {}).get(_FOLDER.encode(), b"").decode(errors="replace")
        if belongs != folder:
            raise PartBroken(f"{path}: broken part, it belongs in {belongs or 'no folder of a store'}; {remedy}")
        known, signals = _COLUMNS.get(room, {}), room == "signals"
        wanted = known if columns is None and signals else columns or ()
        wrong = [name for name in wanted if name not in table.column_names]
        wrong += [name for name in table.column_names
                  if (name in known and not known[name](table[name])) or (signals and name not in known)]
        if wrong:
            raise PartBroken(f"{path}: broken part, not the columns of {room}: {', '.join(wrong)}; {remedy}")
        return table

    def read(self, folder: str, columns: list[str] | None = None) -> pa.Table | None:
        """All parts of a folder as one table; None where there is no part."""
        tables: dict[str, pa.Table] = {}
        while True:
            paths = self.parts(folder)
            new = [path for path in paths if path not in tables]
            found = in_threads(self._read_if_there, new, repeat(columns))
            tables |= {path: table for path, table in zip(new, found, strict=True) if table is not None}
            if all(path in tables for path in paths):  # else some were put together meanwhile: list again
                return self._joined(folder, [tables[path] for path in paths])

    def _joined(self, folder: str, tables: list[pa.Table]) -> pa.Table | None:
        try:
            return pa.concat_tables(tables) if tables else None
        except pa.ArrowException as e:
            if is_lack_of_memory(e):
                raise
            raise PartBroken(f"{folder}: its parts have different columns ({str(e).splitlines()[0]})") from None

    def _read_if_there(self, path: str, columns: list[str] | None) -> pa.Table | None:
        try:
            return self.read_part(path, columns)
        except PartGone:
            if path in self.parts(path.rsplit("/", 1)[0]):
                raise
            return None

    def scan(self, folder: str, columns: list[str] | None = None, ahead: int = 0) -> Iterator[pa.Table]:
        """The parts of a folder, one table at a time.

        Parts that are put together meanwhile are listed again; rows that were read already may then come once more.
        ahead: how many parts other threads open meanwhile, for folders of many small ones.
        """
        read = partial(self.read_part, columns=columns)
        yield from (table for _, table in self._each(folder, lambda paths: _ahead(read, paths, ahead)))

    def scan_bytes(self, folder: str) -> Iterator[tuple[str, bytes]]:
        """(path, bytes) of the parts of a folder, as `scan` reads them."""
        return self._each(folder, lambda paths: ((path, partial(self.part_bytes, path)) for path in paths))

    def _each(self, folder: str, reads: Callable[[list[str]], Iterator[tuple[str, Callable[[], T]]]]
              ) -> Iterator[tuple[str, T]]:
        """What is read of each part; a part that is gone is passed over where the folder does not list it any more."""
        done: set[str] = set()
        while True:
            for path, read in reads([path for path in self.parts(folder) if path not in done]):
                try:
                    found = read()
                except PartGone:
                    if path in self.parts(folder):
                        raise
                    break
                done.add(path)
                yield path, found
            else:
                return

    def taught(self, place: str = "signals") -> list[tuple[str, str]]:
        """(teacher's fingerprint, signal) of all folders of signals, or of those in "quarantine/signals"."""
        found = []
        for teacher in self.listing(self._join(place)):
            for signal in self.listing(teacher):
                if match := _TAUGHT.search(signal.rstrip("/")):
                    found.append(match.groups())
        return sorted(found)

    def remove_parts(self, paths: Iterable[str]) -> None:
        """Take parts away; another process may have done so already."""
        for path in paths:
            with full_disk_said_plainly(path), suppress(FileNotFoundError):
                self.fs.rm_file(path)

    def set_aside(self, path: str) -> str:
        """Move a file of the store into `quarantine`, beside those that were moved there before; its new path."""
        target = self._join("quarantine", path.removeprefix(self.path.rstrip("/")).strip("/"))
        again = 1
        while self.fs.exists(free := target if again == 1 else f"{target}.{again}"):
            again += 1
        with full_disk_said_plainly(free), suppress(FileNotFoundError):  # another process set it aside first
            self.fs.makedirs(free.rsplit("/", 1)[0], exist_ok=True)
            self.fs.mv(path, free)
        return free

    def quarantined(self, fingerprint: str, signal: str) -> list[str]:
        """Files that were set aside of a teacher's signal."""
        return sorted(self.listing(self._join("quarantine", "signals", f"teacher={fingerprint}", f"signal={signal}")))

    def leftovers(self, seconds: float = 86_400) -> list[str]:
        """What writers that were killed left in a local store, and what nobody has written to for so long."""
        if not self.local:
            return []
        found = []
        for room in _ROOMS:
            for folder, folders, files in os.walk(self._join(room)):
                names = [name for name in (*folders, *files) if name.startswith(".tmp-")]
                folders[:] = [name for name in folders if name not in names]
                found += [path for path in (os.path.join(folder, name) for name in names) if _age(path) > seconds]
        return sorted(found)

    def remove_leftovers(self) -> list[str]:
        """Take them away; what was."""
        found = self.leftovers()
        for path in found:
            with full_disk_said_plainly(path), suppress(FileNotFoundError):
                shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.remove(path)
        return found

    # ---- finished sets

    def is_complete(self, folder: str) -> bool:
        return self.fs.exists(f"{folder}/{COMPLETE}")

    def complete(self, folder: str) -> dict:
        """The list of a finished set's parts, and the facts beside it. Raises UserError where it is no such list."""
        path = f"{folder}/{COMPLETE}"
        facts = self.read_json(path)
        parts = facts.get("parts")
        if not isinstance(parts, list) or not all(isinstance(p, str) and _PART.fullmatch(p) for p in parts):
            raise UserError(f"{path}: no list of parts; move the folder {folder} away and run again: it is made anew")
        return facts

    def finish(self, folder: str, parts: Iterable[str], facts: Mapping[str, object]) -> None:
        """Declare a set of parts whole; facts (counts, settings) are kept beside the list."""
        names = [path.rsplit("/", 1)[-1] for path in parts]
        self.write_json(f"{folder}/{COMPLETE}", {**facts, "parts": names})

    # ---- JSON and folders

    def write_json(self, path: str, value: dict[str, Any]) -> None:
        self._write(path, intact.record(value, self._within(path)))

    def read_json(self, path: str) -> dict:
        """A record whose bytes are those that were written; anything else is refused by name (UserError)."""
        return intact.parse(path, self._bytes(path), self._within(path))

    def check_json(self, path: str) -> None:
        """What `read_json` refuses is refused; the value is not parsed."""
        intact.check_record(path, self._bytes(path), self._within(path))

    def exists(self, path: str) -> bool:
        return self.fs.exists(path)

    def keep_one(self, folder: str) -> None:
        """Take away all parts of a folder but the first by name, whatever other processes do at the same time.

        A run that was killed may have left some, or another machine made the same run: then the last bits of what
        stays and of the scores in the record may differ.
        """
        self.remove_parts(self.parts(folder)[1:])

    def add_cost(self, stage: str, key: str, seconds: float, rows: int) -> None:
        """Work done on an artefact, beside what others do on it at the same time."""
        self.write_json(f"{self.cost(stage, key)}/{uuid.uuid4().hex}.json", {"seconds": seconds, "rows": rows})

    def read_cost(self, stage: str, key: str) -> dict:
        """The seconds and rows of all work that was done on an artefact."""
        paths = [path for path in self.listing(self.cost(stage, key)) if path.endswith(".json")]
        found = [self.read_json(path) for path in sorted(paths)]
        return {"seconds": round(sum(f["seconds"] for f in found), 3), "rows": sum(f["rows"] for f in found)}

    def new_model(self, key: str) -> AbstractContextManager[Path]:
        return self.new_folder(self.model(key))

    def has_model(self, key: str) -> bool:
        return self.has_folder(self.model(key))

    def has_folder(self, place: str) -> bool:
        """Whether `new_folder` finished it: a local folder appears as a whole, a remote one ends with a marker."""
        return self.fs.exists(place if self.local else f"{place}/{_WHOLE}")

    def local_model(self, key: str) -> Path:
        return self.local_folder(self.model(key))

    @contextmanager
    def new_folder(self, target: str) -> Iterator[Path]:
        """A local scratch folder that becomes the target when the block ends without an error."""
        parent = Path(target).parent if self.local else None
        with full_disk_said_plainly(self.root):
            if parent:
                parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=".tmp-", dir=parent))
            try:
                yield scratch
                self._publish(scratch, target)
            except SafetensorError as e:  # how safetensors reports a write that the system refused
                raise UserError(f"{target}: cannot write ({e}); nothing stored was changed; make room first") from e
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def _publish(self, scratch: Path, target: str) -> None:
        intact.seal(scratch, target.rsplit("/", 1)[-1])
        if not self.local:
            self.fs.put(f"{scratch}/", f"{target}/", recursive=True)
            self.fs.pipe_file(f"{target}/{_WHOLE}", b"")
            return
        for file in scratch.rglob("*"):
            if file.is_file():
                _flush(file)
        try:
            scratch.chmod(0o755)
            os.rename(scratch, target)
            _flush(Path(target).parent)
        except OSError as e:
            if e.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process published the same content first
                raise

    def local_folder(self, place: str) -> Path:
        """A folder of the store on this machine; fetched from a remote store into a cache folder first."""
        if self.local:
            return Path(place)
        here = _cache_home() / content_key(self.root) / place.strip("/").replace("/", "--")
        if not here.exists() and self.has_folder(place):
            here.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(prefix=".tmp-", dir=here.parent) as scratch:
                self.fs.get(f"{place}/", f"{scratch}/got/", recursive=True)
                with suppress(OSError):  # another process fetched it first
                    os.rename(f"{scratch}/got", here)
        return here

    def _write(self, path: str, data: bytes | pa.Buffer) -> None:
        with full_disk_said_plainly(path):
            if not self.local:
                self.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
                self.fs.pipe_file(path, bytes(data))
                return
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(prefix=".tmp-", dir=Path(path).parent)
            try:
                with os.fdopen(handle, "wb") as out:
                    out.write(data)
                    out.flush()
                    os.fsync(out.fileno())
                os.chmod(scratch, 0o644)
                os.replace(scratch, path)
                _flush(Path(path).parent)
            except BaseException:
                Path(scratch).unlink(missing_ok=True)
                raise


def _ahead(read: Callable[[str], T], paths: list[str], ahead: int) -> Iterator[tuple[str, Callable[[], T]]]:
    """(path, what gives read(path)) in order, while threads read so many further ones."""
    if not ahead:
        yield from ((path, partial(read, path)) for path in paths)
        return
    with ThreadPoolExecutor(cores()) as threads:
        waiting = deque()
        for path in paths:
            waiting.append((path, threads.submit(read, path).result))
            if len(waiting) > ahead:
                yield waiting.popleft()
        yield from waiting


def _age(path: str) -> float:
    """Seconds since a file, or anything in a folder, was last written; 0 where it is gone."""
    try:
        times = [os.stat(path).st_mtime, *(entry.stat().st_mtime for entry in Path(path).rglob("*"))]
    except FileNotFoundError:
        return 0.0
    return time.time() - max(times)


def _encoding(schema: pa.Schema) -> dict[str, object]:
    """Ids are random bytes, and so are nearly all bits of states: no dictionary, no codec and no bounds make anything
    of them but work.

    Nor does a dictionary of the texts of rows, nearly all of which are distinct, or the first of them by the alphabet.
    """
    ids = {field.name for field in schema if field.type == ID}
    states = {path for path, field in zip(_leaves(schema), schema, strict=True)
              if pa.types.is_nested(field.type) and field.type.value_type in (pa.float16(), pa.uint8())}
    dense = ids | states
    plain = [path for path in _leaves(schema) if path not in dense and path not in ("text_a", "text_b")]
    return {
        "compression": {path: "none" if path in dense else "zstd" for path in _leaves(schema)},
        "use_dictionary": plain,
        "write_statistics": plain,
    }


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet's paths of the columns."""
    return [f"{f.name}.list.element" if pa.types.is_nested(f.type) else f.name for f in schema]


def _cache_home() -> Path:
    """Where this user's programs keep what they can fetch again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kdpipe"


def _flush(path: Path) -> None:
    """Onto the disk: a file's bytes, or the names that a folder holds."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def full_disk_said_plainly(where: str) -> Iterator[None]:
    """Turns the operating system's refusals to write into one clear message; what was stored stays as it was."""
    try:
        yield
    except OSError as e:
        reasons = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EFBIG: "the system allows no file of this size (see ulimit -f)",
            errno.EIO: "the disk fails (an input/output error)",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "this user may not write there",
            errno.EPERM: "this user may not write there",
            errno.ENOTDIR: "a file is where a folder should be",
            errno.EEXIST: "a file is where a folder should be",
        }
        if e.errno not in reasons:
            raise
        raise UserError(
            f"{where}: cannot write, {reasons[e.errno]}; nothing stored was changed; "
            "make room or give another --store, then run again: it goes on where it was"
        ) from e
