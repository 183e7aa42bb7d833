"""Hard by hand: classes, scores, rows without a label."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.hard import Hard
from kdpipe.types import Batch, Outputs

LABELLED = torch.tensor([True, False])


def batch(labels):
    return Batch((), torch.tensor(labels), LABELLED, torch.arange(2))


def test_cross_entropy_of_the_gold_class():
    """softmax([ln 3, 0]) = [3/4, 1/4], so class 1 costs ln 4; the second row has no label."""
    student = Outputs(torch.tensor([[math.log(3), 0.0], [5.0, -5.0]]))
    assert_close(Hard()(student, None, batch([1.0, 0.0]), 0.0), torch.tensor([math.log(4), 0.0]))


def test_the_teacher_stands_in_where_there_is_no_label():
    """The teacher's class 1 costs ln 4 in the second row; the first row's gold class 0 costs ln 4/3."""
    student = Outputs(torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]]))
    teacher = Outputs(torch.tensor([[0.0, 9.0], [0.0, 0.1]]))
    found = Hard(fallback="teacher")(student, teacher, batch([0.0, 0.0]), 0.0)
    assert_close(found, torch.tensor([math.log(4 / 3), math.log(4)]))


def test_smoothing_mixes_in_the_uniform_distribution():
    """eps = 0.2, C = 2: 0.9 of the gold class 1, 0.1 of class 0: 0.9 ln 4 + 0.1 ln 4/3."""
    student = Outputs(torch.tensor([[math.log(3), 0.0], [0.0, 0.0]]))
    found = Hard(label_smoothing=0.2)(student, None, batch([1.0, 0.0]), 0.0)
    assert_close(found, torch.tensor([0.9 * math.log(4) + 0.1 * math.log(4 / 3), 0.0]))


def test_smoothing_of_the_others_leaves_the_gold_class_its_share():
    """eps = 0.2, C = 2, all of it on the one wrong class: 0.8 ln 4 + 0.2 ln 4/3."""
    student = Outputs(torch.tensor([[math.log(3), 0.0], [0.0, 0.0]]))
    found = Hard(label_smoothing=0.2, spread="others")(student, None, batch([1.0, 0.0]), 0.0)
    assert_close(found, torch.tensor([0.8 * math.log(4) + 0.2 * math.log(4 / 3), 0.0]))


@pytest.mark.parametrize("spread, target", [
    ("uniform", [0.925, 0.025, 0.025, 0.025]), ("others", [0.9, 0.1 / 3, 0.1 / 3, 0.1 / 3])])
def test_smoothing_is_torchs_cross_entropy_with_the_smoothed_target(spread, target):
    """eps = 0.1, C = 4, gold class 0."""
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    found = Hard(label_smoothing=0.1, spread=spread)(Outputs(logits), None, batch([0.0, 0.0]), 0.0)
    assert_close(found[0], F.cross_entropy(logits[0], torch.tensor(target)))
    if spread == "uniform":
        assert_close(found[0], F.cross_entropy(logits[0], torch.tensor(0), label_smoothing=0.1))


def test_others_is_uniform_with_a_larger_share():
    """eps / (C - 1) on each wrong class is what the uniform mixture of eps C / (C - 1) puts there."""
    student = Outputs(torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))
    assert_close(Hard(label_smoothing=0.3, spread="others")(student, None, batch([2.0, 0.0]), 0.0),
                 Hard(label_smoothing=0.4)(student, None, batch([2.0, 0.0]), 0.0))


def test_squared_error_of_a_score():
    """(2.5 - 4)^2 = 2.25; with the teacher's 1.0 in the unlabelled row (3 - 1)^2 = 4."""
    student, teacher = Outputs(torch.tensor([[2.5], [3.0]])), Outputs(torch.tensor([[9.0], [1.0]]))
    assert_close(Hard()(student, None, batch([4.0, 0.0]), 0.0), torch.tensor([2.25, 0.0]))
    assert_close(Hard(fallback="teacher")(student, teacher, batch([4.0, 0.0]), 0.0), torch.tensor([2.25, 4.0]))


def test_a_row_without_label_gets_no_gradient():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    Hard()(Outputs(logits), None, batch([0.0, 0.0]), 0.0).sum().backward()
    assert logits.grad[0].any() and not logits.grad[1].any()


def test_it_needs_the_teacher_only_as_a_fallback():
    assert Hard().needs == frozenset() and Hard(fallback="teacher").needs == {"logits"}


def test_every_wrong_value_is_named():
    with pytest.raises(UserError) as said:
        Hard(fallback="techer", label_smoothing=2, spread="other")
    assert said.value.faults == (
        "hard: fallback = 'techer'; did you mean 'teacher'?",
        "hard: label_smoothing = 2; allowed: a number from 0 to 1",
        "hard: spread = 'other'; did you mean 'others'?")
