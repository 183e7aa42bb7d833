"""A task file's faults are told all at once, in plain sentences."""

import pytest

from kdpipe.errors import UserError
from kdpipe.tasks.load import load
from tests.tasks.conftest import TASK


def faults(folder) -> list[str]:
    with pytest.raises(UserError) as caught:
        load(folder)
    return [
        fault.replace(f"{folder}/task.toml", "task.toml").replace(str(folder), ".") for fault in caught.value.faults
    ]


def test_every_fault_at_once(task_folder, monkeypatch):
    monkeypatch.delenv("KDPIPE_NOWHERE", raising=False)
    folder = task_folder("""
        kind = "clasification"
        format = "tvs"
        name = "my films"
        folder = "$KDPIPE_NOWHERE/films"
        dev = 3
        labels = ["a"]
        metrics = "accuracy"
        unknown_labels = "ignore"
        near = 0.3
    """)
    assert faults(folder) == [
        "task.toml -> format: no format 'tvs'; did you mean 'tsv'?",
        "task.toml -> name: found 'my films'; letters, digits, '.', '_' and '-' only, beginning with a letter or digit",
        "task.toml -> kind: found 'clasification'; allowed: classification, regression",
        "task.toml -> train: missing; every task file says it",
        "task.toml -> dev: found 3; a text in quotes is needed",
        'task.toml -> metrics: found \'accuracy\'; a list is needed, such as ["a", "b"]',
        "task.toml -> unknown_labels: found 'ignore'; allowed: refuse, drop",
        "task.toml -> near: found 0.3; a similarity from 0.5 to 1 is needed; 1 means copies alone",
        "task.toml -> labels: found ['a']; a classification has at least 2",
        "task.toml -> folder: the environment variable KDPIPE_NOWHERE is not set; set it, for example "
        "export KDPIPE_NOWHERE=/path/to/datasets",
    ]


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        (TASK + 'lable = "y"\n', ["task.toml -> lable: no such key; did you mean 'label'?"]),
        (
            TASK.replace('"tsv"', '"sst2"') + 'text = "sentence"\n',
            ["task.toml -> text: this format knows its own columns; take the key away"],
        ),
        (
            TASK + 'text = "a"\ntext_a = "b"\n',
            ["task.toml -> text: name one column (text) or the two of a pair (text_a and text_b), not both"],
        ),
        (TASK + 'text_b = "b"\n', ["task.toml -> text_a, text_b: a pair needs both; a single text is called text"]),
        (
            TASK + 'metrics = ["acuracy", "pearson"]\n',
            [
                "task.toml -> metrics: no metric 'acuracy'; did you mean 'accuracy'?",
                "task.toml -> metrics: 'pearson' is not defined for classification; "
                "allowed: accuracy, f1, macro_f1, matthews",
            ],
        ),
        (
            TASK.replace("classification", "regression") + 'labels = ["a", "b"]\nnames = { a = "x" }\n',
            [
                "task.toml -> labels: a regression has no labels; take it away",
                "task.toml -> names: a regression has no labels; take it away",
            ],
        ),
        (
            TASK + 'labels = ["neg", "pos", "neg"]\nnames = { nge = "x" }\n',
            ["task.toml -> labels: listed twice: neg", "task.toml -> names: no label 'nge'; did you mean 'neg'?"],
        ),
        (TASK + "labels = [0, 1.5]\n", ["task.toml -> labels[1]: found 1.5; a text in quotes is needed"]),
        (
            TASK + 'names = ["a"]\n',
            ['task.toml -> names: found [\'a\']; a table is needed, such as { 0 = "negative", 1 = "positive" }'],
        ),
        (
            TASK.replace("train.tsv", "trian.tsv") + 'test = "tset.tsv"\n',
            ["task.toml -> train: no file ./trian.tsv", "task.toml -> test: no file ./tset.tsv"],
        ),
        (TASK + 'folder = "films"\n', ["task.toml -> folder: no folder ./films"]),
        (
            TASK + 'folder = "a$"\n',
            ["task.toml -> folder: found 'a$'; write a variable as $NAME or ${NAME} and a plain dollar sign as $$"],
        ),
        ("name = films\n", ["task.toml: not TOML: Invalid value (at line 1, column 8)"]),
    ],
)
def test_single_faults(task_folder, toml, expected):
    assert faults(task_folder(toml)) == expected


def test_a_task_file_that_is_not_utf_8(task_folder):
    folder = task_folder()
    (folder / "task.toml").write_bytes("# naïve\n".encode("cp1252"))
    assert faults(folder) == ["task.toml: byte 4 is not UTF-8; save the task file as UTF-8"]


def test_variables_in_paths(task_folder, monkeypatch, tmp_path_factory):
    folder = task_folder(TASK + 'folder = "${KDPIPE_HERE}"\n')
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for split in ("train", "dev"):
        (folder / f"{split}.tsv").rename(elsewhere / f"{split}.tsv")
    monkeypatch.setenv("KDPIPE_HERE", str(elsewhere))
    assert len(load(folder).splits["train"]) == 2
