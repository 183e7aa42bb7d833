"""Fixtures that many tests share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from hypothesis import settings

from tests import tiny

settings.register_profile("untimed", deadline=None)  # a busy machine is no fault
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def hardly_timed() -> Iterator[None]:
    """What rate a student reaches is tested nowhere: three batches of each size are timed, and no more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kdpipe.predictions.SECONDS", 0.0)
        yield


@pytest.fixture(scope="session")
def tab(tmp_path_factory) -> Iterator[object]:
    """A tab of a real browser (tests.chromium)."""
    from tests import chromium

    with chromium.page(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture
def here(capsys, monkeypatch) -> Callable[..., CompletedProcess]:
    """The command in this process, which has imported all that it needs."""
    from kdpipe.cli import app

    def kdpipe(*arguments: object, cwd: Path | None = None) -> CompletedProcess:
        if cwd:
            monkeypatch.chdir(cwd)
        with pytest.raises(SystemExit) as ended:
            app(list(map(str, arguments)))
        return CompletedProcess(arguments, ended.value.code or 0, *capsys.readouterr())

    return kdpipe


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The folder of public datasets: $KDPIPE_DATASETS, by default ../shared/datasets beside the checkout.

    They are third parties' and not shipped: without them the tests on real data are left out, unless they were named.
    """
    named = os.environ.get("KDPIPE_DATASETS")
    folder = Path(named) if named else ROOT.parent / "shared" / "datasets"
    if not named and not folder.is_dir():
        pytest.skip("the public datasets are not on this machine; set KDPIPE_DATASETS to their folder")
    assert folder.is_dir(), f"KDPIPE_DATASETS names {folder}, which is no folder"
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A real BERT of 2 layers x 32 with random weights and the offline encoder's own tokenizer."""
    return tiny.bert(tmp_path_factory.mktemp("checkpoint") / "tiny-bert", width=32, layers=2, positions=64)


GOOD, BAD = ("lovely", "great", "superb", "warm", "funny"), ("awful", "dull", "weak", "cold", "silly")


@pytest.fixture(scope="session")
def tiny_task(tmp_path_factory) -> Path:
    """A task folder of films that are good or bad, 40 train, 10 dev and 10 test rows."""
    folder = tmp_path_factory.mktemp("tiny")
    nouns = ("film", "story", "plot", "cast", "scene", "score")
    rows = [
        f"the {n} was {w} and {'i liked it' if w in GOOD else 'i left early'}\t{'good' if w in GOOD else 'bad'}"
        for n in nouns
        for w in (*GOOD, *BAD)
    ]
    rows = [rows[(i * 7) % 60] for i in range(60)]
    for split, start, stop in (("train", 0, 40), ("dev", 40, 50), ("test", 50, 60)):
        (folder / f"{split}.tsv").write_text("text\tlabel\n" + "\n".join(rows[start:stop]) + "\n", encoding="utf-8")
    (folder / "task.toml").write_text(
        'name = "tiny"\nkind = "classification"\nformat = "tsv"\ntrain = "train.tsv"\ndev = "dev.tsv"\n'
        'test = "test.tsv"\ntext = "text"\nlabel = "label"\n',
        encoding="utf-8",
    )
    return folder


RECIPE = """# A test's own recipe
seeds = [0, 1]

[[phase]]
name  = "teacher"
seed  = 0
model = {{ name = "bert", checkpoint = "{checkpoint}" }}
train = {{ epochs = 2, batch_size = 8, lr = 1e-3 }}

[[phase]]
name       = "student"
teacher    = "teacher"
model      = {{ name = "bilstm", hidden = 8, fc = 8, width = 16 }}
vocab      = {{ name = "words" }}
embeddings = {{ name = "teacher" }}
augment    = [{{ name = "tang", preset = "tang2019", copies = 3 }}]
loss       = [{{ name = "logit_mse" }}, {{ name = "hard", weight = 0.5 }}]
train      = {{ epochs = 2, batch_size = 16, lr = 1e-2 }}
"""


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory, tiny_checkpoint) -> Path:
    """The first method, small: a real teacher, all operators, two seeds."""
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    path.write_text(RECIPE.format(checkpoint=tiny_checkpoint), encoding="utf-8")
    return path
