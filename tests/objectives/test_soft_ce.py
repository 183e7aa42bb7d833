"""SoftCrossEntropy by hand and beside its kin."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.kd import HintonKD
from kdpipe.objectives.soft_ce import SoftCrossEntropy
from kdpipe.types import Outputs

STUDENT, TEACHER = Outputs(torch.tensor([[0.0, math.log(3)]])), Outputs(torch.tensor([[math.log(3), 0.0]]))


def sides():
    draw = torch.Generator().manual_seed(0)
    return [Outputs(torch.randn(5, 4, generator=draw, dtype=torch.float64)) for _ in range(2)]


def test_cross_entropy_of_two_distributions():
    """The teacher says [3/4, 1/4], the student [1/4, 3/4]: 3/4 ln 4 + 1/4 ln 4/3; half of it as a mean over C = 2."""
    by_hand = 0.75 * math.log(4) + 0.25 * math.log(4 / 3)
    assert_close(SoftCrossEntropy()(STUDENT, TEACHER, None, 0.0), torch.tensor([by_hand]))
    assert_close(SoftCrossEntropy(reduction="mean_c")(STUDENT, TEACHER, None, 0.0), torch.tensor([by_hand / 2]))


def test_both_sides_are_tempered():
    """Twice the logits at t = 2 are the same distributions."""
    twice = [Outputs(2 * side.logits) for side in (STUDENT, TEACHER)]
    assert_close(SoftCrossEntropy(2)(*twice, None, 0.0), SoftCrossEntropy()(STUDENT, TEACHER, None, 0.0))


@pytest.mark.parametrize("t", [1.0, 3.0])
def test_less_the_divergence_it_is_the_teachers_entropy(t):
    student, teacher = sides()
    p = F.softmax(teacher.logits / t, -1)
    divergence = HintonKD(t, t_squared=False)(student, teacher, None, 0.0)
    rest = SoftCrossEntropy(t)(student, teacher, None, 0.0) - divergence
    assert_close(rest, -(p * p.log()).sum(-1))


def test_a_certain_teacher_is_a_gold_label():
    student, _ = sides()
    gold = torch.tensor([0, 3, 1, 2, 2])
    certain = Outputs(1e3 * F.one_hot(gold, 4).double())
    found = SoftCrossEntropy()(student, certain, None, 0.0)
    assert_close(found, F.cross_entropy(student.logits, gold, reduction="none"))


def test_every_wrong_value_is_named():
    with pytest.raises(UserError) as said:
        SoftCrossEntropy(temperature=float("nan"), reduction="mean")
    assert said.value.faults == ("soft_ce: temperature = nan; allowed: a number above 0",
                                 "soft_ce: reduction = 'mean'; did you mean 'mean_c'?")
