"""Killed anywhere, nothing is lost: after a restart the store is that of a run that nobody disturbed."""

import random
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kdpipe import warehouse
from tests.promises.conftest import LONG, check_whole, contents
from tests.promises.forks import STAGES

SHARD = 32
SPARSE = 1 if LONG else 8  # every so many points of a stage are tried
RANDOM = 30 if LONG else 3  # kills at random moments of each stage


def restarted(forks, undisturbed, tmp_path: Path, stage: str, seeds: list[dict]) -> None:
    """Kill a stage as said, one kill after another in one store; then let it end, and compare."""
    i = STAGES.index(stage)
    store, asked, kills = tmp_path / "store", tmp_path / "asked", 0
    shutil.copytree(undisturbed[i], store)
    for kill in seeds:
        done = forks.one(store=str(store), stages=[stage], shard=SHARD, asked=str(asked), **kill)
        assert done["status"] in (0, -9), done["said"]
        kills += done["status"] == -9
        check_whole(store)
    done = forks.one(store=str(store), stages=[stage], shard=SHARD, asked=str(asked))
    assert done["status"] == 0, done["said"]
    assert contents(store) == contents(undisturbed[i + 1])
    if stage == "teach":
        assert rows_asked(asked) <= rows_taught(store) + kills * 2 * SHARD  # the one computed, the one written
        asked.unlink()
    shutil.rmtree(store)


def rows_asked(log: Path) -> int:
    lines = [line.split() for line in log.read_text().splitlines()]
    return sum(int(rows) for rows, what in lines if what == "begun")


def rows_taught(store: Path) -> int:
    return sum(pq.read_metadata(part).num_rows for part in store.glob("signals/*/*/part-*"))


@pytest.fixture(scope="module")
def points(forks, undisturbed, tmp_path_factory) -> dict[str, int]:
    """How many calls of each stage stand between a file's bytes and its being there."""
    found = {}
    for i, stage in enumerate(STAGES):
        folder = tmp_path_factory.mktemp("points")
        shutil.copytree(undisturbed[i], folder / "store")
        done = forks.one(store=str(folder / "store"), stages=[stage], shard=SHARD, count=str(folder / "count"))
        assert done["status"] == 0, done["said"]
        found[stage] = len((folder / "count").read_bytes())
    return found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("stage", STAGES)
def test_killed_between_write_flush_and_rename(forks, undisturbed, points, tmp_path, stage, after):
    assert points[stage] >= 3
    for point in range(1 + after * SPARSE // 2, points[stage] + 1, SPARSE):
        restarted(forks, undisturbed, tmp_path, stage, [{"point": point, "after": after}])


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_random_moments(forks, undisturbed, tmp_path, stage):
    """Several kills in one store, as of a user who starts again and again."""
    i, rng = STAGES.index(stage), random.Random(stage)
    shutil.copytree(undisturbed[i], tmp_path / "once")
    whole = forks.one(store=str(tmp_path / "once"), stages=[stage])["seconds"]
    kills = [{"delay": rng.uniform(0, whole)} for _ in range(RANDOM)]
    for start in range(0, RANDOM, 3):
        restarted(forks, undisturbed, tmp_path, stage, kills[start:start + 3])


def test_the_whole_recipe_killed_at_random_moments_ends_as_if_nothing_had_been(forks, undisturbed, tmp_path):
    rng, store = random.Random(7), tmp_path / "store"
    for _ in range(40 if LONG else 4):
        done = forks.one(store=str(store), shard=SHARD, delay=rng.uniform(0.05, 2))
        assert done["status"] in (0, -9), done["said"]
        if store.exists():
            check_whole(store)
    assert forks.one(store=str(store), shard=SHARD)["status"] == 0
    assert contents(store) == contents(undisturbed[-1])
    assert warehouse.run_checks(store) == []
