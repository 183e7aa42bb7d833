"""What a phase asks of its teacher: kept or live by size, and one forward pass for what many recipes need."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kdpipe import phases, recipe
from kdpipe.asking import asked
from kdpipe.job import Job, load_model, teacher_of
from kdpipe.plan import plan
from kdpipe.signals.kinds import signal
from kdpipe.signals.live import Live

RECIPE = """# A test's own recipe
budget = {budget}

[[phase]]
name  = "teacher"
seed  = 0
model = {{ name = "bert", checkpoint = "{checkpoint}" }}
train = {{ epochs = 1, batch_size = 20, lr = 1e-3 }}
{states}

[[phase]]
name    = "student"
teacher = "teacher"
model   = {{ name = "bert", layers = 2, width = 8, heads = 2, ffn = 8, positions = 64 }}
vocab   = {{ name = "wordpieces", from = "teacher" }}
loss    = [{loss}]
train   = {{ epochs = 1, batch_size = 20, lr = 1e-3 }}
"""
LOGITS, CLS = '{ name = "logit_mse" }', '{ name = "pkd", layers = [[1, 1]] }'
TINYBERT = '{ name = "hidden_mse" }, { name = "attention_mse" }'


@pytest.fixture(scope="module")
def write(tmp_path_factory, tiny_checkpoint):
    """A recipe with this loss."""
    folder = tmp_path_factory.mktemp("recipes")

    def make(loss: str, budget: object = '"2 GiB"', states: str = "") -> Path:
        path = folder / "mine.toml"
        path.write_text(RECIPE.format(checkpoint=tiny_checkpoint, loss=loss, budget=budget, states=states))
        return path

    return make


@pytest.fixture(scope="module")
def base(tmp_path_factory, write, tiny_task) -> Path:
    """A store with the trained teacher and the transfer set, and nothing asked yet."""
    store = tmp_path_factory.mktemp("store") / "base"
    job = Job(recipe.load(write(LOGITS), tiny_task), str(store), "cpu")
    phases.teachers(job)
    phases.augment(job)
    return store


@pytest.fixture
def make(tmp_path, base, write, tiny_task):
    """A job over a copy of that store."""
    shutil.copytree(base, tmp_path / "store")

    def job(loss: str, **how) -> Job:
        return Job(recipe.load(write(loss, **how), tiny_task), str(tmp_path / "store"), "cpu")

    return job


def needs(job: Job):
    return asked(job, job.recipe.final, 0)


def lengths(job: Job) -> np.ndarray:
    """Tokens of each training row, as the teacher reads it."""
    teacher = load_model(job, job.recipe.named("teacher"), 0)
    return teacher.vocab.encode(job.recipe.task.splits["train"], teacher.max_length).segments[0].lengths


def stored(job: Job) -> dict[str, int]:
    """How many rows are stored of each signal."""
    found = {}
    for path in Path(job.store, "signals").rglob("*.parquet"):
        name = path.parent.name.removeprefix("signal=")
        found[name] = found.get(name, 0) + pq.read_metadata(path).num_rows
    return found


def test_sizes_are_the_sum_over_the_rows(make):
    """Hidden layers 0, 1, 2 of 32 in float16, attention layers 1, 2 of 2 heads: 192 n + 8 n² bytes for n tokens."""
    job = make(TINYBERT)
    n = lengths(job).astype(float)
    found = needs(job)
    assert found.kept == ("hidden_0", "hidden_1", "hidden_2", "attention_1", "attention_2") and found.live == ()
    assert found.kept_bytes == pytest.approx((192 * n + 8 * n**2).sum())
    assert found.live_bytes == 0 and found.besides == ("logits", "cls")


@pytest.mark.parametrize(("less", "live"), [(0, False), (1, True)])
def test_what_fits_the_budget_to_the_byte_is_kept(make, less, live):
    size = round(needs(make(TINYBERT)).kept_bytes)
    found = needs(make(f"{LOGITS}, {TINYBERT}", budget=size - less))
    states = ("hidden_0", "hidden_1", "hidden_2", "attention_1", "attention_2")
    assert (found.live, found.kept) == ((states, ("logits",)) if live else ((), ("logits", *states)))
    assert found.live_bytes == pytest.approx(size if live else 0)
    assert found.kept_bytes == pytest.approx(40 * 8 + (0 if live else size))


@pytest.mark.parametrize("loss", [LOGITS, CLS, '{ name = "boundaries" }', '{ name = "sobolev" }'])
def test_no_budget_sends_what_is_small_to_a_live_teacher(make, loss):
    assert needs(make(loss, budget=0)).live == ()


def test_the_plan_says_which_with_the_bytes(make):
    kept, live = (next(step for step in plan(make(f"{LOGITS}, {TINYBERT}", budget=budget))
                       if step.stage == "teach" and step.reason.count("hidden_0")) for budget in ('"2 GiB"', 1000))
    assert (kept.what, kept.rows, kept.todo) == ("ask teacher", 40, True)
    assert "0 of 40 rows are in signals/teacher=" in kept.reason
    size = 40 * 8 + needs(make(TINYBERT)).kept_bytes
    assert f"(logits, hidden_0, hidden_1, hidden_2, attention_1, attention_2: {size / 1024:.1f}KiB)" in kept.reason
    assert (live.what, live.rows, live.todo) == ("ask teacher live", 40, True)
    assert live.reason == (f"hidden_0, hidden_1, hidden_2, attention_1, attention_2: {(size - 320) / 1024:.1f}KiB "
                           "would be kept, the recipe's budget is 1000B; asked batch by batch, in every epoch")


def test_a_live_phase_keeps_what_is_small_and_nothing_else(make):
    job = make(f"{LOGITS}, {TINYBERT}", budget=0)
    assert phases.teach(job).detail["asked"] == 40
    assert stored(job) == {"logits": 40}
    job = make(TINYBERT, budget=0)
    assert phases.teach(job).detail["asked"] == 0
    assert stored(job) == {"logits": 40}


def test_what_is_kept_brings_logits_and_cls_along(make):
    job = make(TINYBERT)
    assert phases.teach(job).detail["asked"] == 40
    assert stored(job) == dict.fromkeys(
        ("hidden_0", "hidden_1", "hidden_2", "attention_1", "attention_2", "logits", "cls"), 40)
    assert phases.teach(make(f"{LOGITS}, {CLS}")).detail["asked"] == 0


def test_cls_first_and_nobody_asks_again(make):
    assert needs(make(CLS)).besides == ("logits",)
    assert phases.teach(make(CLS)).detail["asked"] == 40
    for loss in (CLS, LOGITS, f"{LOGITS}, {CLS}", '{ name = "cosine", on = "cls" }'):
        job = make(loss)
        assert phases.teach(job).detail["asked"] == 0
        assert not any(step.todo for step in plan(job) if step.stage == "teach")
    assert stored(job) == {"logits": 40, "cls": 40}


def test_logits_first_and_cls_is_asked_once_more(make):
    assert needs(make(LOGITS)).besides == ()
    assert phases.teach(make(LOGITS)).detail["asked"] == 40
    assert phases.teach(make(CLS)).detail["asked"] == 40
    assert phases.teach(make(f"{LOGITS}, {CLS}")).detail["asked"] == 0
    assert stored(make(CLS)) == {"logits": 40, "cls": 40}  # the second pass wrote no logits again


def test_only_rows_that_lack_a_signal_are_asked_for_it(make):
    """A part of cls was taken away: its rows are asked again, for cls alone."""
    phases.teach(make(CLS))
    job = make(f"{LOGITS}, {CLS}")
    cache, rows = teacher_of(job, "teacher", 0), job.recipe.task.splits["train"]
    before = cache.read("cls", rows["id"])
    for part in Path(job.store, "signals").rglob("signal=cls/*.parquet"):
        part.unlink()
    cache.ask("cls", rows.slice(0, 30))
    assert phases.teach(job).detail["asked"] == 10
    assert stored(job) == {"logits": 40, "cls": 40}
    np.testing.assert_allclose(cache.read("cls", rows["id"]), before, rtol=2**-10, atol=1e-5)


def test_exact_states_are_signals_of_their_own(make):
    job = make(f"{CLS}, {TINYBERT}", states='states = "fp32"')
    found = needs(job)
    assert found.kept[:2] == ("cls_fp32", "hidden_0_fp32") and found.besides == ("logits",)
    n = lengths(job).astype(float)
    assert found.kept_bytes == pytest.approx(40 * 2 * 32 * 4 + 2 * (192 * n + 8 * n**2).sum())
    phases.teach(make(CLS))
    assert phases.teach(job).detail["asked"] == 40


def test_bits_and_slopes_are_asked_like_everything_else(make):
    job = make('{ name = "boundaries" }, { name = "sobolev" }')
    found = needs(job)
    assert found.kept == ("logits", "boundaries", "saliency") and found.besides == ("cls",)
    assert phases.teach(job).detail["asked"] == 40
    assert stored(job) == dict.fromkeys(("logits", "cls", "boundaries", "saliency"), 40)


def test_shards_ask_for_the_same(make):
    job = make(CLS)
    shards = phases.teach_shards(job)
    assert [shard["missing"] for shard in shards] == [40]
    assert phases.teach_shard(job, shards[0]).detail["asked"] == 40
    assert phases.teach_shards(job) == [] and stored(job) == {"logits": 40, "cls": 40}


def test_a_phase_that_reads_labels_alone_asks_nothing(make):
    job = make('{ name = "hard" }')
    assert needs(job) == needs(make('{ name = "virtual_teacher" }'))
    assert phases.teach(job).detail["asked"] == 0
    step = next(step for step in plan(job) if step.stage == "teach")
    assert (step.rows, step.todo, step.reason) == (0, False, "no term of the loss reads it")


def test_stored_values_are_the_teachers(make):
    job = make(f"{LOGITS}, {CLS}")
    phases.teach(job)
    teacher, rows = load_model(job, job.recipe.named("teacher"), 0), job.recipe.task.splits["train"]
    live = Live(teacher, "again")
    alone = live.compute(["logits", "cls"], live.prepare(rows))
    for name, right in alone.items():
        found = teacher_of(job, "teacher", 0).read(name, rows["id"])
        assert found.dtype == signal(name).dtype
        np.testing.assert_allclose(found, right, rtol=2**-10, atol=1e-5)
