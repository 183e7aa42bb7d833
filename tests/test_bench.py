"""`kdpipe bench` on a tiny recipe: every path is measured, and nothing of the store changes."""

from pathlib import Path

import pytest
import torch

from kdpipe import phases, recipe
from kdpipe.bench import bench
from kdpipe.errors import UserError
from kdpipe.job import Job, load_model


def test_every_path_is_measured_and_the_store_stays_as_it_is(tiny_recipe, tiny_task, tmp_path):
    job = Job(recipe.load(tiny_recipe, tiny_task, [0]), str(tmp_path / "store"), "cpu")
    with pytest.raises(UserError, match="not run yet"):
        list(bench(job))
    phases.run(job)
    before = {p: p.read_bytes() for p in Path(job.store).rglob("*") if p.is_file()}
    weights = [p.clone() for p in load_model(job, job.recipe.final, 0).model.parameters()]
    found = {m.path: m for m in bench(job, rows=100)}
    paths = {"augment, one core", "teach", "read logits for training", "train a student", "answer, one core, batch 64"}
    assert paths <= set(found)
    assert all(m.rate > 0 and (m.share is None or m.share > 0) for m in found.values())
    assert {p: p.read_bytes() for p in Path(job.store).rglob("*") if p.is_file()} == before
    after = load_model(job, job.recipe.final, 0).model.parameters()
    assert all(torch.equal(a, b) for a, b in zip(after, weights, strict=True))


def test_a_recipe_without_a_teacher_is_refused(tiny_task, tmp_path):
    with pytest.raises(UserError, match="does not ask one teacher"):
        list(bench(Job(recipe.load("labels_only", tiny_task), str(tmp_path), "cpu")))
