"""The attribution ladder on a tiny task."""

import pytest

from kdpipe import recipe
from kdpipe.compare import compare
from kdpipe.contrast import RUNGS
from kdpipe.job import Job
from kdpipe.ladder import level, rows_of, table, with_copies
from kdpipe.settings import Settings
from tests import tiny
from tests.contracts.test_recipes import reduced


@pytest.fixture(scope="module")
def jobs(tmp_path_factory, tiny_task):
    home = tmp_path_factory.mktemp("ladder")
    checkpoint = tiny.bert(home / "two", width=24, layers=2, positions=64, heads=2)
    return [Job(recipe.load(reduced(name, checkpoint, home), tiny_task, [0, 1]), str(home / "store"), "cpu", workers=1)
            for name in RUNGS]


def test_every_rung_sees_as_many_rows_and_dev_as_often(jobs):
    levelled = level(jobs)
    most = max(rows_of(job) for job in jobs)
    for job in levelled:
        settings = Settings(**job.recipe.final.train)
        assert abs(rows_of(job) * settings.epochs - most) <= rows_of(job) / 2
        assert settings.epochs // settings.evaluate_every == 1
    assert len({rows_of(job) for job in jobs}) > 1
    assert [job.recipe.phase[:-1] for job in levelled] == [job.recipe.phase[:-1] for job in jobs]


def test_the_table_holds_each_rung_against_the_one_below(jobs):
    levelled = level(jobs)
    found = compare(levelled)
    assert not found.failed
    rows = {row["rung"]: row for row in table(levelled, found).to_pylist()}
    assert {name: row["over"] for name, row in rows.items()} == RUNGS
    assert rows["labels_only"]["gain"] is None and rows["labels_only"]["seeds"] == 2
    for name, row in rows.items():
        assert row["low"] <= row["dev"] <= row["high"]
        if row["over"]:
            assert row["gain"] == pytest.approx(row["dev"] - rows[row["over"]]["dev"], abs=2e-4)
            assert row["gain_low"] <= row["gain"] <= row["gain_high"], name
    del found.runs["teacher_labels"]  # as for a score
    assert {row["rung"]: row["over"] for row in table(levelled, found).to_pylist()}["soft_labels"] == "labels_only"


def test_copies_are_of_all_operators_and_rungs_without_stay(jobs):
    one, two = ({job.recipe.name: rows_of(job) for job in level([with_copies(job, n) for job in jobs])} for n in (1, 2))
    for job in jobs:
        name = job.recipe.name
        assert (one[name] < two[name]) == bool(job.recipe.final.augment)
