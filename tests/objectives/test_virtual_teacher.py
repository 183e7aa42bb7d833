"""VirtualTeacher by hand and beside label smoothing."""

import math

import pytest
import torch
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.hard import Hard
from kdpipe.objectives.virtual_teacher import VirtualTeacher
from kdpipe.types import Batch, Outputs


def batch(labels, has_label):
    return Batch((), torch.tensor(labels), torch.tensor(has_label), torch.arange(len(labels)))


def test_divergence_from_the_teacher_made_by_hand():
    """c = 1, tau = 1 / ln 3: softmax([0, ln 3]) = [1/4, 3/4] against [1/2, 1/2]; the second row has no label."""
    student = Outputs(torch.tensor([[0.0, 0.0], [1.0, 5.0]]))
    found = VirtualTeacher(c=1, tau=1 / math.log(3))(student, None, batch([1.0, 0.0], [True, False]), 0.0)
    assert_close(found, torch.tensor([0.75 * math.log(1.5) + 0.25 * math.log(0.5), 0.0]))


def test_two_classes_are_almost_even():
    """softmax([0.99, 0.01] / 20) = [0.51225, 0.48775], so a student that says this pays nothing."""
    said = torch.tensor([[0.51225, 0.48775]]).log()
    assert VirtualTeacher()(Outputs(said), None, batch([0.0], [True]), 0.0) < 1e-7


def test_it_is_label_smoothing_less_a_constant():
    """Its target is even over the wrong classes, w each: eps = C w, and the constant is the target's entropy."""
    draw = torch.Generator().manual_seed(0)
    student = Outputs(torch.randn(3, 4, generator=draw, dtype=torch.float64))
    rows = batch([0.0, 2.0, 3.0], [True, True, True])
    target = (torch.tensor([0.91, 0.03, 0.03, 0.03], dtype=torch.float64) / 0.3).softmax(0)
    smoothed = Hard(label_smoothing=4 * float(target[1]))(student, None, rows, 0.0)
    found = VirtualTeacher(c=0.91, tau=0.3)(student, None, rows, 0.0)
    assert_close(found, smoothed + (target * target.log()).sum())


def test_a_row_without_label_gets_no_gradient():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    VirtualTeacher()(Outputs(logits), None, batch([0.0, math.nan], [True, False]), 0.0).sum().backward()
    assert logits.grad[0].any() and not logits.grad[1].any()


def test_it_needs_no_teacher():
    assert VirtualTeacher().needs == frozenset() and VirtualTeacher.kinds == {"classification"}


def test_every_wrong_value_is_named():
    with pytest.raises(UserError) as said:
        VirtualTeacher(c=0.4, tau=0)
    assert said.value.faults == ("virtual_teacher: c = 0.4; allowed: a number from 0.5 to 1",
                                 "virtual_teacher: tau = 0; allowed: a number above 0")
