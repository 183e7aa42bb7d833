"""AttentionMSE by hand."""

import pytest
import torch
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.attention_mse import AttentionMSE
from kdpipe.types import Outputs, Shape

MASK = torch.tensor([[True, True, False]])


def shape(layers, heads=2):
    return Shape(layers, 4, 4, 2, frozenset(), heads)


def bound(student, teacher, *args):
    objective = AttentionMSE(*args)
    objective.bind(student, teacher)
    return objective


def scores(*heads):
    return torch.tensor([heads])


def test_the_mean_over_heads_and_real_pairs_of_tokens():
    """Head 1 differs by 1 and 2 at two of four real pairs: 5 / 4; head 2 not at all; the mean is 5 / 8."""
    first = [[1.0, 0.0, 9.0], [0.0, -2.0, 9.0], [9.0, 9.0, 9.0]]
    student = Outputs(None, attention={1: scores(first, [[3.0] * 3] * 3)}, mask=MASK)
    teacher = Outputs(None, attention={2: scores([[0.0] * 3] * 3, [[3.0] * 3] * 3)}, mask=MASK)
    assert_close(bound(shape(1), shape(2))(student, teacher, None, 0.0), torch.tensor([5 / 8]))


def test_layers_are_summed_and_equal_scores_cost_nothing():
    ones = torch.ones(1, 2, 3, 3)
    student = Outputs(None, attention={1: ones, 2: 2 * ones}, mask=MASK)
    zero = Outputs(None, attention={1: 0 * ones, 2: 0 * ones}, mask=MASK)
    objective = bound(shape(2), shape(2))
    assert_close(objective(student, zero, None, 0.0), torch.tensor([1.0 + 4.0]))
    assert_close(objective(student, student, None, 0.0), torch.tensor([0.0]))


def test_a_constant_added_to_a_row_counts():
    """The softmax would not see it: the scores are those before it."""
    ones = torch.ones(1, 2, 3, 3)
    sides = [Outputs(None, attention={1: ones + c}, mask=MASK) for c in (0, 3)]
    assert_close(bound(shape(1), shape(1))(*sides, None, 0.0), torch.tensor([9.0]))


@pytest.mark.parametrize("student, expected", [(4, (3, 6, 9, 12)), (6, (2, 4, 6, 8, 10, 12))])
def test_tinyberts_layers(student, expected):
    objective = bound(shape(student), shape(12))
    assert objective.pairs == tuple(enumerate(expected, start=1)) and objective.layers == {"attention": expected}
    assert bound(shape(student), shape(12), [[2, 12], [1, 12]]).layers == {"attention": (12,)}


def test_what_the_networks_do_not_allow_is_refused():
    with pytest.raises(UserError) as refused:
        bound(shape(5, 3), shape(12))
    assert refused.value.faults == (
        "attention_mse: layers = 'uniform' maps no layers between a student of 5 and a teacher of 12 layers: 5 does "
        "not divide 12; name them, as in layers = [[1, 12]]",
        "attention_mse: the student has 3 attention heads, the teacher 2; their numbers must be equal")
    with pytest.raises(UserError, match="the student has no attention heads, the teacher 2"):
        bound(shape(1, None), shape(12))


def test_other_values_are_refused():
    with pytest.raises(UserError, match=r"layers = \[\]; allowed: 'uniform', the teacher's layers in order"):
        AttentionMSE([])
