"""Recipes and runs of a real store against each other."""

import json
from functools import partial

import pytest

from kdpipe import phases, recipe, warehouse
from kdpipe.contrast import contrast, groups_of, in_words, of_runs
from kdpipe.errors import UserError
from kdpipe.job import Job
from kdpipe.store import Store
from tests.warehouse.small import LOVELY, add_run, classified

ALONE = """# A test's own recipe
seeds = [0, 1]

[[phase]]
name  = "student"
model = {{ name = "{model}", fc = 4, width = 8 }}
train = {{ epochs = {epochs}, batch_size = 8, lr = 1e-2 }}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory, tiny_task):
    """Two recipes of two seeds, one of them with a student of another kind too."""
    home = tmp_path_factory.mktemp("contrast")
    for name, model, epochs in (("short", "static", 1), ("long", "static", 6), ("long", "bilstm", 1)):
        path = home / f"{name}.toml"
        path.write_text(ALONE.format(model=model, epochs=epochs))
        phases.run(Job(recipe.load(path, tiny_task, [0, 1]), str(home / "store"), "cpu", workers=1))
    return home / "store"


def test_every_group_of_runs_is_held_against_every_other(store):
    scores, differences = contrast(store)
    means = warehouse.query(store, "select recipe, student, dev_mean, seeds from leaderboard").to_pylist()
    assert sorted(s.value for s in scores) == pytest.approx(sorted(m["dev_mean"] for m in means))
    assert [s.value for s in scores] == sorted((s.value for s in scores), reverse=True)
    assert {s.seeds for s in scores} == {2} and len(differences) == 3
    assert sorted(s.name.split(" (")[0] for s in scores) == ["long", "long", "short"]
    assert {word for s in scores for word in ("bilstm", "static") if f"long ({word}" in s.name} == {"bilstm", "static"}


def test_runs_are_named_by_their_ids(store):
    runs = warehouse.query(store, "select run, dev_score from stg_runs where recipe = 'short'").to_pylist()
    scores, [difference] = contrast(store, [run["run"] for run in runs])
    assert {s.name: s.value for s in scores} == pytest.approx({run["run"]: run["dev_score"] for run in runs})
    assert difference.test == "McNemar"
    [score], _ = of_runs(store, {"both": [run["run"] for run in runs]}, "test", "matthews", resamples=100)
    assert score.seeds == 2 and score.low <= score.value <= score.high


def test_against_one(store):
    first = contrast(store)[0][0].name
    scores, differences = contrast(store, against=first)
    assert [d.second for d in differences] == [first] * 2
    assert in_words(scores, differences).startswith(f"{first} is ahead on these rows")


@pytest.mark.parametrize(("said", "wrong"), [
    ({"names": ["shrot"]}, "no recipe or run 'shrot'; did you mean 'short'?"),
    ({"task": "tny"}, "no runs of task 'tny'; did you mean 'tiny'?"),
    ({"metric": "pearson"}, "--metric, for task 'tiny': 'pearson' is not defined for classification"),
    ({"split": "train"}, "no labelled predictions on train"),
    ({"against": "nobody"}, "no 'nobody'"),
])
def test_mistakes_are_said(store, said, wrong):
    with pytest.raises(UserError, match="".join(f"[{c}]" if c in "?()" else c for c in wrong)):
        contrast(store, **said)


def test_other_rows_are_refused(store, tiny_task, tmp_path_factory):
    """The task's data changed between two runs: their answers cannot be held against each other."""
    other = tmp_path_factory.mktemp("changed")
    for name in ("task.toml", "train.tsv", "test.tsv"):
        (other / name).write_text((tiny_task / name).read_text())
    lines = (tiny_task / "dev.tsv").read_text().splitlines(keepends=True)
    (other / "dev.tsv").write_text("".join(lines[:-1]))
    path = other / "later.toml"
    path.write_text(ALONE.format(model="static", epochs=1))
    phases.run(Job(recipe.load(path, other, [0]), str(store), "cpu", workers=1))
    with pytest.raises(UserError, match="answered other rows of dev: the task's data changed between them"):
        contrast(store, ["short", "later"])


def test_the_command_says_it_in_words(here, store):
    say = partial(here, "significance", "--store", store)
    rows = json.loads(say("short", "--against", "short", "--format", "json").stdout)
    assert rows == []
    shown = say("short").stdout
    assert "short" in shown and "0 rows" in shown
    assert say("nothing").returncode == 2


def test_a_recipe_of_several_kinds_is_asked_back(store):
    with pytest.raises(UserError, match=r"of 'long' there are several kinds; say which: 'long \(.*'long \("):
        contrast(store, ["long"])


def test_f1_of_three_classes_is_refused(tmp_path):
    place = Store(tmp_path)
    for run in ("one", "two"):
        add_run(place, run, classified(("a", "good", "good", 0.9, 0)), recipe=run, labels=["bad", "good", "fair"])
    with pytest.raises(UserError, match="'f1' is defined for 2 classes, the task has 3; take 'macro_f1'"):
        contrast(place, metric="f1")


def test_kinds_of_a_student_are_named_by_what_tells_them_apart(tmp_path):
    """Short in tables and pictures; the whole description is a name as well."""
    store, shape = Store(tmp_path), "bilstm fc=200 hidden={} width=300, wordpieces teacher"
    for hidden in (75, 150):
        add_run(store, f"s{hidden}", classified((LOVELY, "good", "good", 0.9, 0)), student=shape.format(hidden))
    groups, _ = groups_of(store, [], "mood")
    assert groups == {"tang2019 (bilstm hidden=150)": ["s150"], "tang2019 (bilstm hidden=75)": ["s75"]}
    whole = f"tang2019 ({shape.format(75)})"
    assert groups_of(store, [whole], "mood")[0] == {whole: ["s75"]}
