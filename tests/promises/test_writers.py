"""Writers side by side: each row stands once to every reader, and nobody waits for anybody who died."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from kdpipe import recipe, transfer, warehouse
from kdpipe.job import Job, teacher_of, transfer_key
from kdpipe.store import Store
from kdpipe.types import ID, row_ids
from tests.promises.conftest import LONG, check_whole, contents

WRITERS = range(8 if LONG else 4)


def overrides(writer: int) -> list[str]:
    """Each writer has made rows of its own; the gold rows, and some of the made ones, are those of all."""
    return [f"student.augment_seed={writer}"]


def no_leftovers(store: Path) -> None:
    strange = [p for p in store.rglob("*") if p.name.startswith(".") or "lock" in p.name.lower()]
    assert strange == []


@pytest.fixture
def store(undisturbed, tmp_path) -> Path:
    """A store that has the teacher and nothing else."""
    return Path(shutil.copytree(undisturbed[1], tmp_path / "store"))


def jobs(tiny_recipe, tiny_task, store: Path) -> list[Job]:
    return [Job(recipe.load(tiny_recipe, tiny_task, [0], overrides(w)), str(store), "cpu") for w in WRITERS]


def check_rows(tiny_recipe, tiny_task, store: Path) -> None:
    """By the cache and by SQL each row is there once, the same to both, and what its teacher says of it alone."""
    wanted = set()
    for job in jobs(tiny_recipe, tiny_task, store):
        cache = teacher_of(job, job.recipe.final.teacher, 0)
        ids = transfer.read(Store(str(store)), transfer_key(job, job.recipe.final), ["id"])["id"]
        values = cache.read("logits", ids)
        assert values.shape == (len(ids), 2)
        wanted |= set(ids.to_pylist())
    asked = warehouse.query(store, "select id, logits from stg_signals order by id")
    assert asked["id"].to_pylist() == sorted(wanted)
    ids = asked["id"].cast(ID)
    np.testing.assert_array_equal(np.array(asked["logits"].to_pylist(), np.float32), cache.read("logits", ids))


def test_four_processes_teach_overlapping_sets(forks, tiny_recipe, tiny_task, store, undisturbed):
    done = forks(*({"store": str(store), "stages": ["augment", "teach"], "overrides": overrides(w), "shard": 16}
                   for w in WRITERS))
    assert [d["status"] for d in done] == [0] * len(WRITERS), done
    check_whole(store)
    check_rows(tiny_recipe, tiny_task, store)
    no_leftovers(store)


def test_one_that_dies_holds_up_nobody(forks, tiny_recipe, tiny_task, store):
    work = {"store": str(store), "stages": ["augment", "teach"], "shard": 16}
    done = forks(*({**work, "overrides": overrides(w), **({"point": 9} if w == 0 else {})} for w in WRITERS))
    assert [d["status"] for d in done] == [-9, *[0] * (len(WRITERS) - 1)], done
    check_whole(store)
    assert forks.one(**work, overrides=overrides(0))["status"] == 0
    check_rows(tiny_recipe, tiny_task, store)


def test_four_processes_carry_out_the_same_recipe(forks, undisturbed, tmp_path):
    """All do all of it at once; what they leave is what one would have left."""
    done = forks(*({"store": str(tmp_path / "store")} for _ in WRITERS))
    assert [d["status"] for d in done] == [0] * len(WRITERS), done
    assert contents(tmp_path / "store") == contents(undisturbed[-1])
    assert warehouse.run_checks(tmp_path / "store") == []
    no_leftovers(tmp_path / "store")


def test_a_row_that_two_processes_asked_for_has_one_answer(tmp_path, undisturbed):
    """Answers of one row may differ in their last bits; the cache and SQL must choose the same one."""
    import pyarrow as pa

    from kdpipe.signals.cache import Cache

    store = Store(str(tmp_path / "store"))
    ids = row_ids(pa.array([f"row {i}" for i in range(50)]))
    for writer in range(8):
        values = pa.array(np.random.default_rng(writer).normal(size=100).astype(np.float32))
        part = pa.table({"id": ids, "values": pa.FixedSizeListArray.from_arrays(values, 2)})
        store.write_part(store.signals("t", "logits"), part.take(np.random.default_rng(writer).permutation(50)))
    read = Cache(store, "t", None, 2, {}).read("logits", pa.chunked_array([ids]))
    asked = warehouse.query(store, "select * from stg_signals")
    assert len(asked) == 50
    of = dict(zip(asked["id"].to_pylist(), asked["logits"].to_pylist(), strict=True))
    np.testing.assert_array_equal(np.array([of[i] for i in ids.to_pylist()], np.float32), read)
