"""The care of the teacher cache: what it holds, is told true, mended, packed, dropped and carried, and never lost."""

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from kdpipe import phases, recipe
from kdpipe.care.carry import Carried, _Folder, bring, export
from kdpipe.care.compact import compact
from kdpipe.care.drop import choose, drop, moment
from kdpipe.care.holdings import holdings, sizes
from kdpipe.care.repair import repair
from kdpipe.care.teachers import Records, Teacher
from kdpipe.care.verify import verify
from kdpipe.cli import app
from kdpipe.errors import UserError
from kdpipe.job import Job, teacher_of, transfer_key
from kdpipe.signals.cache import Cache, made_by
from kdpipe.store import Store
from kdpipe.types import row_ids
from tests.warehouse.small import add_run

ONE, TWO = "1" * 20, "2" * 20  # fingerprints


@dataclass
class Lengths:
    """A teacher whose answer a reader can redo: (number of characters, 1), and a little more where `off` says so."""

    fingerprint: str = ONE
    off: float = 0.0
    asked: list[str] = field(default_factory=list)

    def prepare(self, rows):
        return rows["text_a"].to_pylist()

    def compute(self, signals, texts):
        self.asked += texts
        return dict.fromkeys(signals, np.array([[len(t) + self.off, 1] for t in texts], np.float32))


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
    with pytest.raises(UserError, match=f"{moved.name}: broken part, it belongs in signals/teacher={TWO}/"):
        served(store, numbered(0, 4))


def test_last_use_is_the_latest_that_files_prove(store):
    """A part's time; or the start of a run that learned from the teacher."""
    teach(store, numbered(0, 4))
    (part,) = parts(store)
    os.utime(part, (1.7e9, 1.7e9))
    assert holdings(store)[0].last_used.timestamp() == 1.7e9
    for run, teacher, year in (("r", ONE, 2024), ("s", TWO, 2025)):
        record = {"run": run, "teacher": teacher, "task": "later", "started": f"{year}-02-03T04:05:06+00:00"}
        store.write_json(store.run(run), record)
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
    """Two packers and one that is killed, two readers (one of them SQL), and a writer that teaches overlapping rows."""
    n = 300
    teach(store, numbered(0, n), shard=5)
    others = [start(READER, store.path, n, "cache"), start(READER, store.path, n, "sql"),
              start(PACKER, store.path), start(PACKER, store.path), start(WRITER, store.path, n)]
    killed = start(PACKER, store.path)
    for process in (killed, *others):
        process.stdout.readline()
    for _ in range(2):
        time.sleep(0.5 + random.random() / 10)
        killed.kill(), killed.communicate()
        killed = start(PACKER, store.path)
        killed.stdout.readline()
    killed.kill(), killed.communicate()
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


# ---- verify and repair, with a teacher that can be asked


@pytest.fixture(scope="module")
def taught(tmp_path_factory, tiny_recipe, tiny_task) -> Job:
    """The tiny recipe up to its teach stage, in shards of 40 rows."""
    job = Job(recipe.load(tiny_recipe, tiny_task, seeds=[0]), str(tmp_path_factory.mktemp("taught")), "cpu")
    phases.teachers(job), phases.augment(job)
    return in_shards(job)


def in_shards(job: Job) -> Job:
    """Teach as the stage does, in parts of 40 rows."""
    cache, key = teacher_of(job, job.recipe.final.teacher, 0), transfer_key(job, job.recipe.final)
    cache.shard = 40
    asked = cache.fill("logits", job.place.scan(job.place.transfer(key)))
    job.place.add_cost("teach", f"{cache.fingerprint}-{key}", 1.0, asked)
    assert phases.teach(job).reused
    return job


@pytest.fixture
def copy(taught, tmp_path) -> Store:
    """The store of that job, to be harmed."""
    shutil.copytree(taught.store, tmp_path / "copy")
    return Store(tmp_path / "copy")


def of(store: Store) -> str:
    """The fingerprint of a store's only teacher."""
    ((fingerprint, _),) = store.taught()
    return fingerprint


def test_a_sample_asked_again_says_the_same(copy):
    (found,) = verify(copy, sample=50, device="cpu")
    assert found.ok and found.asked == 50 and found.difference < 1e-5 and not found.note
    assert found.parts == len(parts(copy, of(copy))) > 2
    (other,) = verify(copy, sample=50, seed=1, device="cpu")
    assert other.ok and "max |difference|" in command("verify", "--rows", 8, store=copy.path)


def test_rows_that_are_not_the_teachers_own_are_found(copy):
    """Values that were changed and then written as they should be: only the teacher itself can tell."""
    (path, *_) = parts(copy, of(copy))
    table = copy.read_part(path)
    values = np.array(table["values"].combine_chunks().flatten())
    values[7] += 0.5
    false = table.set_column(1, "values", pa.FixedSizeListArray.from_arrays(pa.array(values), 2))
    made = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    os.remove(path)
    copy.write_part(copy.signals(of(copy), "logits"), false, made)
    (found,) = verify(copy, sample=10_000, device="cpu")
    assert not found.ok and found.difference == pytest.approx(0.5, abs=1e-4)
    assert "says something else now" in found.faults[0]


@pytest.mark.parametrize("how", ["gone", "changed", "no texts"])
def test_what_cannot_be_asked_again_is_said(copy, how):
    (model,) = Path(copy.path, "models").iterdir()
    if how == "gone":
        shutil.rmtree(model)
    elif how == "changed":
        (model / "tokenizer.json").write_text((model / "tokenizer.json").read_text() + " ")
    else:
        shutil.rmtree(Path(copy.path, "transfer"))
    (found,) = verify(copy, device="cpu")
    assert found.asked == 0 and found.difference is None
    said = {"gone": f"its model {model.name} is gone", "changed": "tokenizer.json: broken file"}
    assert said.get(how, "in no transfer set") in found.note


def test_a_record_of_a_student_that_ends_on_labels_says_which_model_was_asked(tmp_path):
    store = Store(tmp_path)
    brought = [{"name": "large", "checkpoint": "some/checkpoint", "max_length": 64}]
    told = [{"name": "told", "teacher": "large"}, {"name": "student", "teacher": None, "start": "told"}]
    add_run(store, "ends-on-labels", settings={"phases": brought + told})
    (asked,) = Teacher(store, "fp", (), Records(store))._asked()
    assert (asked["checkpoint"], asked["max_length"]) == ("some/checkpoint", 64)


def test_verify_names_broken_parts_and_ends_with_code_1(copy):
    path = parts(copy, of(copy))[1]
    harm(path)
    done = CliRunner().invoke(app, ["cache", "verify", "--rows", "0", "--store", copy.path])
    assert done.exit_code == 1 and os.path.basename(path) in done.output


@pytest.mark.parametrize("how", ["flip", "cut", "empty", "swap", "all"])
def test_repair_sets_parts_aside_and_brings_the_same_rows_back(copy, how):
    before, (one, two, *more) = tree(copy.path), parts(copy, of(copy))
    broken = {"swap": [one, two], "all": [one, two, *more]}.get(how, [two])
    lost = sum(len(copy.read_part(path, ["id"])) for path in broken)
    if how == "swap":
        shutil.move(one, f"{one}.x"), shutil.move(two, one), shutil.move(f"{one}.x", two)
    else:
        for path in broken:
            harm(path, "flip" if how == "all" else how)
    harmed = {path: Path(path).read_bytes() for path in broken}
    (done,) = repair(copy, device="cpu")
    assert done.asked == lost and not done.left
    assert {Path(place).read_bytes() for _, place in done.aside} == set(harmed.values())
    assert all("/quarantine/signals/" in place for _, place in done.aside)
    (found,) = verify(copy, sample=10_000, device="cpu")
    assert found.ok and not found.broken and found.difference < 1e-5
    if how in ("flip", "cut", "empty"):  # a shard of its own: asked again it is the same, bit by bit
        assert {name: data for name, data in tree(copy.path).items() if not name.startswith("quarantine")} == before
    assert repair(copy, device="cpu")[0].asked == 0


def test_repair_of_a_whole_store_changes_no_byte(copy):
    before = tree(copy.path)
    assert [done.idle for done in repair(copy, device="cpu")] == [True]
    assert tree(copy.path) == before and "no part is broken" in command("repair", store=copy.path)


def test_repair_without_the_model_says_what_to_run_and_goes_on_later(copy, taught):
    (model,) = Path(copy.path, "models").iterdir()
    (path, *_) = parts(copy, of(copy))
    lost = len(copy.read_part(path, ["id"]))
    harm(path)
    shutil.move(model, model.parent.parent / "elsewhere")
    (done,) = repair(copy, device="cpu")
    assert done.asked == 0 and len(done.aside) == 1
    assert f"{lost} rows cannot be asked here: its model {model.name} is gone" in done.left[0]
    shutil.move(model.parent.parent / "elsewhere", model)
    (again,) = repair(copy, device="cpu")
    assert again.asked == lost and not again.left and not again.aside
    assert verify(copy, sample=0)[0].rows == verify(Store(taught.store), sample=0)[0].rows


def test_run_records_stand_in_for_parts_that_are_all_broken(tmp_path, taught, tiny_recipe, tiny_task):
    """No part left to say how the teacher was asked, and no record of the cost: the run record says it all."""
    store = Store(shutil.copytree(taught.store, tmp_path / "store"))
    phases.run(Job(recipe.load(tiny_recipe, tiny_task, seeds=[0]), store.path, "cpu"))
    shutil.rmtree(Path(store.path, "costs"))
    fingerprint = of(store)
    held = verify(store, sample=0)[0].rows
    for path in parts(store, fingerprint):
        harm(path)
    (done,) = repair(store, device="cpu")
    assert done.asked == held and not done.left
    assert verify(store, sample=64, device="cpu")[0].difference < 1e-5


def test_a_brought_teacher_is_found_by_what_the_parts_say(tmp_path, tiny_recipe, tiny_task, taught):
    """No run was recorded yet: the parts name the checkpoint, its classes and its length."""
    (model,) = Path(taught.store, "models").iterdir()
    shutil.copytree(model, tmp_path / "mine")
    asking = recipe.load(tiny_recipe, tiny_task, seeds=[0], teacher=str(tmp_path / "mine"))
    job = Job(asking, str(tmp_path / "s"), "cpu")
    phases.teachers(job), phases.augment(job), in_shards(job)
    (found,) = verify(job.place, sample=20, device="cpu")
    assert found.asked == 20 and found.difference < 1e-5
    harm(parts(job.place, of(job.place))[0])
    lost = found.rows - verify(job.place, sample=0)[0].rows
    assert repair(job.place, device="cpu")[0].asked == lost > 0
    for path in parts(job.place, of(job.place)):
        harm(path)
    assert "no part and no run record says which model" in repair(job.place, device="cpu")[0].left[0]


def test_a_model_of_the_store_is_found_by_its_fingerprint_alone(copy, tiny_recipe, tiny_task):
    """The only part is broken and nothing was recorded but the cost of the teach stage."""
    drop(copy, holdings(copy))
    shutil.rmtree(Path(copy.path, "costs"))
    phases.teach(Job(recipe.load(tiny_recipe, tiny_task, seeds=[0]), copy.path, "cpu"))
    ((part,), (held,)) = parts(copy, of(copy)), holdings(copy)
    harm(part)
    assert repair(copy, device="cpu")[0].asked == held.rows


# ---- drop


def test_a_dry_run_says_what_would_go_and_changes_nothing(store):
    teach(store, numbered(0, 10))
    before = tree(store.path)
    assert "10 rows" in (said := command("drop", "--teacher", "111", store=store.path)) and "--yes" in said
    assert tree(store.path) == before
    assert "dropped" in command("drop", "--teacher", "111", "--yes", store=store.path)
    assert not parts(store) and "dropped" in tree(store.path).popitem()[0]


def test_drop_takes_what_matches_all_that_is_said(store):
    teach(store, numbered(0, 4))
    teach(store, numbered(0, 4), Lengths(TWO), task="letters")
    for path in parts(store):
        os.utime(path, (1.7e9, 1.7e9))
    goes = {
        "teacher": choose(store, ONE[:3], None, None),
        "task": choose(store, None, "letters", None),
        "unused": choose(store, None, None, "30d"),
        "both": choose(store, None, "letters", "30d"),
    }
    found = {name: [h.teacher.fingerprint for h in each.goes] for name, each in goes.items()}
    assert found == {"teacher": [ONE], "task": [TWO], "unused": [ONE], "both": []}


def test_a_teacher_of_two_tasks_is_not_dropped_for_one(store):
    teach(store, numbered(0, 4))
    teach(store, numbered(4, 8), task="letters")
    found = choose(store, None, "letters", None)
    assert not found.goes and "was asked for films too" in found.stays[0]


def test_use_of_today_is_not_unused(store):
    teach(store, numbered(0, 4))
    today = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert choose(store, None, None, today).goes == ()
    assert moment("1d") < datetime.now(UTC) - timedelta(hours=23)


def test_what_was_dropped_is_not_asked_again_by_a_repair(copy, tiny_recipe, tiny_task):
    """Nor later, when a part of what was asked since is broken."""
    fingerprint = of(copy)
    harm(parts(copy, fingerprint)[0])
    assert repair(copy, device="cpu")[0].asked
    drop(copy, choose(copy, fingerprint, None, None).goes)
    assert all(done.asked == 0 for done in repair(copy, device="cpu"))
    assert not parts(copy, fingerprint) and not copy.quarantined(fingerprint, "logits")
    other = recipe.load(tiny_recipe, tiny_task, seeds=[0], overrides=["student.augment_seed=1"])
    phases.augment(Job(other, copy.path, "cpu")), in_shards(Job(other, copy.path, "cpu"))
    (broken, *_), (before,) = parts(copy, fingerprint), holdings(copy)
    harm(broken)
    lost = before.rows - holdings(copy)[0].rows
    assert repair(copy, device="cpu")[0].asked == lost > 0


# ---- export and import


@pytest.mark.parametrize("target", ["carried", "carried.tar"])
def test_there_and_back_is_the_same_bit_by_bit(store, tmp_path, target):
    teach(store, numbered(0, 10))
    teach(store, rows(["y"]), Lengths(TWO))
    sent = export(store, str(tmp_path / target))
    other = Store(tmp_path / "other")
    took = bring(other, str(tmp_path / target))
    assert (sent.parts, sent.rows) == (took.parts, took.rows) == (4, 11)
    assert tree(other.path) == tree(store.path)
    again = bring(other, str(tmp_path / target))
    assert (again.parts, again.rows, again.known) == (0, 0, 11) and tree(other.path) == tree(store.path)


def test_one_teacher_alone_is_carried(store, tmp_path):
    teach(store, numbered(0, 4))
    teach(store, numbered(0, 4), Lengths(TWO))
    export(store, str(tmp_path / "one.tar"), ONE[:4])
    bring(Store(tmp_path / "other"), str(tmp_path / "one.tar"))
    assert Store(tmp_path / "other").taught() == [(ONE, "logits")]


def test_rows_that_are_there_stay(store, tmp_path):
    """The other machine's teacher differed in the last bits; its new rows are taken, the others are left."""
    teach(store, numbered(0, 8))
    other = Store(tmp_path / "other")
    teach(other, numbered(6, 12), Lengths(off=0.25))
    before = served(store, numbered(0, 8))
    took = bring(store, other.path)
    assert (took.rows, took.known) == (4, 2)
    np.testing.assert_array_equal(served(store, numbered(0, 8)), before)
    assert [(h.rows, h.distinct) for h in holdings(store)] == [(12, 12)]


NAME = f"signals/teacher={ONE}/signal=logits/part-{'0' * 32}.parquet"


@pytest.mark.parametrize(
    "name",
    [
        "../evil", "/etc/evil", f"../{NAME}", f"/{NAME}", f"signals/../{NAME}", "kdpipe.duckdb", "models/x/config.json",
        NAME.replace(ONE, ".."), NAME.replace(ONE, "x" * 20), NAME.replace("logits", ".."), NAME.replace("part", "art"),
        NAME + "\n", NAME.replace("signals", "transfer"),
    ],
)  # fmt: skip
def test_only_parts_of_signals_are_taken_from_a_tar(tmp_path, name):
    refused_tar(tmp_path, tarfile.TarInfo(name), "is not a part of signals")


@pytest.mark.parametrize("kind", ["SYMTYPE", "LNKTYPE", "CHRTYPE", "FIFOTYPE", "GNUTYPE_SPARSE"])
def test_nothing_but_plain_files_is_taken_from_a_tar(tmp_path, kind):
    member = tarfile.TarInfo(NAME)
    member.type, member.linkname = getattr(tarfile, kind), "/etc/passwd"
    refused_tar(tmp_path, member, "is not a part of signals|no tar file")


def refused_tar(tmp_path: Path, member: tarfile.TarInfo, said: str) -> None:
    """A tar of one good part and then the bad member: refused, and the good part is not taken either."""
    good = Store(tmp_path / "good")
    teach(good, numbered(0, 4))
    (part,) = parts(good)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(part, os.path.relpath(part, good.path))
        member.size = 1 if member.isreg() else 0
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(UserError, match=said):
        bring(Store(tmp_path / "store"), str(tmp_path / "x.tar"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good", "x.tar"]


def signals(ids, values, width=2, **columns) -> pa.Table:
    flat = pa.array(np.asarray(values, np.float32))
    return pa.table({"id": ids, "values": pa.FixedSizeListArray.from_arrays(flat, width), **columns})


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("bytes", "not those that"),
        ("no parquet", "no Parquet table"),
        ("teacher", "it belongs in signals/teacher=22222222222222222222/signal=logits"),
        ("nowhere", "it belongs in no folder of a store"),
        ("column", "not the columns of signals: more"),
        ("id", "not the columns of signals: id"),
        ("null", "not the columns of signals: values"),
        ("nan", "NaN or infinite"),
        ("twice", "stands in it twice"),
        ("width", "rows of 3 values .*; this store has 2 values"),
    ],
)
def test_a_part_that_is_not_what_it_says_stops_the_import(store, tmp_path, what, said):
    teach(store, numbered(0, 4))
    before, ids, made = tree(store.path), numbered(4, 6)["id"], {"teacher": ONE}
    bad, folder = Store(tmp_path / "bad"), Store(tmp_path / "bad").signals(ONE, "logits")
    teach(bad, numbered(10, 14))
    if what == "bytes":
        harm(parts(bad)[0])
    elif what == "no parquet":
        bad.put_part(folder, b"PAR1 but no more")
    elif what == "nowhere":
        pq.write_table(signals(ids, [1, 2, 3, 4]), sink := pa.BufferOutputStream())
        bad.put_part(folder, sink.getvalue())
    elif what == "teacher":
        other = bad.write_part(bad.signals(TWO, "logits"), signals(ids, [1, 2, 3, 4]), made)
        shutil.move(other, folder)
    else:
        table = {
            "column": signals(ids, [1, 2, 3, 4], more=["a", "b"]),
            "id": signals(["a", "b"], [1, 2, 3, 4]),
            "null": pa.table({"id": ids, "values": pa.array([[1, None], [3, 4]], pa.list_(pa.float32(), 2))}),
            "nan": signals(ids, [1, 2, np.nan, 4]),
            "twice": signals(pa.chunked_array([ids.chunk(0).take(pa.array([0, 0]))]), [1, 2, 3, 4]),
            "width": signals(ids, [1, 2, 3, 4, 5, 6], 3),
        }[what]
        bad.write_part(folder, table, made)
    for source in (bad.path, str(tar_of(bad, tmp_path))):
        with pytest.raises(UserError, match=said) as refusal:
            bring(store, source)
        assert refusal.value.faults[-1].endswith("nothing was taken")
        assert tree(store.path) == before


def test_rows_of_a_part_with_strange_metadata_are_taken_without_it(store, tmp_path):
    teach(store, numbered(0, 4))
    other = Store(tmp_path / "other")
    other.write_part(other.signals(ONE, "logits"), signals(numbered(3, 5)["id"], [1, 2, 3, 4]), {b"\xff": b"\xfe"})
    assert bring(store, other.path) == Carried(1, 1, 1)
    assert [holding.distinct for holding in holdings(store)] == [5]


def test_an_empty_name_is_not_every_teacher(store, tmp_path):
    """`--teacher "$FINGERPRINT"` in a script where the variable is not set."""
    teach(store, numbered(0, 4))
    before = tree(store.path)
    for use in (lambda: choose(store, "", None, None), lambda: bring(store, store.path, ""),
                lambda: export(store, str(tmp_path / "x"), ""), lambda: repair(store, "")):
        with pytest.raises(UserError, match="say how the fingerprint begins"):
            use()
    assert tree(store.path) == before


def test_a_beginning_that_fits_several_teachers_drops_none(store):
    teach(store, numbered(0, 4), Lengths("1" * 19 + "2"))
    teach(store, numbered(0, 4))
    with pytest.raises(UserError, match="2 begin so"):
        choose(store, "1", None, None)


def test_a_tar_file_lies_on_this_machine(store):
    teach(store, numbered(0, 4))
    for use in (export, bring):
        with pytest.raises(UserError, match="the URL of a folder, or the path of a .tar file"):
            use(store, "memory://bucket/x.tar")


def test_a_source_that_changes_while_it_is_read(store, tmp_path, monkeypatch):
    teach(store, numbered(0, 4))
    listed = _Folder.names

    def then_gone(self):
        found = listed(self)
        self.store.remove_parts(parts(self.store))
        return found

    monkeypatch.setattr(_Folder, "names", then_gone)
    with pytest.raises(UserError, match="taken away meanwhile"):
        bring(Store(tmp_path / "other"), store.path)


def test_parts_of_different_widths_are_not_put_together(store):
    teach(store, numbered(0, 4))
    store.write_part(store.signals(ONE, "logits"), signals(numbered(4, 6)["id"], [1, 2, 3, 4, 5, 6], 3))
    before = tree(store.path)
    with pytest.raises(UserError, match="rows of [23] values .*, of [23] values .* in part-"):
        compact(store)
    assert tree(store.path) == before


def tar_of(store: Store, folder: Path) -> Path:
    with tarfile.open(folder / "made.tar", "w") as tar:
        tar.add(Path(store.path, "signals"), "signals")
    return folder / "made.tar"


@pytest.mark.parametrize("at", [0, 100, 512, 700, 2000, -600])
def test_a_tar_that_was_cut_is_refused(store, tmp_path, at):
    teach(store, numbered(0, 8))
    export(store, str(tmp_path / "x.tar"))
    whole = (tmp_path / "x.tar").read_bytes()
    last = whole.rstrip(b"\0")
    (tmp_path / "x.tar").write_bytes(last[:at] if at >= 0 else last[: len(last) + at])
    with pytest.raises(UserError):
        bring(Store(tmp_path / "other"), str(tmp_path / "x.tar"))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("said", ["[", "[" * 100_000, "5", "[5]", "null", '[{"task": ["x"], "folder": 5, "labels": 3}]',
                                  '[{"task": "\\u001b[2J", "folder": "../..", "checkpoint": "../no", "kind": "x"}]'])
def test_what_a_stranger_wrote_of_the_origin_does_no_harm(store, tmp_path, said):
    other = Store(tmp_path / "other")
    folder = other.signals(ONE, "logits")
    other.write_part(folder, signals(numbered(0, 2)["id"], [1, 2, 3, 4]), {"teacher": ONE, "asked": said})
    bring(store, other.path)
    store.finish(store.transfer("k"), [store.write_part(store.transfer("k"), numbered(0, 2))], {})
    (found,) = verify(store, device="cpu")
    assert found.ok and found.asked == 0 and found.note
    assert holdings(store)[0].rows == 2 and "\x1b" not in command("ls", store=store.path)
    teach(store, numbered(2, 4))
    assert compact(store)[0].parts == (2, 1)


# ---- the command


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ls", "--teacher", "zz"), f"no fingerprint in .* begins so; there is {ONE}"),
        (("ls", "--format", "xml"), "xml"),
        (("drop",), "say what to drop"),
        (("drop", "--task", "flims"), "did you mean 'films'"),
        (("drop", "--unused-since", "yesterday"), "a day like 2026-01-31"),
        (("import", "/no/such"), "no such folder"),
        (("import", "/no/such.tar"), "no such file"),
        (("export", "x.tar.gz"), "a folder or a .tar file"),
        (("export", "/etc/hostname.tar/x.tar"), "cannot write|No such file|is where a folder"),
    ],
)  # fmt: skip
def test_mistakes_get_one_clear_message(store, arguments, said):
    teach(store, numbered(0, 4))
    before = tree(store.path)
    if arguments[-1].startswith("/etc/hostname"):
        arguments = ("export", f"{parts(store)[0]}/x.tar")
    with pytest.raises(UserError, match=said):
        command(*arguments, store=store.path)
    assert tree(store.path) == before


@pytest.mark.parametrize("name", ["ls", "size", "verify", "repair", "compact", "drop --task x", "export x"])
def test_a_store_that_is_not_there_is_said(tmp_path, name):
    with pytest.raises(UserError, match="no such store"):
        command(*name.split(), store=tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_ls_speaks_json(store):
    teach(store, numbered(0, 4))
    (row,) = json.loads(command("ls", "--format", "json", store=store.path))
    assert row["teacher"] == ONE and row["rows"] == row["distinct"] == 4 and row["bytes"] == sizes(store)[0].bytes
    assert "all" in command("size", store=store.path)


def test_commands_that_ask_nobody_load_nothing_heavy(store):
    teach(store, numbered(0, 4))
    code = ("import sys\nfrom typer.testing import CliRunner\nfrom kdpipe.cli import app\n"
            f"for words in (['ls'], ['size'], ['verify'], ['repair'], ['compact'], ['drop', '--task', 'films']):\n"
            f"    assert CliRunner().invoke(app, ['cache', *words, '--store', {store.path!r}]).exit_code == 0, words\n"
            "print([m for m in ('torch', 'transformers', 'spacy', 'prefect', 'duckdb') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_store_on_an_object_store_is_cared_for_too(tmp_path):
    store = Store(f"memory://{tmp_path.name}/care")
    teach(store, numbered(0, 12))
    data = store.fs.cat_file(parts(store)[0])
    store.fs.pipe_file(parts(store)[0], data[:-5])
    (done,) = repair(store)
    assert len(done.aside) == 1 and store.fs.cat_file(done.aside[0][1]) == data[:-5]
    assert compact(store)[0].parts == (2, 1)
    assert export(store, str(tmp_path / "x.tar")).rows == 8
    assert holdings(store)[0].last_used is not None
    drop(store, choose(store, ONE, None, None).goes)
    assert bring(store, str(tmp_path / "x.tar")).rows == 8
