"""States of layers: asked once, kept, and given back in the order of the rows."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from kdpipe import catalog, modelfolder
from kdpipe.modelfolder import Card
from kdpipe.probing.names import load
from kdpipe.probing.states import _compact, trained, untrained
from kdpipe.store import Store
from kdpipe.train import seeded
from kdpipe.types import row_ids

TEXTS = ["a cat sat", "no", "the dog and the cat", "a cat sat", "unheard of"]


def rows(texts):
    text = pa.array(texts)
    return pa.table({"id": row_ids(text), "text_a": text, "text_b": pa.nulls(len(text), pa.string())})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BiLSTM of two layers and a vocabulary of its own."""
    vocab = catalog.find("vocab", "words").build([pa.array(TEXTS)])
    said = {"name": "bilstm", "width": 6, "hidden": 4, "fc": 5, "layers": 2}
    with seeded(0):
        model = catalog.find("models", "bilstm")(len(vocab.tokens), 2, None, **{k: v for k, v in said.items()
                                                                               if k != "name"})
    place = tmp_path_factory.mktemp("model")
    card = Card(said, "classification", ("a", "b"), 2, len(vocab.tokens), False, 16, "t")
    modelfolder.save(place, model, vocab, card)
    return place


def test_a_text_is_asked_once_and_found_by_its_id(folder, tmp_path):
    store, weights = Store(tmp_path), trained(load(folder))
    assert weights.layers == {"embeddings": 6, "layer_1_last": 8, "layer_1_max": 8, "layer_2_last": 8,
                              "layer_2_max": 8}
    assert weights.fill(store, rows(TEXTS[:3]), "t") == 3
    assert weights.fill(store, rows(TEXTS), "t") == 1  # the fourth is the first
    assert weights.fill(store, rows(TEXTS), "t") == 0
    found = weights.read(store, "layer_2_last", row_ids(pa.array(TEXTS[::-1])))
    assert found.dtype == np.float16 and (found[1] == found[4]).all() and not (found[1] == found[3]).all()
    [(plan, said)] = weights._said(rows(TEXTS))
    np.testing.assert_allclose(found[::-1][plan], said["layer_2_last"], atol=1e-3)


def test_half_of_the_states_is_not_taken_for_all(folder, tmp_path):
    """A process was killed when it had written the parts of some layers."""
    store, weights = Store(tmp_path), trained(load(folder))
    weights.fill(store, rows(TEXTS), "t")
    store.remove_parts(store.parts(store.states(weights.fingerprint, "layer_1_max")))
    assert weights.fill(store, rows(TEXTS), "t") == 4
    assert weights.read(store, "layer_1_max", row_ids(pa.array(TEXTS))).any(1).all()
    assert weights.read(store, "embeddings", row_ids(pa.array(TEXTS))).any(1).all()


def test_the_untrained_twin_is_always_the_same_and_never_the_model(folder):
    one, two, own = untrained(load(folder)), untrained(load(folder)), trained(load(folder))
    assert one.fingerprint == two.fingerprint != own.fingerprint and one.layers == own.layers
    for name, drawn in one.loaded.model.state_dict().items():
        assert torch.equal(drawn, two.loaded.model.state_dict()[name])
        if not name.startswith("head."):
            assert not torch.equal(drawn, own.loaded.model.state_dict()[name])


def test_numbers_beyond_float16_stay_whole():
    assert _compact(np.array([[1.5, -3.0]], np.float32)).dtype == np.float16
    large = np.array([[1e5, 1.0]], np.float32)
    assert (_compact(large) == large).all()
