"""What every model of the room must keep: found by the folder, so a new file is tested without a line here."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from kdpipe import catalog
from kdpipe.batches import collate
from kdpipe.models import Encoder, count_parameters
from kdpipe.train import seeded
from kdpipe.types import Encoded, Ragged

NAMES = catalog.names("models")
WORDS, CLASSES = 60, 3
# The smallest sensible shape of each model, where its defaults are large.
SMALL = {"bert": {"layers": 2, "width": 16, "heads": 2, "ffn": 32, "positions": 40},
         "bilstm": {"width": 12, "hidden": 8, "fc": 10},
         "static": {"width": 12, "fc": 10},
         "siamese": {"encoder": {"name": "bilstm", "width": 12, "hidden": 8}, "fc": 10}}


def make(name, outputs=CLASSES, **more):
    with seeded(3):
        return catalog.find("models", name)(vocab_size=WORDS, outputs=outputs, vectors=None,
                                            **{**SMALL.get(name, {}), **more}).eval()


def rows(model, lengths=(7, 1, 12, 3, 12, 5)):
    """Random rows of these lengths, as many segments as the model reads."""
    rng = np.random.default_rng(0)
    turned = [np.roll(lengths, i) for i in range(model.segments)]
    return Encoded(tuple(Ragged(rng.integers(1, WORDS, sum(n)).astype(np.int32), np.cumsum([0, *n])) for n in turned))


ORDERLESS = ("static",)


@pytest.mark.parametrize("name", NAMES)
def test_all_that_a_model_says_has_the_shape_that_it_announces(name):
    model = make(name)
    shape, batch = model.shape, collate(rows(model), np.arange(6))
    out = model(batch, shape.gives)
    N = batch.segments[0].ids.shape[1]
    assert out.logits.shape == (6, CLASSES) and out.logits.dtype == torch.float32
    assert shape.outputs == CLASSES and "logits" in shape.gives
    if "cls" in shape.gives:
        assert {i: tuple(state.shape) for i, state in out.cls.items()} == {
            i: (6, shape.width) for i in range(1, shape.layers + 1)}
    if "hidden" in shape.gives:
        assert {i: tuple(states.shape) for i, states in out.hidden.items()} == {
            i: (6, N, shape.width if i else shape.embedding) for i in range(shape.layers + 1)}
    if "attention" in shape.gives:
        assert {i: tuple(s.shape) for i, s in out.attention.items()} == {
            i: (6, shape.heads, N, N) for i in range(1, shape.layers + 1)}
    if "boundaries" in shape.gives:
        assert {i: tuple(s.shape) for i, s in out.boundaries.items()} == {
            i: (6, shape.ffn) for i in range(1, shape.layers + 1)}
    if "vectors" in shape.gives:
        assert out.vectors.shape == (6, N, shape.embedding)
    if {"hidden", "attention", "vectors"} & shape.gives:
        assert torch.equal(out.mask, batch.segments[0].mask)


@pytest.mark.parametrize("name", NAMES)
def test_its_shape_is_known_before_it_is_built(name):
    part = catalog.find("models", name)
    assert part.shape_for(vocab_size=WORDS, outputs=CLASSES, **SMALL.get(name, {})) == make(name).shape


@pytest.mark.parametrize("name", NAMES)
def test_what_else_is_asked_for_does_not_change_the_logits(name):
    model = make(name)
    batch = collate(rows(model), np.arange(6))
    for part in model.shape.gives:
        assert_close(model(batch, (part,)).logits, model(batch).logits, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in NAMES if "cls" in make(n).shape.gives])
def test_no_state_depends_on_padding_or_company(name):
    model = make(name).double()
    data, parts = rows(model), {"cls", "hidden", "attention"} & make(name).shape.gives
    together, alone = model(collate(data, np.arange(6)), parts), model(collate(data, np.array([3])), parts)
    n = int(data.segments[0].lengths[3])
    for i, state in (alone.cls or {}).items():
        assert_close(together.cls[i][[3]], state, rtol=0, atol=1e-13)
    for i, states in (alone.hidden or {}).items():
        assert_close(together.hidden[i][[3], :n], states, rtol=0, atol=1e-13)
    for i, scores in (alone.attention or {}).items():
        assert_close(together.attention[i][[3], :, :n, :n], scores, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", [n for n in NAMES if "vectors" in make(n).shape.gives])
def test_the_slope_by_the_token_vectors_can_be_learned_from(name):
    """Second derivatives, which the fused kernels of LSTMs and of attention do not have."""
    model = make(name)
    out = model(collate(rows(model), np.arange(6)), ("vectors",))
    slope, = torch.autograd.grad(out.logits[:, 0].sum(), out.vectors, create_graph=True)
    slope.square().sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_neither_padding_nor_company_changes_an_answer(name, dtype, tolerance):
    model = make(name).to(dtype)
    data = rows(model)
    together = model(collate(data, np.arange(6))).logits
    alone = torch.cat([model(collate(data, np.array([i]))).logits for i in range(6)])
    turned = model(collate(data, np.arange(6)[::-1].copy())).logits.flip(0)
    assert_close(together, alone, rtol=0, atol=tolerance)
    assert_close(together, turned, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_under_the_padding_is_not_read(name):
    model = make(name)
    batch = collate(rows(model), np.arange(6))
    before = model(batch).logits
    for tokens in batch.segments:
        tokens.ids[~tokens.mask] = WORDS - 1
    assert_close(model(batch).logits, before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_order_of_words_matters_where_it_is_read(name):
    model = make(name)
    data = rows(model)
    turned = Encoded(tuple(Ragged(s.flat[::-1].copy(), np.cumsum([0, *s.lengths[::-1]])) for s in data.segments))
    ahead, behind = model(collate(data, np.array([2]))), model(collate(turned, np.array([3])))
    assert torch.allclose(ahead.logits, behind.logits, atol=1e-5) == (name in ORDERLESS)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_draws_the_same_weights(name):
    for a, b in zip(make(name).parameters(), make(name).parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_all_trainable_weights_get_a_gradient(name):
    model = make(name)
    model(collate(rows(model), np.arange(6))).logits.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_answers_the_same(name, tmp_path):
    model = make(name)
    model.save(tmp_path)
    found = type(model).load(tmp_path, vocab_size=WORDS, outputs=CLASSES, vectors=None, **SMALL.get(name, {})).eval()
    batch = collate(rows(model), np.arange(6))
    assert torch.equal(found(batch).logits, model(batch).logits)
    assert {p.suffix for p in tmp_path.iterdir()} <= {".safetensors", ".json"}


@pytest.mark.parametrize("name", NAMES)
def test_each_weight_lies_in_one_block_the_token_tables_in_the_last(name):
    model = make(name)
    blocks = [{id(p) for p in block.parameters()} for block in model.blocks()]
    assert sum(map(len, blocks)) == len({*[id(p) for p in model.parameters()]}.union(*blocks))
    assert {id(p) for p in model.embedding_parameters()} <= blocks[-1]


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_embedding_or_not(name):
    counts = count_parameters(make(name))
    assert counts["total"] == counts["embedding"] + counts["non_embedding"]
    assert counts["embedding"] >= WORDS and counts["non_embedding"] > 0


@pytest.mark.parametrize("name", [n for n in NAMES if issubclass(catalog.find("models", n), Encoder)])
def test_an_encoder_works_without_a_head_and_inside_siamese(name, tmp_path):
    headless = make(name, outputs=None)
    assert headless.head is None
    state = headless.encode(collate(rows(headless), np.arange(6)).segments[0])
    assert state.shape == (6, headless.state_width)
    pair = make("siamese", encoder={"name": name, **SMALL.get(name, {})})
    assert count_parameters(pair)["embedding"] == count_parameters(headless)["embedding"]
    pair.save(tmp_path)
    found = type(pair).load(tmp_path, vocab_size=WORDS, outputs=CLASSES, encoder={"name": name, **SMALL.get(name, {})},
                            fc=10).eval()
    batch = collate(rows(pair), np.arange(6))
    assert torch.equal(found(batch).logits, pair(batch).logits)


@pytest.mark.parametrize("name", NAMES)
def test_representations_of_a_text_depend_on_it_alone(name):
    """Whatever its company and padding; of a siamese model, on the first text."""
    model = make(name)
    data = rows(model)
    with torch.inference_mode():
        together = model.representations(collate(data, np.arange(6)), cls=True)
        for i in range(6):
            alone = model.representations(collate(data, np.array([i])), cls=True)
            assert alone.keys() == together.keys()
            for layer, states in together.items():
                assert states.ndim == 2 and len(states) == 6
                assert_close(alone[layer][0], states[i], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in NAMES if "cls" in make(n).shape.gives and n != "siamese"])
def test_the_state_that_the_classifier_reads_is_among_the_representations(name):
    model = make(name)
    batch = collate(rows(model), np.arange(6))
    said, found = model(batch, ("cls",)).cls[model.shape.layers], model.representations(batch, cls=True)
    assert any(state.shape == said.shape and torch.allclose(state, said, atol=1e-6) for state in found.values())


@pytest.mark.parametrize("name", NAMES)
def test_drawn_anew_all_that_is_represented_is_another_and_its_spread_is_the_constructors(name):
    model, batch = make(name), collate(rows(make(name)), np.arange(6))
    before = model.representations(batch)
    with seeded(7):
        model.redraw()
    once = model.representations(batch)
    with seeded(7):
        model.redraw()
    for layer, states in model.representations(batch).items():
        assert torch.equal(states, once[layer]) and not torch.allclose(states, before[layer], atol=1e-3)
        assert 0.5 < states.std() / before[layer].std() < 2


def test_a_bilstms_last_states_are_at_each_texts_own_end():
    model = make("bilstm")
    batch = collate(rows(model), np.arange(6))
    found, said = model.representations(batch), model(batch, ("cls", "hidden"))
    assert_close(found["layer_1_last"], said.cls[1])
    largest = said.hidden[1].masked_fill(~said.mask[..., None], -torch.inf).amax(1)
    assert_close(found["layer_1_max"], largest)
    assert_close(make("bilstm", pooling="max").representations(batch)["layer_1_last"], said.cls[1])
