"""The model of a run answers what the run's stored answers say: trained in the store, or brought from outside."""

import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from kdpipe import answerer, phases, recipe
from kdpipe.errors import UserError
from kdpipe.explore.labelling import Models
from kdpipe.job import Job
from kdpipe.probing.names import find
from kdpipe.store import Store
from kdpipe.train import predict


@pytest.fixture(scope="module")
def brought(tmp_path_factory, tiny_checkpoint):
    """A checkpoint whose outputs are good, bad, while the task's classes are bad, good."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("hf") / "brought"
    AutoModelForSequenceClassification.from_pretrained(
        tiny_checkpoint, num_labels=2, id2label={0: "good", 1: "bad"}, label2id={"good": 0, "bad": 1}
    ).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory, brought, tiny_recipe, tiny_task):
    """A store, the record of a student's run and that of the teacher that was brought for it."""
    store = Store(tmp_path_factory.mktemp("answerer") / "store")
    said = recipe.load(tiny_recipe, tiny_task, seeds=[0], teacher=str(brought))
    [student] = phases.run(Job(said, store.root, "cpu", workers=1))
    student = store.read_json(store.run(student))
    return store, {"student": student, "teacher": store.read_json(store.run(student["teacher_run"]))}


@pytest.mark.parametrize("who", ["student", "teacher"])
def test_it_answers_as_it_did(runs, who):
    store, records = runs
    rows = store.read(store.predictions(records[who]["run"], "dev"))
    loaded = answerer.load(store, records[who])
    logits = predict(loaded.model, loaded.vocab.encode(rows, loaded.max_length))[:, list(loaded.order)]
    np.testing.assert_allclose(logits, np.stack(rows["logits"].to_numpy(zero_copy_only=False)), atol=1e-5)
    said = Models(store).ask(records[who]["run"], rows["text_a"][0].as_py(), None)
    assert said.answer == rows["prediction"][0].as_py()
    assert said.confidence == pytest.approx(rows["confidence"][0].as_py())
    assert find(store, [records[who]["run"]])[0].folder == answerer.folder_of(store, records[who])


def test_a_model_that_is_gone_is_said(runs, tmp_path):
    store, records = runs
    copy = Store(shutil.copytree(store.root, tmp_path / "copy"))
    shutil.rmtree(copy.model(records["student"]["model"]))
    with pytest.raises(UserError, match="its model is not in the store any more.*trains it again"):
        answerer.load(copy, records["student"])
    assert answerer.folder_of(copy, records["teacher"]).name == "brought"
