"""The care of the teacher cache: what it holds, is told true, mended, packed, dropped and carried, and never lost."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from kdpipe import phases, recipe, warehouse
from kdpipe.care.carry import bring, export
from kdpipe.care.compact import compact
from kdpipe.care.drop import choose, drop, moment
from kdpipe.care.holdings import holdings, sizes
from kdpipe.care.repair import repair
from kdpipe.care.verify import verify
from kdpipe.cli import app
from kdpipe.errors import UserError
from kdpipe.job import Job
from kdpipe.signals.cache import Cache, made_by
from kdpipe.store import Store
from kdpipe.types import row_ids

ONE, TWO = "1" * 20, "2" * 20  # fingerprints


@dataclass
class Lengths:
    """A teacher whose answer a reader can redo: (number of characters, 1), and a little more where `off` says so."""

    fingerprint: str = ONE
    off: float = 0.0
    asked: list[str] = field(default_factory=list)

    def prepare(self, rows):
        return rows["text_a"].to_pylist()

    def compute(self, signal, texts):
        self.asked += texts
        return np.array([[len(t) + self.off, 1] for t in texts], np.float32)


def rows(texts) -> pa.Table:
    column = pa.chunked_array([pa.array(list(texts), pa.string())])
    return pa.table({"id": row_ids(column), "text_a": column, "text_b": pa.nulls(len(column), pa.string())})


def numbered(start: int, stop: int) -> pa.Table:
    return rows(f"{'x' * (i % 7)} {i}" for i in range(start, stop))


def teach(store: Store, table: pa.Table, source: Lengths | None = None, shard: int = 4, task: str = "films") -> int:
    source = source or Lengths()
    made = made_by(source.fingerprint, {"task": task, "folder": "gone", "kind": "classification", "labels": ["a", "b"]})
    return Cache(store, source.fingerprint, lambda: source, 2, made, shard).fill("logits", [table])


def served(store: Store, table: pa.Table, fingerprint: str = ONE) -> np.ndarray:
    return Cache(store, fingerprint, Lengths, 2, {}).read("logits", table["id"])


def tree(folder: Path | str) -> dict[str, bytes]:
    root = Path(folder)
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).digest() for p in root.rglob("*") if p.is_file()}


def harm(path: str, how: str = "flip") -> None:
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(path).write_bytes({"flip": bytes(data), "cut": bytes(data[: len(data) // 2]), "empty": b""}[how])


def parts(store: Store, fingerprint: str = ONE) -> list[str]:
    return store.parts(store.signals(fingerprint, "logits"))


def command(*arguments, store) -> str:
    done = CliRunner().invoke(app, ["cache", *map(str, arguments), "--store", str(store)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


# ---- what is there


def test_rows_parts_and_doubles_are_counted(store):
    teach(store, numbered(0, 10))
    teach(store, rows(["y"]), Lengths(TWO), task="letters")
    double = Store(store.root + "2")
    teach(double, numbered(2, 5))
    store.put_part(store.signals(ONE, "logits"), Path(parts(double)[0]).read_bytes())
    first, second = holdings(store)
    assert (first.rows, first.distinct, first.parts) == (13, 10, 4)
    assert (second.rows, second.distinct, second.teacher.tasks) == (1, 1, ["letters"])
    assert [(s.parts, s.bytes) for s in sizes(store)] == [(h.parts, h.bytes) for h in (first, second)]
    assert first.bytes == sum(os.path.getsize(p) for p in parts(store))


def test_a_broken_part_is_told_and_the_rest_is_counted(store):
    teach(store, numbered(0, 8))
    harm(parts(store)[0])
    (found,) = holdings(store)
    assert (found.rows, found.parts, len(found.broken)) == (4, 2, 1)
    assert os.path.basename(parts(store)[0]) in found.broken[0]


def test_a_part_in_another_teachers_folder_is_broken(store):
    """Its bytes have the hash in its name, but its rows are another teacher's."""
    teach(store, numbered(0, 4))
    teach(store, numbered(4, 8), Lengths(TWO))
    moved = Path(parts(store, TWO)[0])
    shutil.move(moved, Path(parts(store)[0]).parent / moved.name)
    with pytest.raises(UserError, match=f"{moved.name}: broken part, it is of teacher {TWO}, not of {ONE}"):
        served(store, numbered(0, 4))


def test_last_use_is_the_latest_that_files_prove(store):
    """A part's time; or the start of a run that learned from the teacher."""
    teach(store, numbered(0, 4))
    (part,) = parts(store)
    os.utime(part, (1.7e9, 1.7e9))
    assert holdings(store)[0].last_used.timestamp() == 1.7e9
    store.write_json(store.run("r"), {"run": "r", "teacher": ONE, "task": "later", "started": "2024-02-03T04:05:06+00:00"})
    store.write_json(store.run("s"), {"run": "s", "teacher": TWO, "started": "2025-02-03T04:05:06+00:00"})
    (found,) = holdings(store)
    assert found.last_used == datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert found.teacher.tasks == ["films", "later"]


# ---- compact


def test_packing_changes_nothing_that_is_served(store):
    teach(store, numbered(0, 50), shard=3)
    before = served(store, numbered(0, 50))
    (done,) = compact(store)
    assert done.parts == (17, 1) and done.rows == (50, 50) and len(parts(store)) == 1
    np.testing.assert_array_equal(served(store, numbered(0, 50)), before)
    (found,) = holdings(store)
    assert found.teacher.tasks == ["films"] and found.teacher.folders == ["gone"]


def test_packing_again_changes_no_byte(store):
    teach(store, numbered(0, 20))
    compact(store)
    before = tree(store.path)
    assert compact(store)[0].parts == (1, 1)
    assert tree(store.path) == before


def test_parts_that_are_large_enough_are_left_alone(store):
    teach(store, numbered(0, 40), shard=20)
    large = set(parts(store))
    teach(store, numbered(40, 46), shard=2)
    (done,) = compact(store, rows=20)
    assert done.parts == (5, 3) and large < set(parts(store))


@pytest.mark.parametrize("large", [True, False])
def test_a_row_that_stands_twice_becomes_one(store, tmp_path, large):
    other = Store(tmp_path / "other")
    teach(store, numbered(0, 12), shard=12 if large else 4)
    teach(other, numbered(8, 20), shard=3)
    for path in parts(other):
        store.put_part(store.signals(ONE, "logits"), Path(path).read_bytes())
    (done,) = compact(store, rows=5)
    assert done.rows == (24, 20)
    assert [(h.rows, h.distinct) for h in holdings(store)] == [(20, 20)]
    assert served(store, numbered(0, 20))[:, 0].tolist() == [len(t) for t in numbered(0, 20)["text_a"].to_pylist()]


def test_rows_that_disagree_are_refused_and_named(store, tmp_path):
    other = Store(tmp_path / "other")
    teach(store, numbered(0, 8))
    teach(other, numbered(6, 10), Lengths(off=0.125))
    odd = store.put_part(store.signals(ONE, "logits"), Path(parts(other)[0]).read_bytes())
    before = tree(store.path)
    with pytest.raises(UserError, match="2 rows disagree by up to 0.125.*nothing was changed.*--tolerance"):
        compact(store)
    assert tree(store.path) == before and odd in parts(store)
    assert compact(store, tolerance=0.13)[0].rows == (12, 10)


def test_nothing_is_packed_beside_a_broken_part(store):
    teach(store, numbered(0, 12))
    harm(parts(store)[1])
    before = tree(store.path)
    with pytest.raises(UserError, match="broken part.*kdpipe cache repair"):
        compact(store)
    assert tree(store.path) == before


READER = """
import sys, numpy as np, pyarrow as pa
from kdpipe import warehouse
from kdpipe.signals.cache import Cache
from kdpipe.store import Store
from kdpipe.types import row_ids
store, n, sql = Store(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "sql"
texts = [f"{'x' * (i % 7)} {i}" for i in range(n)]
ids, want = pa.chunked_array([row_ids(pa.array(texts))]), np.array([len(t) for t in texts])
times = 0
print("ready", flush=True)
while not store.exists(store.path + "/stop"):
    if sql:
        seen = warehouse.query(store, "select count(*) as n from stg_signals")["n"][0].as_py()
        assert seen >= n, f"{seen} of {n}"
    else:
        assert (Cache(store, "1" * 20, None, 2, {}).read("logits", ids)[:, 0] == want).all()
    times += 1
assert times, times
"""

WRITER = """
import sys
sys.path.insert(0, ".")
from tests.test_care import Lengths, numbered, teach
from kdpipe.store import Store
store, at = Store(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
while not store.exists(store.path + "/stop"):
    teach(store, numbered(at, at + 12), shard=3)
    at += 10
print(at + 2)
"""

PACKER = """
import sys
from kdpipe.care.compact import compact
from kdpipe.store import Store
store, n = Store(sys.argv[1]), 0
print("ready", flush=True)
while not store.exists(store.path + "/stop"):
    compact(store, rows=10_000_000)
    n += 1
assert n > 1, n
"""


def start(code: str, *arguments) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=-1, stderr=-1, text=True)


def test_packing_while_others_read_write_and_pack_loses_no_row(store):
    """Two packers, two readers (one of them SQL) and a writer that teaches overlapping rows."""
    n = 300
    teach(store, numbered(0, n), shard=5)
    others = [start(READER, store.path, n, "cache"), start(READER, store.path, n, "sql"),
              start(PACKER, store.path), start(PACKER, store.path), start(WRITER, store.path, n)]
    for process in others:
        process.stdout.readline()
    time.sleep(3)
    Path(store.path, "stop").touch()
    said = [process.communicate(timeout=60) for process in others]
    assert [process.returncode for process in others] == [0] * len(others), [err for _, err in said]
    compact(store)
    total = numbered(0, int(said[-1][0].split()[-1]))
    assert [(h.rows, h.distinct, h.parts) for h in holdings(store)] == [(len(total), len(total), 1)]
    served(store, total)


def test_two_listings_that_differ_are_not_believed(store):
    """A listing that missed the old part and the new one alike is followed by one that has the new one."""
    teach(store, numbered(0, 8))
    whole, fs, asked = store._listed, store, []

    def torn(folder):
        asked.append(folder)
        return whole(folder)[:1] if len(asked) == 1 else whole(folder)

    fs._listed = torn
    assert len(store.parts(store.signals(ONE, "logits"))) == 2 and len(asked) == 3
