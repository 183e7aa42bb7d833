"""What a live teacher says of its inside is what transformers says, and what is kept of it is what was said."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.nn import functional as F
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from kdpipe.errors import UserError
from kdpipe.modelfolder import Card, Loaded
from kdpipe.models.bert import Bert
from kdpipe.models.bilstm import BiLSTM
from kdpipe.signals.cache import Cache
from kdpipe.signals.kinds import signal
from kdpipe.signals.live import Live
from kdpipe.signals.said import Said
from kdpipe.store import Store
from kdpipe.types import Encoded, Ragged, row_ids
from kdpipe.vocab.wordpieces import WordPieces

WORDS = "the film plot cast was good bad lovely awful and then nobody laughed at unforgettable scenes of it".split()
WIDTH, HEADS, FFN = 16, 2, 24
KIN = {
    "bert": lambda: BertForSequenceClassification(BertConfig(
        vocab_size=60, hidden_size=WIDTH, num_hidden_layers=3, num_attention_heads=HEADS, intermediate_size=FFN,
        max_position_embeddings=40, num_labels=3)),
    "distilbert": lambda: DistilBertForSequenceClassification(DistilBertConfig(
        vocab_size=60, dim=WIDTH, n_layers=3, n_heads=HEADS, hidden_dim=FFN, max_position_embeddings=40,
        num_labels=3)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(
        vocab_size=60, hidden_size=WIDTH, num_hidden_layers=3, num_attention_heads=HEADS, intermediate_size=FFN,
        max_position_embeddings=42, num_labels=3)),
    "electra": lambda: ElectraForSequenceClassification(ElectraConfig(
        vocab_size=60, hidden_size=WIDTH, embedding_size=WIDTH, num_hidden_layers=3, num_attention_heads=HEADS,
        intermediate_size=FFN, max_position_embeddings=40, num_labels=3)),
}
INSIDE = [f"{part}_{i}_fp32" for part, first in (("hidden", 0), ("attention", 1)) for i in range(first, 4)]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """A second core only slows networks as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sharpened(hf):
    """Weights as large as trained ones, so that no attention is nearly uniform."""
    torch.manual_seed(7)
    for name, weight in hf.named_parameters():
        if weight.ndim > 1 and "embeddings" not in name:
            torch.nn.init.normal_(weight, std=1.5 / weight.shape[1] ** 0.5)
    return hf.eval()


def encoded(n=70, seed=0) -> Encoded:
    """Random rows of 1 to 20 tokens of an alphabet of 60; more than one batch."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 21, n)
    return Encoded((Ragged(rng.integers(3, 60, lengths.sum()).astype(np.int32), np.cumsum([0, *lengths])),))


def live_of(folder: Path, order=(0, 1, 2)) -> Live:
    model = Bert.load(folder, 60, 3).eval()
    card = Card({"name": "bert"}, "classification", ("a", "b", "c"), 3, 60, True, 40, "")
    return Live(Loaded(model, None, card, folder, order), "f")


@pytest.fixture(scope="module", params=KIN)
def pair(request, tmp_path_factory):
    """Our live teacher, and the same checkpoint in transformers with attention by plain products."""
    folder = tmp_path_factory.mktemp(request.param)
    sharpened(KIN[request.param]()).save_pretrained(folder)
    theirs = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    return live_of(folder), theirs


LOOKED_AT = range(0, 70, 5)  # rows that are asked again one by one, of both batches


def alone(rows: Encoded, i: int) -> torch.Tensor:
    """One row without padding [1, n]."""
    return torch.from_numpy(rows.segments[0][i].astype(np.int64))[None]


def test_every_layers_states_are_those_of_transformers(pair):
    live, theirs = pair
    rows = encoded()
    said = live.compute(["logits", "cls_fp32", *INSIDE], rows)
    for i in LOOKED_AT:
        with torch.inference_mode():
            right = theirs(alone(rows, i), output_hidden_states=True)
        states = torch.stack(right.hidden_states)[:, 0].numpy()  # [L + 1, n, H]
        assert_allclose(said["logits"][i], right.logits[0], atol=1e-5)
        assert_allclose(said["cls_fp32"][i].reshape(3, WIDTH), states[1:, 0], atol=1e-5)
        for layer in range(4):
            assert_allclose(said[f"hidden_{layer}_fp32"][i].reshape(-1, WIDTH), states[layer], atol=1e-5)


def test_the_softmax_of_our_scores_is_transformers_attention(pair):
    live, theirs = pair
    rows = encoded()
    said = live.compute(INSIDE, rows)
    sharpest = 0.0
    for i in LOOKED_AT:
        with torch.inference_mode():
            right = theirs(alone(rows, i), output_attentions=True).attentions
        n = len(rows.segments[0][i])
        for layer in range(1, 4):
            ours = torch.from_numpy(said[f"attention_{layer}_fp32"][i]).view(HEADS, n, n).softmax(-1)
            assert_allclose(ours, right[layer - 1][0], atol=1e-5)
            sharpest = max(sharpest, float((ours.max(-1).values * n).max()))
    assert sharpest > 5  # far from uniform, or this test would say nothing


def test_boundaries_are_the_signs_before_gelu(pair):
    """Each layer's feed-forward map heard in transformers itself, on rows without padding."""
    live, theirs = pair
    heard = []
    taps = [m for name, m in theirs.named_modules() if name.endswith(("intermediate.dense", "ffn.lin1"))]
    hooks = [tap.register_forward_hook(lambda _, __, made: heard.append(made[0, 0])) for tap in taps]
    rows = encoded()
    said = live.compute(["boundaries"], rows)["boundaries"]
    for i in LOOKED_AT:
        heard.clear()
        with torch.inference_mode():
            theirs(alone(rows, i))
        before = torch.stack(heard)  # [L, F]
        bits = np.unpackbits(said[i].reshape(3, -1), axis=-1, count=FFN).astype(bool)
        sure = before.abs() > 1e-5
        assert_array_equal(bits[sure], (before > 0)[sure])
    for hook in hooks:
        hook.remove()


def test_boundaries_by_hand(tmp_path):
    """One layer of BERT written out: attention, residual and norm, then W x + b at [CLS]."""
    hf = sharpened(KIN["bert"]())
    hf.save_pretrained(tmp_path)
    rows, layer = encoded(12), hf.bert.encoder.layer[0]
    said = live_of(tmp_path).compute(["boundaries", "hidden_0_fp32"], rows)
    attention, out = layer.attention.self, layer.attention.output
    for i in range(len(rows)):
        x = torch.from_numpy(said["hidden_0_fp32"][i]).view(-1, WIDTH)
        q, k, v = (x @ w.weight.T + w.bias for w in (attention.query, attention.key, attention.value))
        half = WIDTH // HEADS
        mixed = torch.cat([(q[:1, s] @ k[:, s].T / half**0.5).softmax(-1) @ v[:, s]
                           for s in (slice(0, half), slice(half, None))], -1)  # what [CLS] reads
        state = F.layer_norm(mixed @ out.dense.weight.T + out.dense.bias + x[:1], (WIDTH,), out.LayerNorm.weight,
                             out.LayerNorm.bias, hf.config.layer_norm_eps)
        before = (state @ layer.intermediate.dense.weight.T + layer.intermediate.dense.bias)[0]
        bits = np.unpackbits(said["boundaries"][i].reshape(3, -1), axis=-1, count=FFN)[0].astype(bool)
        sure = before.abs() > 1e-5
        assert_array_equal(bits[sure.numpy()], (before > 0)[sure].numpy())


def test_slopes_are_those_of_autograd_on_the_token_vectors(pair):
    live, theirs = pair
    rows = encoded()
    said = live.compute(["logits", "saliency", "gradient_fp32"], rows)
    for i in LOOKED_AT:
        vectors = theirs.get_input_embeddings()(alone(rows, i)).detach().requires_grad_()
        logits = theirs(inputs_embeds=vectors).logits
        logits.max().backward()
        assert_allclose(said["logits"][i], logits[0].detach(), atol=1e-5)
        assert_allclose(said["gradient_fp32"][i].reshape(-1, WIDTH), vectors.grad[0], rtol=1e-4, atol=1e-4)
        assert_allclose(said["saliency"][i], (vectors.grad * vectors.detach())[0].sum(-1), rtol=1e-4, atol=1e-4)


def test_a_scores_slope_is_its_own(tmp_path):
    """C = 1: no largest logit, the score itself, whatever its sign."""
    torch.manual_seed(0)
    model = Bert(60, 1, layers=1, width=16, heads=2, ffn=8, positions=40).eval()
    live = Live(Loaded(model, None, Card({}, "regression", (), 1, 60, True, 40, ""), tmp_path, (0,)), "f")
    rows = encoded(10)
    said = live.compute(["gradient_fp32"], rows)["gradient_fp32"]
    for i in range(len(rows)):
        vectors = model.hf.get_input_embeddings()(alone(rows, i)).detach().requires_grad_()
        model.hf(inputs_embeds=vectors).logits.sum().backward()
        assert_allclose(said[i].reshape(-1, 16), vectors.grad[0], atol=1e-6)


EVERY = ("logits", "cls_fp32", "boundaries", "saliency", "gradient_fp32", *INSIDE)


def equal(name: str, found, right) -> None:
    for i in range(len(right)):
        if name == "boundaries":
            assert (np.unpackbits(found[i]) != np.unpackbits(right[i])).sum() <= 1  # a unit within 1e-6 of 0
        else:
            assert_allclose(found[i], right[i], rtol=1e-4, atol=1e-4, err_msg=name)


def test_neither_order_nor_company_nor_padding_changes_what_is_said(pair):
    live, _ = pair
    rows = encoded()
    together = live.compute(EVERY, rows)
    order = np.random.default_rng(1).permutation(len(rows))
    turned = live.compute(EVERY, rows.take(order))
    by_one = [live.compute(EVERY, rows.take(np.array([i]))) for i in range(8)]
    for name in EVERY:
        assert len(together[name]) == len(rows)
        back = np.argsort(order)
        equal(name, turned[name].take(back) if isinstance(turned[name], Ragged) else turned[name][back], together[name])
        equal(name, [one[name][0] for one in by_one], [together[name][i] for i in range(8)])


def test_what_is_asked_beside_it_changes_no_signal(pair):
    live, _ = pair
    rows = encoded(20)
    together = live.compute(EVERY, rows)
    for name in EVERY:
        equal(name, live.compute([name], rows)[name], together[name])


def test_int8_has_no_slopes(pair):
    cheap = Live(pair[0].loaded, "cheap", compute="int8")
    with pytest.raises(UserError, match="teacher cheap: no saliency, gradient in int8, which has no derivatives"):
        cheap.compute(["logits", "saliency", "gradient"], encoded(3))


def test_classes_come_in_the_tasks_order(pair, tmp_path):
    live, _ = pair
    rows, turned = encoded(10), live_of(live.loaded.folder, order=(2, 0, 1))
    plain, said = (one.compute(["logits", "saliency"], rows) for one in (live, turned))
    assert_array_equal(said["logits"], plain["logits"][:, [2, 0, 1]])
    equal("saliency", said["saliency"], plain["saliency"])


def test_a_bilstm_says_its_states_too(tmp_path):
    torch.manual_seed(0)
    model = BiLSTM(60, 2, width=6, hidden=4, fc=5, layers=2).eval()
    card = Card({}, "classification", ("a", "b"), 2, 60, False, 40, "")
    live = Live(Loaded(model, None, card, tmp_path, (0, 1)), "f")
    rows = encoded(10)
    said = live.compute(["cls_fp32", "hidden_2_fp32", "saliency"], rows)
    for i in range(len(rows)):
        states, n = said["hidden_2_fp32"][i].reshape(-1, 8), len(rows.segments[0][i])
        assert len(states) == n == len(said["saliency"][i])
        cls = said["cls_fp32"][i].reshape(2, 8)
        assert_allclose(cls[1], np.concatenate([states[-1, :4], states[0, 4:]]), atol=1e-6)  # [last forward; backward]


def test_token_vectors_narrower_than_the_states_are_not_offered(tmp_path):
    """ELECTRA-Small reads vectors of 128 and makes states of 256: a slope by them has no place in a shape."""
    ElectraForSequenceClassification(ElectraConfig(
        vocab_size=60, hidden_size=WIDTH, embedding_size=8, num_hidden_layers=2, num_attention_heads=HEADS,
        intermediate_size=FFN, max_position_embeddings=40, num_labels=3)).save_pretrained(tmp_path)
    shape = Bert.load(tmp_path, 60, 3).shape
    assert shape == Bert.shape_for(60, 3, checkpoint=str(tmp_path))
    assert "vectors" not in shape.gives and shape.gives >= {"logits", "cls", "hidden", "attention", "boundaries"}
    assert Bert.started(shape, 3, take=[0]).gives == shape.gives
    live, rows = live_of(tmp_path), encoded(5)
    said = live.compute(["hidden_0"], rows)["hidden_0"]
    assert (said.lengths == rows.segments[0].lengths * shape.embedding).all()


# ---- kept and read again


@pytest.fixture(scope="module")
def teacher(tiny_checkpoint) -> Live:
    """The tiny BERT with a head, its weights sharpened."""
    vocab = WordPieces.from_checkpoint(tiny_checkpoint)
    model = Bert(len(vocab.tokens), 2, checkpoint=str(tiny_checkpoint)).eval()
    sharpened(model.hf)
    card = Card({"name": "bert"}, "classification", ("a", "b"), 2, len(vocab.tokens), True, 64, "tiny")
    return Live(Loaded(model, vocab, card, tiny_checkpoint, (0, 1)), "sharp")


def texts(n: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    made = [f"{' '.join(rng.choice(WORDS, rng.integers(1, 15)))} {i}" for i in range(n)]
    column = pa.chunked_array([pa.array(made, pa.string())])
    return pa.table({"id": row_ids(column), "text_a": column, "text_b": pa.nulls(n, pa.string())})


def kept(teacher: Live, folder: Path, shard: int = 32) -> Cache:
    return Cache(Store(folder), teacher.fingerprint, lambda: teacher, 2, {}, shard)


NAMES = ("logits", "cls", "boundaries", "hidden_0", "hidden_2", "attention_1", "saliency", "gradient")


def test_no_student_can_tell_stored_from_live(teacher, tmp_path):
    rows = texts(80)
    stored, shape = kept(teacher, tmp_path).ask_all(NAMES, rows["id"], [rows]), teacher.model.shape
    prepared, cpu = teacher.prepare(rows), torch.device("cpu")
    some = NAMES[:3]
    ways = [Said(80, shape, stored), Said(80, shape, {}, (teacher, prepared, NAMES)),
            Said(80, shape, {name: stored[name] for name in some}, (teacher, prepared, NAMES[3:]))]
    assert len({way.parts for way in ways}) == 1 and all(len(way) == 80 for way in ways)
    lengths = prepared.segments[0].lengths
    for rows_of_batch in np.array_split(np.random.default_rng(2).permutation(80), 7):
        first, *others = (way(rows_of_batch, cpu) for way in ways)
        assert first.mask.sum(1).tolist() == lengths[rows_of_batch].tolist()
        for other in others:
            for part in ("logits", "mask", "saliency", "gradient"):
                alike(getattr(other, part), getattr(first, part))
            for part in ("cls", "boundaries", "hidden", "attention"):
                assert getattr(other, part).keys() == getattr(first, part).keys()
                for layer, values in getattr(first, part).items():
                    alike(getattr(other, part)[layer], values)


def alike(found: torch.Tensor, right: torch.Tensor) -> None:
    assert found.dtype == right.dtype and found.shape == right.shape
    if right.dtype == torch.bool:
        assert (found != right).float().mean() < 1e-3
    else:
        torch.testing.assert_close(found, right, rtol=2**-10, atol=1e-5)  # one step of float16


def test_outputs_have_the_shapes_that_objectives_read(teacher, tmp_path):
    rows = texts(6)
    stored = kept(teacher, tmp_path).ask_all(NAMES, rows["id"], [rows])
    out = Said(6, teacher.model.shape, stored)(np.arange(6), torch.device("cpu"))
    n = int(teacher.prepare(rows).segments[0].lengths.max())
    assert out.logits.shape == (6, 2) and out.mask.shape == (6, n)
    assert {i: tuple(s.shape) for i, s in out.cls.items()} == {1: (6, 32), 2: (6, 32)}
    assert {i: tuple(s.shape) for i, s in out.boundaries.items()} == {1: (6, 64), 2: (6, 64)}
    assert {i: tuple(s.shape) for i, s in out.hidden.items()} == {0: (6, n, 32), 2: (6, n, 32)}
    assert {i: tuple(s.shape) for i, s in out.attention.items()} == {1: (6, 2, n, n)}
    assert out.saliency.shape == (6, n) and out.gradient.shape == (6, n, 32)
    for values in (out.hidden[0], out.hidden[2], out.gradient, out.saliency[..., None]):
        assert not values[~out.mask].any()


@pytest.mark.parametrize("name", ["cls", "hidden_2"])
def test_what_float16_cannot_hold_is_refused_by_name(teacher, tmp_path, name):
    """The last norm's weights are scaled until the largest states of some rows, and not of all, pass 65,504."""
    rows, norm = texts(40), teacher.model.hf.bert.encoder.layer[-1].output.LayerNorm.weight
    before, exact = norm.detach().clone(), f"{name}_fp32"
    values = teacher.compute([exact], teacher.prepare(rows))[exact]
    last = slice(32, None) if name == "cls" else slice(None)  # layer 2 of the 2 x 32
    largest = np.array([np.abs(values[i][last]).max() for i in range(40)])
    try:
        with torch.no_grad():
            norm *= 65_504 / np.median(largest)
        values = teacher.compute([exact], teacher.prepare(rows))[exact]
        many = sum(np.abs(values[i]).max() > 65_519 for i in range(40))
        assert 5 < many < 35
        with pytest.raises(UserError) as caught:
            kept(teacher, tmp_path).ask(name, rows)
        said, = caught.value.faults
        assert f"the teacher's {name} are NaN or infinite for" in said and "nothing of this shard was stored" in said
        assert 'beyond 65,504, the most that float16 holds: states = "fp32" keeps them in float32' in said
        assert not list(tmp_path.rglob("*.parquet"))
        whole = kept(teacher, tmp_path, shard=40)
        with pytest.raises(UserError, match=f"infinite for {many} rows"):
            whole.ask(name, rows)
        again = whole.ask(exact, rows)
        assert all(np.array_equal(again[i], values[i]) for i in range(40))
    finally:
        with torch.no_grad():
            norm.copy_(before)


def test_logits_that_are_not_finite_say_nothing_of_float16(teacher, tmp_path):
    weight = teacher.model.hf.classifier.weight
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[0, 0] = float("nan")
        with pytest.raises(UserError, match="the teacher's logits are NaN or infinite for 3 rows") as caught:
            kept(teacher, tmp_path).ask("logits", texts(3))
        assert "float16" not in str(caught.value)
    finally:
        with torch.no_grad():
            weight.copy_(before)


def test_bytes_on_disk_are_those_of_the_formula(teacher, tmp_path):
    """2,000 rows: logits 8 + 16 bytes each, CLS of 2 x 32 in float16 128 + 16; 16 are the row's id."""
    rows, cache = texts(2_000), kept(teacher, tmp_path, shard=2_048)
    cache.fill(("logits", "cls"), [rows])
    parts = list(tmp_path.rglob("*.parquet"))
    assert len(parts) == 2
    expected = sum(signal(name).bytes(teacher.model.shape) + 16 for name in ("logits", "cls"))
    assert expected == 8 + 16 + 128 + 16
    assert sum(p.stat().st_size for p in parts) == pytest.approx(2_000 * expected, rel=0.1)


def test_bytes_of_ragged_signals_grow_with_the_rows_own_lengths(teacher, tmp_path):
    rows, cache, names = texts(1_000), kept(teacher, tmp_path, shard=1_000), ("hidden_1", "attention_2")
    cache.fill(names, [rows])
    lengths = teacher.prepare(rows).segments[0].lengths.astype(float)
    for name in names:
        folder = Path(cache.store.signals(cache.fingerprint, name))
        expected = signal(name).bytes(teacher.model.shape, lengths.mean(), (lengths**2).mean()) + 16 + 8  # id, offset
        assert sum(p.stat().st_size for p in folder.glob("*.parquet")) == pytest.approx(1_000 * expected, rel=0.1)


def test_rounding_is_measured_where_states_are_rounded(teacher):
    fresh = Live(teacher.loaded, "again")
    fresh.compute(["logits", "cls", "hidden_1", "cls_fp32", "boundaries"], fresh.prepare(texts(5)))
    assert set(fresh.rounding) == {"cls", "hidden_1"}
    for found in fresh.rounding.values():
        assert 0 < found.mean <= found.largest < 2**-10 * found.of
