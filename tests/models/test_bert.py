"""Bert: what it writes is an ordinary checkpoint, what it reads is whole, and it says so when not."""

import json
import os
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification, DistilBertConfig, DistilBertModel

from kdpipe.batches import collate
from kdpipe.errors import UserError
from kdpipe.models.bert import Bert
from kdpipe.types import Encoded, Ragged

SHAPE = {"layers": 2, "width": 16, "heads": 2, "ffn": 32, "positions": 40}
ROWS = Encoded((Ragged(np.arange(1, 13, dtype=np.int32), np.array([0, 4, 12])),),
               np.array([0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1], np.uint8))
BATCH = collate(ROWS, np.arange(2))


def small(outputs=3, **more):
    torch.manual_seed(0)
    return Bert(50, outputs, **SHAPE, **more).eval()


def test_plain_transformers_answers_the_same(tmp_path):
    model = small()
    model.save(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokens = BATCH.segments[0]
    said = plain(input_ids=tokens.ids, attention_mask=tokens.mask.long(), token_type_ids=tokens.types).logits
    assert torch.equal(said, model(BATCH).logits)


def test_mean_pooling_is_the_mean_of_real_tokens(tmp_path):
    model = small(pooling="mean")
    model.save(tmp_path)
    plain, tokens = AutoModel.from_pretrained(tmp_path).eval(), BATCH.segments[0]
    states = plain(input_ids=tokens.ids, attention_mask=tokens.mask.long(), token_type_ids=tokens.types)[0]
    by_hand = torch.stack([states[0, :4].mean(0), states[1].mean(0)])
    torch.testing.assert_close(model(BATCH, ("cls",)).cls[model.shape.layers], by_hand, rtol=0, atol=1e-6)
    torch.testing.assert_close(model(BATCH).logits, model.head(by_hand), rtol=0, atol=1e-6)


def test_token_types_are_read():
    other = collate(Encoded(ROWS.segments, np.zeros(12, np.uint8)), np.arange(2))
    assert not torch.allclose(small()(BATCH).logits, small()(other).logits)


def test_a_kin_without_token_types_works(tmp_path):
    DistilBertModel(DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=2, hidden_dim=32)).save_pretrained(
        tmp_path)
    model = Bert(50, 2, checkpoint=str(tmp_path)).eval()
    assert model(BATCH).logits.shape == (2, 2) and set(model.drawn) == {
        "classifier.weight", "classifier.bias", "pre_classifier.weight", "pre_classifier.bias"}


def test_a_new_head_is_drawn_quietly_and_a_fitting_one_kept(tmp_path, capfd):
    model = small(outputs=3)
    model.save(tmp_path)
    assert Bert(50, 3, checkpoint=str(tmp_path)).drawn == ()
    assert Bert(50, 5, checkpoint=str(tmp_path)).drawn == ("classifier.bias", "classifier.weight")
    said = capfd.readouterr()
    assert said.out == "" and said.err == ""


def test_regression_has_one_output():
    assert small(outputs=1)(BATCH).logits.shape == (2, 1)


def test_vectors_start_a_new_bert():
    vectors = np.random.default_rng(0).standard_normal((50, 16), np.float32)
    assert np.array_equal(next(small(vectors=vectors).embedding_parameters()).detach().numpy(), vectors)
    with pytest.raises(UserError, match=r"vectors of shape \(50, 8\)"):
        small(vectors=vectors[:, :8])


def test_folders_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(UserError, match="no such model folder"):
        Bert(50, 2, checkpoint=str(tmp_path / "absent"))
    with pytest.raises(UserError) as e:
        Bert(50, 2, checkpoint=str(tmp_path))
    assert len(e.value.faults) == 2 and all(str(tmp_path) in fault for fault in e.value.faults)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(UserError, match="pytorch_model.bin is a pickle.*never read"):
        Bert(50, 2, checkpoint=str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be read"):
        Bert(50, 2, checkpoint=str(tmp_path))


def test_code_that_comes_with_a_checkpoint_is_not_run(tmp_path):
    small().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config",
                                                 "AutoModelForSequenceClassification": "own.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({os.fspath(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="cannot be read"):
        Bert(50, 3, checkpoint=str(tmp_path))
    assert not (tmp_path / "ran").exists() and "own" not in sys.modules


def test_missing_encoder_weights_are_refused(tmp_path):
    small().save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: t for name, t in weights.items() if "layer.1.output" not in name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"weights of the encoder are missing.*\(4 in all\)"):
        Bert(50, 3, checkpoint=str(tmp_path))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_checkpoint_without_a_head_is_no_trained_model(tmp_path, pooling):
    small(outputs=None).save(tmp_path)
    with pytest.raises(UserError, match="no trained classifier of 3 outputs"):
        Bert.load(tmp_path, vocab_size=50, outputs=3, pooling=pooling)


def test_what_cannot_go_together_is_refused(tmp_path):
    small().save(tmp_path)
    with pytest.raises(UserError, match="50 token vectors, the vocabulary has 51"):
        Bert(51, 3, checkpoint=str(tmp_path))
    with pytest.raises(UserError, match="layers, embeddings given beside a checkpoint"):
        Bert(50, 3, np.zeros((50, 16), np.float32), checkpoint=str(tmp_path), layers=7)
    with pytest.raises(UserError, match="multiple of the heads"):
        Bert(50, 3, width=15, heads=2)
    with pytest.raises(UserError, match="reads at most 40; set max_length = 40"):
        small()(collate(Encoded((Ragged(np.ones(41, np.int32), np.array([0, 41])),)), np.arange(1)))
