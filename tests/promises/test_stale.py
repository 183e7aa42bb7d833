"""Nothing stale: whatever a teacher's answers depend on has changed, and not one old row is served."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kdpipe import modelfolder, phases, recipe
from kdpipe.job import Job, teacher_of, transfer_key
from kdpipe.signals.cache import Cache
from kdpipe.signals.live import compute_type


@pytest.fixture(scope="module")
def brought(tmp_path_factory, tiny_checkpoint) -> Path:
    """A teacher that a user brings: a checkpoint with a trained head, its files open to anybody's editor."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("brought") / "teacher"
    labels = {"id2label": {0: "good", 1: "bad"}, "label2id": {"good": 0, "bad": 1}}
    AutoModelForSequenceClassification.from_pretrained(tiny_checkpoint, num_labels=2, **labels).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def taught(tmp_path_factory, tiny_recipe, tiny_task, brought) -> Path:
    """A store in which this teacher has answered everything."""
    store = tmp_path_factory.mktemp("taught") / "store"
    job = job_of(tiny_recipe, tiny_task, store, brought)
    assert ask(job) == rows(job) > 100
    assert ask(job) == 0
    return store


def job_of(tiny_recipe, tiny_task, store: Path, teacher: Path, overrides: tuple[str, ...] = ()) -> Job:
    return Job(recipe.load(tiny_recipe, tiny_task, [0], overrides, str(teacher)), str(store), "cpu")


def ask(job: Job) -> int:
    phases.augment(job)
    return phases.teach(job).detail["asked"]


def rows(job: Job) -> int:
    return len(job.place.read(job.place.transfer(transfer_key(job, job.recipe.final)), ["id"]))


def a_weight(folder: Path) -> None:
    """One weight by the least that float32 can hold."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    value = weights["classifier.bias"].numpy()
    value[0] = np.nextafter(value[0], np.float32(1))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def a_tokenizer_file(folder: Path) -> None:
    said = json.loads((folder / "tokenizer.json").read_text())
    vocab = said["model"]["vocab"]
    vocab["film"], vocab["story"] = vocab["story"], vocab["film"]
    (folder / "tokenizer.json").write_text(json.dumps(said))


def another_tokenizer_file(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "truncation_side": "left"}))


def a_configuration(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "layer_norm_eps": 1e-6}))


def the_order_of_labels(folder: Path) -> None:
    path = folder / "config.json"
    swapped = {"id2label": {"0": "bad", "1": "good"}, "label2id": {"bad": 0, "good": 1}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **swapped}))


@pytest.mark.parametrize(
    "change", [a_weight, a_tokenizer_file, another_tokenizer_file, a_configuration, the_order_of_labels]
)
def test_a_teacher_that_was_changed_is_asked_for_every_row(tmp_path, tiny_recipe, tiny_task, taught, brought, change):
    teacher, store = (Path(shutil.copytree(p, tmp_path / p.name)) for p in (brought, taught))
    assert ask(job_of(tiny_recipe, tiny_task, store, teacher)) == 0, "a copy elsewhere is the same teacher"
    change(teacher)
    job = job_of(tiny_recipe, tiny_task, store, teacher)
    assert ask(job) == rows(job)


@pytest.mark.parametrize("change", ["teacher.max_length=40", 'teacher.label_names=["bad", "good"]'])
def test_a_recipe_that_asks_otherwise_asks_for_every_row(tmp_path, tiny_recipe, tiny_task, taught, brought, change):
    text = tiny_recipe.read_text()
    head, tail = text.split("[[phase]]", 2)[0], text.split("[[phase]]", 2)[2]
    path = tmp_path / "asks.toml"
    path.write_text(f'{head}[[phase]]\nname = "teacher"\ncheckpoint = "{brought}"\n\n[[phase]]{tail}')
    store = shutil.copytree(taught, tmp_path / "store")
    same = Job(recipe.load(path, tiny_task, [0]), str(store), "cpu")
    assert ask(same) == 0
    job = Job(recipe.load(path, tiny_task, [0], [change]), str(store), "cpu")
    assert ask(job) == rows(job)


def test_another_order_of_the_tasks_labels_asks_for_every_row(tmp_path, tiny_recipe, tiny_task, taught, brought):
    task = Path(shutil.copytree(tiny_task, tmp_path / "task"))
    (task / "task.toml").write_text((task / "task.toml").read_text() + 'labels = ["good", "bad"]\n')
    job = job_of(tiny_recipe, task, shutil.copytree(taught, tmp_path / "store"), brought)
    assert ask(job) == rows(job)


@pytest.mark.parametrize("other", ["bf16", "fp16"])
def test_another_compute_type_asks_for_every_row(tiny_recipe, tiny_task, taught, brought, other):
    """On a GPU the same weights answer in another arithmetic. Here only the key of such a teacher is made."""
    job = job_of(tiny_recipe, tiny_task, taught, brought)
    here = teacher_of(job, job.recipe.final.teacher, 0)
    asked = job.recipe.named("teacher")
    keys = [modelfolder.fingerprint(brought, job.recipe.task.labels, asked.max_length, compute, asked.label_names)
            for compute in (compute_type("cpu"), other)]
    assert here.fingerprint == keys[0]
    there = Cache(job.place, keys[1], None, 2, {})
    wanted = job.place.read(job.place.transfer(transfer_key(job, job.recipe.final)))
    assert len(here.missing(wanted, here.stored("logits"))) == 0
    assert len(there.missing(wanted, there.stored("logits"))) == len(wanted)


def test_the_gpu_is_another_compute_type(tmp_path, tiny_recipe, tiny_task, taught, brought):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("this machine has no GPU")
    loaded = recipe.load(tiny_recipe, tiny_task, [0], (), str(brought))
    job = Job(loaded, str(shutil.copytree(taught, tmp_path / "store")), "cuda")
    assert ask(job) == rows(job)
