"""The command as a user meets it: what it prints, and one clear message with exit code 2 for every mistake."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kdpipe.errors import UserError


def kdpipe(*arguments, stdin: str | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "kdpipe.cli", *map(str, arguments)],
        input=stdin,
        text=True,
        capture_output=True,
        cwd=cwd,
        timeout=240,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )


def refused(done: subprocess.CompletedProcess, *said: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr, done.stderr


@pytest.fixture(scope="module")
def store(tmp_path_factory, tiny_recipe, tiny_task) -> Path:
    """A store with one run of the tiny recipe, made through the command."""
    folder = tmp_path_factory.mktemp("cli") / "store"
    done = kdpipe("run", tiny_recipe, "--task", tiny_task, "--store", folder, "--seeds", "0", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "tiny" in done.stdout and "a student to serve: " in done.stdout
    assert re.search(r"teacher seed 0: +\d+%.*\d+/\d+ \[\d\d:\d\d<\S+, .*rows/s\]", done.stderr)  # rate and time left
    assert "%|" not in done.stdout
    return folder


@pytest.fixture(scope="module")
def student(store) -> Path:
    run = next(
        r for r in (json.loads(p.read_text()) for p in (store / "runs").glob("*.json")) if r["role"] == "student"
    )
    return store / "models" / run["model"]


def test_plan_and_sql_answer(store, tiny_recipe, tiny_task):
    planned = kdpipe("plan", tiny_recipe, "--task", tiny_task, "--store", store, "--seeds", "0", "--device", "cpu")
    assert planned.returncode == 0 and "reuse" in planned.stdout and "run " not in planned.stdout.replace("runs/", "")
    board = kdpipe("sql", "leaderboard", "--store", store, "--format", "json")
    assert {row["recipe"] for row in json.loads(board.stdout)} >= {"teacher", "tiny"}
    assert kdpipe("sql", "--list").stdout.count("\n") > 10
    assert kdpipe("sql", "--check", "--store", store).stdout.strip() == "all checks hold"


@pytest.mark.parametrize(
    "statement",
    [
        "delete from leaderboard",
        "copy (select 1) to 'x.csv'",
        "attach 'x.db'",
        "select 1; select 2",
        "select * from read_text('/etc/passwd')",
    ],
)
def test_sql_that_writes_or_reads_elsewhere_is_refused(store, tmp_path, statement):
    before = sorted(p for p in store.rglob("*"))
    refused(kdpipe("sql", statement, "--store", store, cwd=tmp_path))
    assert sorted(p for p in store.rglob("*")) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("select * from leaderbord",), "leaderboard"),
        (("select dev_meen from leaderboard",), "dev_mean"),
        (("select 1", "--format", "xml"), "xml"),
    ],
)
def test_mistakes_in_sql_are_said_with_what_there_is(store, arguments, said):
    refused(kdpipe("sql", *arguments, "--store", store), said)


def test_predict_from_arguments_file_and_standard_input(student, tmp_path):
    texts = ["the film was lovely", "عرض ممل 🙂 \u2028 dull", "x" * 5000]
    (tmp_path / "in.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    answers = [
        kdpipe("predict", student, *texts, "--format", "json"),
        kdpipe("predict", student, "--file", tmp_path / "in.txt", "--format", "json"),
        kdpipe("predict", student, "--format", "json", stdin="\n".join(texts) + "\n"),
    ]
    rows = [[json.loads(line) for line in done.stdout.split("\n") if line] for done in answers]
    assert len(rows[0]) == 3 and rows[0] == rows[1] == rows[2]
    assert {r["label"] for r in rows[0]} <= {"good", "bad"}


def test_the_python_api_says_the_same(student):
    from kdpipe.predictor import Predictor

    predictor = Predictor.load(student)
    for wrong in ("one text", [3], [("a", None)]):
        with pytest.raises(UserError, match="give a list of texts, or of pairs as tuples"):
            predictor(wrong)
    alone, together = predictor(["a great film"])[0], predictor(["a great film", "a very long and dull film indeed"])[0]
    assert alone.label == together.label and alone.confidence == pytest.approx(together.confidence, abs=1e-6)
    shown = kdpipe("predict", student, "a great film").stdout.split("\t")
    assert shown[0] == alone.label and float(shown[1]) == pytest.approx(alone.confidence, abs=1e-4)
    assert predictor([]) == []


def test_a_model_folder_holds_no_pickle(student):
    assert {p.suffix for p in student.rglob("*") if p.is_file()} <= {".safetensors", ".json"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "tang2018"), "did you mean 'tang2019'"),
        (("run", "tang2019", "--task", "suport"), "suport"),
        (("run", "tang2019", "--task", "support", "--seeds", "a"), "--seeds a"),
        (("run", "tang2019", "--task", "support", "--device", "gpu"), "cpu, cuda"),
        (("plan", "tang2019", "--task", "support", "--set", "student.hiden=3"), "hiden"),
        (("predict", "/no/such/folder", "x"), "no such model folder"),
        (("predict", ".", "x"), "not a model folder"),
        (("sql",), "say a select"),
        (("sql", "select 1"), "no such store"),
    ],
)
def test_mistakes_get_one_clear_message(here, tmp_path, arguments, said):
    refused(here(*arguments, cwd=tmp_path), said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("nope",), ("support", "--seeds", "x")])
def test_a_mistake_that_all_rungs_share_is_said_once(here, tmp_path, arguments):
    lines = here("ladder", *arguments, cwd=tmp_path).stderr.splitlines()
    assert lines and len(lines) == len(set(lines))


@pytest.mark.parametrize(
    ("train", "dev", "said"),
    [
        ("text\tlabel\na\tx\nb\ty\n", "text\tlabel\nc\tz\n", "'z'"),  # a label that train lacks
        ("text\tlabel\na\tx\n\ty\n", "text\tlabel\nc\tx\n", "train.tsv"),  # an empty text
        ("text\tlabel\na\tx\nb\tx\n", "text\tlabel\nc\tx\n", "class"),  # one class
        ("sentence\tlabel\na\tx\nb\ty\n", "text\tlabel\nc\tx\n", "sentence"),  # a missing column
        ("text\tlabel\na\tx\tmore\nb\ty\n", "text\tlabel\nc\tx\n", "2"),  # a row with too many fields
        ("text\tlabel\na\tx\nb\ty\n", None, "dev.tsv"),  # a missing file
    ],
)
def test_bad_data_is_refused_with_its_place(here, tmp_path, tiny_recipe, train, dev, said):
    (tmp_path / "train.tsv").write_text(train)
    if dev is not None:
        (tmp_path / "dev.tsv").write_text(dev)
    (tmp_path / "task.toml").write_text(
        'name = "t"\nkind = "classification"\nformat = "tsv"\ntrain = "train.tsv"\n'
        'dev = "dev.tsv"\ntext = "text"\nlabel = "label"\n'
    )
    run = ("run", tiny_recipe, "--task", tmp_path, "--store", tmp_path / "store", "--device", "cpu")
    refused(here(*run, cwd=tmp_path), said)
    assert not (tmp_path / "store").exists()


def test_an_empty_text_to_predict_is_refused_by_row(student):
    refused(kdpipe("predict", student, "fine", "  "), "row 2")


def test_a_broken_part_is_named_and_nothing_else_changes(store, tiny_recipe, tiny_task):
    parts = {path: path.read_bytes() for path in (store / "transfer").rglob("part-*.parquet")}
    for path, whole in parts.items():
        path.write_bytes(whole[:-9])
    try:
        again = ("run", tiny_recipe, "--task", tiny_task, "--store", store, "--seeds", "7", "--device", "cpu")
        refused(kdpipe(*again), "broken part", "part-")
        assert not list((store / "runs").glob("*-s7-*"))
    finally:
        for path, whole in parts.items():
            path.write_bytes(whole)


def test_a_full_disk_is_said_and_the_store_stays_whole(tmp_path, tiny_recipe, tiny_task):
    """A tmpfs of 3 MiB is too small for the teacher's weights."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True)
    assert mounted.returncode == 0 or os.geteuid() != 0, mounted.stderr
    if mounted.returncode != 0:  # not root: a folder that may not be written says the same in other words
        disk.chmod(0o500)
    try:
        done = kdpipe(
            "run", tiny_recipe, "--task", tiny_task, "--store", disk / "store", "--seeds", "0", "--device", "cpu"
        )
        refused(done, "cannot write")
        assert not list(disk.rglob("model.safetensors"))
        assert kdpipe("sql", "leaderboard", "--store", disk / "store", "--format", "json").stdout.strip() == "[]"
    finally:
        disk.chmod(0o700)
        if mounted.returncode == 0:
            subprocess.run(["umount", str(disk)], check=True)
