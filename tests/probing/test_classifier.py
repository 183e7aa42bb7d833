"""The probing classifier against plain PyTorch and scikit-learn, and what makes its figures repeatable."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch.testing import assert_close

from kdpipe.probing.classifier import BATCH, GRIDS, Setting, _SideBySide, fit


@pytest.fixture(scope="module")
def digits():
    """Fixed features [1797, 64] of variance 1, and ten classes: 1,000 rows to learn from, 397 to choose by."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / x.std()).astype(np.float16), y[order]
    return (x[:1000], y[:1000]), (x[1000:1397], y[1000:1397]), (x[1397:], y[1397:])


@pytest.mark.parametrize("l2", [1e-3, 1e-2, 1e-1])
def test_the_linear_probe_agrees_with_scikit_learn(digits, l2):
    """Equal objectives: mean cross-entropy + l2 / 2 |w|^2 is scikit-learn's with C = 1 / (n l2). McNemar's test, exact,
    cannot tell the two apart on rows that neither saw, and they name the same class nearly always."""
    (x, y), (held, gold), (new, truth) = digits
    [probe] = fit(x[None], y, held[None], gold, 10, [Setting(0, 0.0, l2)])
    other = LogisticRegression(C=1 / (len(x) * l2), max_iter=2000).fit(x.astype(float), y)
    ours, theirs = probe(new), other.predict(new.astype(float))
    alone, others = int(((ours == truth) & (theirs != truth)).sum()), int(((ours != truth) & (theirs == truth)).sum())
    assert binomtest(alone, max(1, alone + others)).pvalue > 0.05
    assert abs((ours == truth).mean() - (theirs == truth).mean()) <= 0.02
    assert (ours == theirs).mean() > 0.95


def test_a_slice_is_the_network_that_pytorch_trains(digits):
    """Two epochs of Adam with weight decay on the same batches, begun with the same weights."""
    (x, y), _, _ = digits
    grid = [Setting(5, 0.0, 1e-3), Setting(5, 0.0, 1e-1)]
    side = _SideBySide(np.stack([x, x[::-1].copy()]), y, 10, grid, seed=3)
    w1, b1, w2, b2 = (w.detach().clone() for w in side.weights)
    plain = torch.nn.Sequential(torch.nn.Linear(64, 5), torch.nn.Sigmoid(), torch.nn.Linear(5, 10))
    with torch.no_grad():
        for target, value in zip(plain.parameters(), (w1[1, :, 5:].T, b1[1, 0, 5:], w2[3].T, b2[3, 0]), strict=True):
            target.copy_(value)
    adam, order = torch.optim.Adam(plain.parameters(), lr=1e-3, weight_decay=1e-1), side.random.clone_state()
    for _ in range(2):
        for rows in torch.randperm(len(y), generator=order).split(BATCH):
            adam.zero_grad()
            said = plain(torch.from_numpy(x[::-1].copy())[rows].float())
            torch.nn.functional.cross_entropy(said, torch.from_numpy(y)[rows]).backward()
            adam.step()
        side._epoch()
    w1, b1, w2, b2 = side.weights
    for value, wanted in zip((w1[1, :, 5:].T, b1[1, 0, 5:], w2[3].T, b2[3, 0]), plain.parameters(), strict=True):
        assert_close(value, wanted, rtol=1e-4, atol=1e-5)


def test_a_probe_does_not_depend_on_what_is_trained_beside(digits):
    """Layers that learn fast, slowly and nothing, so that some are left before others."""
    (x, y), (held, gold), (new, _) = digits
    noise = np.random.default_rng(1).standard_normal((1397, 64)).astype(np.float16)
    layers = [(x[:300], held), (noise[:300], noise[1000:]), ((x[:300] * 0.1), held * np.float16(0.1))]
    grid = [Setting(20, 0.0, 1e-4), Setting(20, 0.2, 1e-2)]
    together = fit(np.stack([a for a, _ in layers]), y[:300], np.stack([b for _, b in layers]), gold, 10, grid)
    for (a, b), probe in zip(layers, together, strict=True):
        [alone] = fit(a[None], y[:300], b[None], gold, 10, grid)
        assert (alone.setting, alone.epochs) == (probe.setting, probe.epochs)
        assert (alone(new) == probe(new)).mean() > 0.99
    assert together[1].accuracy < 0.3 < together[0].accuracy


def test_the_best_look_is_kept(digits):
    """What a probe says of the rows that it was chosen on is its recorded accuracy, of all layers and settings."""
    (x, y), (held, gold), _ = digits
    states = [np.stack([part, -part[:, ::-1]]) for part in (x[:200], held)]
    for grid in ([Setting(10, 0.1, 1e-3), Setting(30, 0.0, 1e-5)], GRIDS["linear"]):
        for g, probe in enumerate(fit(states[0], y[:200], states[1], gold, 10, grid)):
            assert probe.accuracy == pytest.approx((probe(states[1][g]) == gold).mean(), abs=1e-6)
            assert probe.epochs % 4 == 0 and 4 <= probe.epochs <= 200


def test_a_hidden_layer_reads_what_no_plane_separates():
    x = np.random.default_rng(0).uniform(-4, 4, (1, 1200, 2)).astype(np.float16)
    y = (x[0, :, 0] * x[0, :, 1] > 0).astype(int)
    found = {name: fit(x[:, :1000], y[:1000], x[:, 1000:], y[1000:], 2, GRIDS[name])[0].accuracy
             for name in ("quick", "linear")}
    assert found["linear"] < 0.7 < 0.9 < found["quick"]


def test_dropout_is_one_draw_for_all_and_keeps_the_mean():
    """Of settings with rates 0, 0.1, 0.2: the units that 0.1 drops are among those that 0.2 drops."""
    side = _SideBySide(np.zeros((1, 4, 3), np.float16), np.arange(4), 4, [Setting(500, p, 0) for p in (0, 0.1, 0.2)], 0)
    none, some, more = side._noise(64).view(64, 3, 500).unbind(1)
    assert (none == 1).all() and some.unique().tolist() == pytest.approx([0, 1 / 0.9])
    assert ((some == 0) <= (more == 0)).all() and (more == 0).float().mean() == pytest.approx(0.2, abs=0.02)
    assert more.mean() == pytest.approx(1, abs=0.02)


def test_the_full_grid_is_the_protocols():
    assert len(GRIDS["full"]) == 36 == len(set(GRIDS["full"]))
    assert {s.hidden for s in GRIDS["full"]} == {50, 100, 200} and set(GRIDS["quick"]) <= set(GRIDS["full"])


def test_states_in_half_precision_are_probed_as_well_as_in_single(digits):
    """On features with all their digits: accuracies are one sampling error apart at most."""
    spread = np.random.default_rng(2).standard_normal((64, 64)).astype(np.float32) / 8
    (x, y), (held, gold), (new, truth) = ((np.tanh(x.astype(np.float32) @ spread), y) for x, y in digits)
    right = []
    for kind in (np.float16, np.float32):
        [probe] = fit(x[None].astype(kind), y, held[None].astype(kind), gold, 10, GRIDS["linear"])
        right.append((probe(new.astype(kind)) == truth).mean())
    assert abs(right[0] - right[1]) <= np.sqrt(right[1] * (1 - right[1]) / len(truth))
