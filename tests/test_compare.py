"""Recipes side by side: one teacher for all, resumed, and one that fails stops no other."""

import json
from functools import partial

import pytest

from kdpipe import recipe
from kdpipe.compare import compare, table
from kdpipe.errors import UserError
from kdpipe.job import Job
from tests import tiny
from tests.contracts.test_recipes import reduced


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def checkpoint(home):
    return tiny.bert(home / "six", width=24, layers=6, positions=64, heads=12)


@pytest.fixture(scope="module")
def jobs(home, checkpoint, tiny_task):
    """The recipe that needs the least of the teacher comes first."""
    return [Job(recipe.load(reduced(name, checkpoint, home), tiny_task, [0, 1]), str(home / "store"), "cpu", workers=2)
            for name in ("hinton2015", "soft_labels", "pkd_skip")]


def test_the_teacher_is_asked_once_for_all_and_nothing_is_done_twice(jobs, tiny_task, home):
    found = compare(jobs)
    assert not found.failed and {name: len(runs) for name, runs in found.runs.items()} == {
        "hinton2015": 2, "soft_labels": 2, "pkd_skip": 2}
    rows = {row["recipe"]: row for row in table(jobs, found).to_pylist()}
    gold = len(jobs[0].recipe.task.splits["train"])
    assert {name: row["teacher_rows_asked"] for name, row in rows.items()} == {
        "pkd_skip": gold, "hinton2015": 0, "soft_labels": 0}
    assert all(row["seeds"] == 2 and row["train_seconds"] > 0 and row["teach_seconds"] > 0 for row in rows.values())
    scores = [row["dev"] for row in table(jobs, found).to_pylist()]
    assert scores == sorted(scores, reverse=True)
    before = {p: p.stat().st_mtime_ns for p in (home / "store").rglob("*") if p.is_file()}
    assert compare(jobs).runs == found.runs
    assert {p: p.stat().st_mtime_ns for p in (home / "store").rglob("*") if p.is_file()} == before


def test_a_recipe_that_fails_does_not_stop_the_others(jobs, home, checkpoint, tiny_task):
    diverging = Job(recipe.load(reduced("tang2019", checkpoint, home), tiny_task, [0], ["student.train.lr=1e30"]),
                    str(home / "store"), "cpu", workers=1)
    found = compare([diverging, jobs[1]])
    assert list(found.runs) == ["soft_labels"]
    assert "the loss is" in found.failed["tang2019"] and "lower lr" in found.failed["tang2019"]


def test_a_recipe_whose_vectors_cannot_be_taken_does_not_stop_the_others(jobs, home, checkpoint, tiny_task):
    """Vectors are taken before seeds are trained side by side."""
    lost = Job(recipe.load(reduced("soft_labels", checkpoint, home), tiny_task, [0, 1],
                           ["student.embeddings.layer=99"]), str(home / "store"), "cpu", workers=1)
    lost.recipe.__dict__["name"] = "lost"
    found = compare([lost, jobs[1]])
    assert list(found.runs) == ["soft_labels"] and "this teacher has the layers" in found.failed["lost"]


def test_two_recipes_of_one_name_are_refused(jobs):
    with pytest.raises(UserError, match="two recipes are named 'soft_labels'; rename one of the files"):
        compare([jobs[1], jobs[1]])


def test_the_command_prints_a_table_and_says_what_does_not_fit(here, home, checkpoint, tiny_task, jobs):
    compare(jobs[1:2])
    broken = home / "broken.toml"
    broken.write_text(reduced("pkd_skip", checkpoint, home).read_text().replace('"skip"', '[9]'))

    say = partial(here, "compare", "--task", tiny_task, "--store", home / "store", "--device", "cpu")

    both = f"{home / 'soft_labels.toml'},{broken}"
    refused = say("--recipes", both, "--seeds", "2")
    assert refused.returncode == 2 and "has no layer 9" in refused.stderr and not refused.stdout
    done = say("--recipes", both, "--seeds", "2", "--fitting", "--format", "json")
    assert done.returncode == 0 and "left out: broken -> student -> loss[2]" in done.stderr
    assert [row["recipe"] for row in json.loads(done.stdout)] == ["soft_labels"]
    assert say("--recipes", "nothing", "--seeds", "1").returncode == 2
    assert "names none; say names separated by commas" in say("--recipes", ",").stderr
    assert "format 'xml'" in say("--recipes", "static", "--format", "xml").stderr
