"""Objectives on the inside beside TextBrewer's losses (0.2.1.post1).

TextBrewer averages over all real tokens of a batch; kdpipe over each text's, so that a text's loss does not depend on
the others. On one text, padded or not, the two are the same numbers unless a test says how they depart.
"""

import pytest
import torch
from torch.testing import assert_close

from kdpipe.objectives.attention_kl import AttentionKL
from kdpipe.objectives.attention_mse import AttentionMSE
from kdpipe.objectives.cosine import CosineState
from kdpipe.objectives.hidden_mse import HiddenMSE
from kdpipe.objectives.nst import NST
from kdpipe.objectives.pkd import PatientKD
from kdpipe.types import Outputs, Shape

B, A, N, H = 3, 2, 6, 8
SHAPE = Shape(1, H, H, 2, frozenset(), A)
FULL = torch.ones(B, N, dtype=torch.bool)
PADDED = torch.arange(N) < torch.tensor([6, 2, 4])[:, None]


@pytest.fixture
def reference(textbrewer_losses):
    return textbrewer_losses


def sides(mask, seed=0):
    draw = torch.Generator().manual_seed(seed)

    def normal(*size):
        return torch.randn(*size, generator=draw, dtype=torch.float64)

    return [Outputs(None, {1: normal(B, H)}, {1: normal(B, N, H)}, {1: normal(B, A, N, N)}, mask) for _ in range(2)]


def ours(objective, student, teacher):
    objective.bind(SHAPE, SHAPE)
    return objective(student, teacher, None, 0.0)


def each_text(loss, part, student, teacher):
    """A reference loss of every text by itself, with its mask [B]."""
    layers = [getattr(side, part)[1] for side in (student, teacher)]
    return torch.stack([loss(*(layer[i:i + 1] for layer in layers), mask=student.mask[i:i + 1]) for i in range(B)])


def test_hidden_states(reference):
    student, teacher = sides(PADDED)
    expected = each_text(reference.hid_mse_loss, "hidden", student, teacher)
    assert_close(ours(HiddenMSE(layers=[[1, 1]]), student, teacher), expected, rtol=0, atol=1e-6)


def test_hidden_states_over_a_batch(reference):
    """Equal without padding; with it the reference weighs longer texts more."""
    student, teacher = sides(FULL)
    found = ours(HiddenMSE(layers=[[1, 1]]), student, teacher)
    for mask in (FULL, None):
        expected = reference.hid_mse_loss(student.hidden[1], teacher.hidden[1], mask)
        assert_close(found.mean(), expected, rtol=0, atol=1e-6)
    student, teacher = sides(PADDED)
    found, n = ours(HiddenMSE(layers=[[1, 1]]), student, teacher), PADDED.sum(1)
    expected = reference.hid_mse_loss(student.hidden[1], teacher.hidden[1], PADDED)
    assert_close((found * n).sum() / n.sum(), expected, rtol=0, atol=1e-6)
    assert abs(found.mean() - expected) > 1e-3


def test_hidden_states_over_padding_too(reference):
    """Without its mask the reference is TinyBERT's code."""
    student, teacher = sides(PADDED)
    found = ours(HiddenMSE(layers=[[1, 1]], tinybert_compat=True), student, teacher)
    assert_close(found.mean(), reference.hid_mse_loss(student.hidden[1], teacher.hidden[1]), rtol=0, atol=1e-6)


def test_attention_scores(reference):
    student, teacher = sides(PADDED)
    expected = each_text(reference.att_mse_loss, "attention", student, teacher)
    assert_close(ours(AttentionMSE(), student, teacher), expected, rtol=0, atol=1e-6)


def test_attention_scores_without_a_mask(reference):
    """Without one the reference takes every score of -0.001 or less for a masked one and sets it to 0."""
    student, teacher = sides(FULL)
    found = ours(AttentionMSE(), student, teacher).mean()
    expected = reference.att_mse_loss(student.attention[1], teacher.attention[1])
    assert abs(found - expected) > 0.1
    cut = [Outputs(None, attention={1: torch.where(side.attention[1] > -1e-3, side.attention[1], 0)}, mask=FULL)
           for side in (student, teacher)]
    assert_close(ours(AttentionMSE(), *cut).mean(), expected, rtol=0, atol=1e-6)


def test_attention_distributions(reference):
    """The reference's is a cross-entropy: the divergence and the teacher's own entropy."""
    student, teacher = sides(FULL)
    own = teacher.attention[1].softmax(-1)
    entropy = -(own * own.log()).sum(-1).mean((1, 2))
    expected = each_text(reference.att_ce_loss, "attention", student, teacher) - entropy
    assert_close(ours(AttentionKL(), student, teacher), expected, rtol=0, atol=1e-6)


def test_attention_distributions_of_padded_texts(reference):
    """There its softmax runs over padded keys too, and their part of the sum is left out: it is no divergence."""
    student, teacher = sides(PADDED)
    found = ours(AttentionKL(), student, teacher)
    assert_close(ours(AttentionKL(), teacher, teacher), torch.zeros(B, dtype=torch.float64))
    own = teacher.attention[1].masked_fill(~PADDED[:, None, None, :], -torch.inf).softmax(-1)
    rows = -torch.xlogy(own, own).sum(-1).mean(1)
    entropy = torch.stack([rows[i, :n].mean() for i, n in enumerate(PADDED.sum(1))])
    departs = each_text(reference.att_ce_loss, "attention", student, teacher) - entropy - found
    assert_close(departs[0], torch.zeros((), dtype=torch.float64), rtol=0, atol=1e-6)
    assert (departs[1:].abs() > 1e-2).all()


@pytest.mark.parametrize("mask", [FULL, PADDED])
def test_cosine(reference, mask):
    student, teacher = sides(mask)
    expected = each_text(reference.cos_loss, "hidden", student, teacher)
    assert_close(ours(CosineState(), student, teacher), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mask", [FULL, None])
def test_selectivity_of_units(reference, mask):
    """TextBrewer's "nst" does not divide a unit's pattern by its norm, and takes the mean of n² numbers, not the sum.

    With its mask it divides the Gram matrix by the padded length, not by the width.
    """
    student, teacher = sides(FULL)
    found = ours(NST(), student, teacher).mean()
    units = [[side.hidden[1] / side.hidden[1].norm(dim=1, keepdim=True)] * 2 for side in (student, teacher)]
    factor = N**2 if mask is None else N**2 * (N / H)**2
    assert_close(found, factor * reference.mmd_loss(*units, mask), rtol=0, atol=1e-6)
    plain = factor * reference.mmd_loss(*([side.hidden[1]] * 2 for side in (student, teacher)), mask)
    assert abs(found - plain) > 0.1


def test_patience(reference):
    student, teacher = sides(FULL)
    expected = reference.pkd_loss(student.cls[1], teacher.cls[1])
    assert_close(ours(PatientKD(layers=[1]), student, teacher).mean(), expected, rtol=0, atol=1e-6)
