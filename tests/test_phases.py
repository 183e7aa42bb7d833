"""The stages end to end on a real teacher: what is done once, what is reused, what depends on what."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kdpipe import modelfolder, phases, recipe, transfer
from kdpipe.errors import UserError
from kdpipe.job import Job, load_model, model_folder, teacher_of, transfer_key
from kdpipe.plan import plan
from kdpipe.store import Store
from kdpipe.warehouse import run_checks


@pytest.fixture(scope="module")
def job(tmp_path_factory, tiny_recipe, tiny_task) -> Job:
    """The tiny recipe, carried out once for the whole module."""
    done = Job(recipe.load(tiny_recipe, tiny_task), str(tmp_path_factory.mktemp("store")), "cpu")
    phases.run(done)
    return done


def records(job: Job) -> dict[str, dict]:
    return {p.stem: json.loads(p.read_text()) for p in Path(job.store, "runs").glob("*.json")}


def fresh(job: Job, tiny_recipe, tiny_task, **how) -> Job:
    """The same store, another recipe over it."""
    return Job(recipe.load(tiny_recipe, tiny_task, **how), job.store, "cpu")


def files(job: Job) -> dict[str, bytes]:
    root = Path(job.store)
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).digest() for p in root.rglob("*") if p.is_file()}


def test_a_run_leaves_a_record_that_says_everything(job):
    found = records(job)
    assert sorted(r["role"] for r in found.values()) == ["student", "student", "teacher"]
    student = next(r for r in found.values() if r["role"] == "student" and r["seed"] == 0)
    assert student["teacher_run"] in found
    assert student["teacher_rows_asked"] == sum(c["rows"] for c in student["transfer_counts"])
    assert {s["stage"] for s in student["stages"]} == {"augment", "teach", "train", "evaluate"}
    assert {(s["split"], s["metric"]) for s in student["scores"]} == {("dev", "accuracy"), ("test", "accuracy")}
    assert student["parameters"]["total"] == student["parameters"]["embedding"] + student["parameters"]["non_embedding"]
    assert len(student["curve"]) == 2 and [s["batch"] for s in student["speed"]] == [1, 64]
    for key in ("versions", "git", "machine", "settings"):
        assert student[key]


def test_predictions_are_those_of_the_saved_model(job):
    run = next(r for r in records(job).values() if r["role"] == "student" and r["seed"] == 0)
    rows = Store(job.store).read(Store(job.store).predictions(run["run"], "test"))
    right = np.mean([a == b for a, b in zip(rows["label"].to_pylist(), rows["prediction"].to_pylist(), strict=True)])
    assert right == pytest.approx(run["test_score"])


def test_running_again_changes_no_byte(job, tiny_recipe, tiny_task):
    before = files(job)
    phases.run(fresh(job, tiny_recipe, tiny_task))
    assert files(job) == before


def test_what_a_message_says_to_move_away_is_made_anew(job, tiny_recipe, tiny_task):
    """Predictions and nearest rows; the record that speaks of them stays as it was written."""
    before = files(job)
    run = next(r["run"] for r in records(job).values() if r["role"] == "student" and r["seed"] == 0)
    store = Store(job.store)
    broken = store.parts(store.predictions(run, "test"))
    folder = Path(store.neighbours(job.recipe.task.key()))
    Path(broken[0]).write_bytes(b"no part")
    for path in folder.glob("part-*"):
        path.write_bytes(b"no part")
    said = run_checks(store)
    assert f"{broken[0]}: broken part" in said[0] and "move this file away" in said[0]
    assert f"move the folder {folder} away" in said[1]
    Path(broken[0]).unlink()
    shutil.rmtree(folder)
    again = fresh(job, tiny_recipe, tiny_task)
    assert [(step.stage, step.rows) for step in plan(again) if step.todo] == [("evaluate", 10)]
    phases.run(again)
    assert files(job) == before


def test_the_student_stage_again_asks_the_teacher_nothing(job, tiny_recipe, tiny_task):
    other = fresh(job, tiny_recipe, tiny_task, seeds=[0], overrides=["student.model.hidden=4"])
    phases.run(other)
    run = next(r for r in records(job).values() if "hidden=4" in r["student"])
    assert run["teacher_rows_asked"] == 0
    assert {s["stage"]: s["reused"] for s in run["stages"]} == {
        "augment": True,
        "teach": True,
        "train": False,
        "evaluate": False,
    }


def test_a_plan_says_what_would_run_and_makes_nothing(tmp_path, job, tiny_recipe, tiny_task):
    empty = Job(recipe.load(tiny_recipe, tiny_task), str(tmp_path), "cpu")
    assert all(step.todo for step in plan(empty))
    assert list(tmp_path.iterdir()) == []
    assert not any(step.todo for step in plan(job))
    changed = plan(fresh(job, tiny_recipe, tiny_task, overrides=["student.train.epochs=3"]))
    assert {step.stage for step in changed if step.todo} == {"train", "evaluate"}
    wider = plan(fresh(job, tiny_recipe, tiny_task, overrides=["student.augment_seed=1"]))
    assert {step.stage for step in wider if not step.todo} == {"teacher"}


def test_another_seed_of_the_operators_asks_only_new_rows(job, tiny_recipe, tiny_task):
    other = fresh(job, tiny_recipe, tiny_task, overrides=["student.augment_seed=1"])
    phases.augment(other)
    first, second = (
        set(transfer.read(j.place, transfer_key(j, j.recipe.final))["id"].to_pylist()) for j in (job, other)
    )
    report = phases.teach(other)
    assert report.detail["asked"] == len(second - first) < len(second)
    assert phases.teach(other).reused


def test_shards_do_the_same_as_the_stage(tmp_path, job, tiny_recipe, tiny_task):
    apart = Job(recipe.load(tiny_recipe, tiny_task), str(tmp_path), "cpu")
    phases.teachers(apart), phases.augment(apart)
    for shard in phases.teach_shards(apart):
        phases.teach_shard(apart, shard)
        assert phases.teach_shard(apart, shard).reused
    assert phases.teach_shards(apart) == []
    ids = transfer.read(job.place, transfer_key(job, job.recipe.final))["id"]
    caches = [teacher_of(j, j.recipe.final.teacher, 0) for j in (job, apart)]
    np.testing.assert_allclose(*(c.read("logits", ids) for c in caches), atol=1e-6)


def test_the_same_seed_gives_the_same_bits(tmp_path, job, tiny_recipe, tiny_task):
    again = Job(recipe.load(tiny_recipe, tiny_task, seeds=[1]), str(tmp_path), "cpu")
    phases.run(again)
    paths = [model_folder(j, j.recipe.final, 1) / "model.safetensors" for j in (job, again)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].parent.name == paths[1].parent.name


def test_cached_logits_are_the_teachers_own(job):
    """The joined logits of the first gold rows are what the teacher says when it is asked alone."""
    teacher = load_model(job, job.recipe.named("teacher"), 0)
    rows = job.recipe.task.splits["train"].slice(0, 5)
    from kdpipe.train import predict

    alone = predict(teacher.model, teacher.vocab.encode(rows, teacher.max_length))
    stored = teacher_of(job, job.recipe.final.teacher, 0).read("logits", rows["id"])
    np.testing.assert_allclose(stored, alone, atol=1e-5)


@pytest.mark.parametrize("change", ["weight", "tokenizer", "max_length", "labels", "compute"])
def test_no_old_row_is_served_by_a_changed_teacher(tmp_path, job, change):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "copy"
    shutil.copytree(model_folder(job, job.recipe.named("teacher"), 0), folder)
    asked = {"labels": ("bad", "good"), "max_length": 128, "compute": "fp32"}
    before = modelfolder.fingerprint(folder, **asked)
    if change == "weight":
        weights = load_file(folder / "model.safetensors")
        next(iter(weights.values())).view(-1)[0] += 1e-3
        save_file(weights, folder / "model.safetensors")
    elif change == "tokenizer":
        (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " ")
    else:
        asked[change] = {"labels": ("good", "bad"), "max_length": 64, "compute": "bf16"}[change]
    assert modelfolder.fingerprint(folder, **asked) != before


@pytest.fixture(scope="module")
def brought(tmp_path_factory, tiny_checkpoint):
    """A Hugging Face checkpoint with a trained head whose own order is good, bad."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("hf") / "brought"
    model = AutoModelForSequenceClassification.from_pretrained(
        tiny_checkpoint, num_labels=2, id2label={0: "Good", 1: "Bad"}, label2id={"Good": 0, "Bad": 1}
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder)
    return folder


def test_a_brought_teacher_is_mapped_by_label_name(tmp_path, brought, tiny_recipe, tiny_task):
    """The task's classes are bad, good; the checkpoint's outputs good, bad: columns change places."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    done = Job(recipe.load(tiny_recipe, tiny_task, seeds=[0], teacher=str(brought)), str(tmp_path), "cpu")
    phases.run(done)
    rows = done.recipe.task.splits["train"].slice(0, 4)
    tokens = AutoTokenizer.from_pretrained(brought)(rows["text_a"].to_pylist(), padding=True, return_tensors="pt")
    with torch.no_grad():
        theirs = AutoModelForSequenceClassification.from_pretrained(brought).eval()(**tokens).logits.numpy()
    ours = teacher_of(done, done.recipe.final.teacher, 0).read("logits", rows["id"])
    np.testing.assert_allclose(ours, theirs[:, ::-1], atol=1e-5)


def test_other_label_names_are_refused_not_guessed(tmp_path, brought, tiny_recipe, tiny_task):
    config = json.loads((brought / "config.json").read_text())
    odd = tmp_path / "odd"
    import shutil

    shutil.copytree(brought, odd)
    (odd / "config.json").write_text(json.dumps({**config, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}))
    job = Job(recipe.load(tiny_recipe, tiny_task, teacher=str(odd)), str(tmp_path / "store"), "cpu")
    with pytest.raises(UserError, match="LABEL_0.*label_names"):
        phases.run(job)


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (("config.json", "tokenizer.json", "tokenizer_config.json"), "no weights"),
        ((), "not a model folder"),
    ],
)
def test_a_teacher_folder_without_weights_is_refused(tmp_path, brought, tiny_recipe, tiny_task, keep, said):
    import shutil

    folder = tmp_path / "teacher"
    folder.mkdir()
    for name in keep:
        shutil.copy(brought / name, folder / name)
    with pytest.raises(UserError, match=said):
        phases.run(Job(recipe.load(tiny_recipe, tiny_task, teacher=str(folder)), str(tmp_path / "store"), "cpu"))
    assert not (tmp_path / "store" / "runs").exists()


def test_no_gpu_when_one_was_asked_for(tiny_recipe, tiny_task, tmp_path):
    import torch

    if torch.cuda.is_available():
        assert Job(recipe.load(tiny_recipe, tiny_task), str(tmp_path), "cuda").on == "cuda"
        return
    with pytest.raises(UserError, match="no GPU"):
        _ = Job(recipe.load(tiny_recipe, tiny_task), str(tmp_path), "cuda").on


PAIRS = [
    ("a man eats", "a person eats", 4.5),
    ("a dog runs", "the cat sleeps", 0.5),
    ("it rains", "rain falls", 4.0),
    ("she sings well", "he cooks", 0.2),
    ("two boys play", "children play", 3.8),
    ("a red car", "a blue sky", 1.0),
]


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_pairs_and_scores_go_the_same_way(tmp_path, tiny_recipe, kind):
    """The same recipe on pairs: the student becomes siamese; on scores: one output, correlations."""
    label = {"classification": lambda s: "alike" if s > 2 else "apart", "regression": str}[kind]
    lines = [f"{a} {i}\t{b}\t{label(s)}" for i in range(6) for a, b, s in PAIRS]
    for split, rows in (("train", lines[:24]), ("dev", lines[24:])):
        (tmp_path / f"{split}.tsv").write_text("a\tb\ty\n" + "\n".join(rows) + "\n")
    (tmp_path / "task.toml").write_text(
        f'name = "pairs"\nkind = "{kind}"\nformat = "tsv"\ntrain = "train.tsv"\ndev = "dev.tsv"\n'
        'text_a = "a"\ntext_b = "b"\nlabel = "y"\n'
    )
    job = Job(recipe.load(tiny_recipe, tmp_path, seeds=[0]), str(tmp_path / "store"), "cpu")
    phases.run(job)
    student = next(r for r in records(job).values() if r["role"] == "student")
    assert student["student"].startswith("siamese(bilstm)")
    assert -1 <= student["dev_score"] <= 1
    assert student["test_score"] is None


def test_unlabelled_text_joins_by_one_line(tmp_path, job, tiny_recipe, tiny_task):
    text = tmp_path / "more.txt"
    text.write_text("a film that nobody saw\n\nthe plot was thin\nthe plot was thin\n")
    more = fresh(job, tiny_recipe, tiny_task, seeds=[0], overrides=[f'student.unlabelled=["{text}"]'])
    phases.run(more)
    run = next(r for r in records(job).values() if any(c["operator"] == "unlabelled" for c in r["transfer_counts"]))
    assert {c["operator"]: c["rows"] for c in run["transfer_counts"]}["unlabelled"] == 2
    assert run["teacher_rows_asked"] == 2
