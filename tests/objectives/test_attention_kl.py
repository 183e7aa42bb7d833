"""AttentionKL by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.attention_kl import AttentionKL
from kdpipe.types import Outputs, Shape

MASK = torch.tensor([[True, True, False]])


def shape(layers, heads=1):
    return Shape(layers, 4, 4, 2, frozenset(), heads)


def bound(student, teacher, **kwargs):
    objective = AttentionKL(**kwargs)
    objective.bind(student, teacher)
    return objective


def side(*layers, mask=MASK):
    """One head's scores [N, N] of layers 1, 2, ..."""
    return Outputs(None, attention={i: torch.tensor([[scores]]) for i, scores in enumerate(layers, start=1)}, mask=mask)


FLAT = [[0.0] * 3] * 3
STEEP = [[math.log(3), 0.0, 7.0], [5.0, 5.0, 7.0], [9.0, -9.0, 7.0]]
KL = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)  # of [3/4, 1/4] from [1/2, 1/2]


def test_the_divergence_of_each_row_from_the_teachers():
    """Over the two real keys: row 1 [3/4, 1/4] against [1/2, 1/2], row 2 the same on both sides; row 3 is padding."""
    assert_close(bound(shape(1), shape(1))(side(FLAT), side(STEEP), None, 0.0), torch.tensor([KL / 2]))


def test_the_teacher_comes_first():
    """KL([1/2, 1/2] || [3/4, 1/4]) = ln(4/3) / 2 when the sides change places."""
    found = bound(shape(1), shape(1))(side(STEEP), side(FLAT), None, 0.0)
    assert_close(found, torch.tensor([math.log(4 / 3) / 4]))


def test_heads_are_averaged():
    objective = bound(shape(1, 2), shape(1, 2))
    student, teacher = (Outputs(None, attention={1: torch.tensor([[FLAT, scores]])}, mask=MASK)
                        for scores in (FLAT, STEEP))
    assert_close(objective(student, teacher, None, 0.0), torch.tensor([KL / 4]))


def test_a_constant_added_to_a_row_does_not_count():
    shifted = [[x + 100 * i for x in row] for i, row in enumerate(STEEP)]
    assert_close(bound(shape(1), shape(1))(side(STEEP), side(shifted), None, 0.0), torch.tensor([0.0]))


def test_padded_keys_take_no_weight():
    """The mask is [1, 1, 0] or the text is two tokens long."""
    short = [[row[:2] for row in scores[:2]] for scores in (FLAT, STEEP)]
    mask = torch.tensor([[True, True]])
    objective = bound(shape(1), shape(1))
    assert_close(objective(side(FLAT), side(STEEP), None, 0.0),
                 objective(side(short[0], mask=mask), side(short[1], mask=mask), None, 0.0))


@pytest.mark.parametrize("schedule, seen", [
    ("all", [{1, 2, 3}] * 5), ("progressive", [{1}, {1}, {2}, {3}, {3}]),
    ("stacked", [{1}, {1}, {1, 2}, {1, 2, 3}, {1, 2, 3}])])
def test_which_layers_count_when(schedule, seen):
    """Thirds of the training at progress 0, 0.33, 0.34, 0.67 and 1; layer m of the student costs 10^m times KL / 2."""
    objective = bound(shape(3), shape(3), schedule=schedule)
    for progress, layers in zip((0.0, 0.33, 0.34, 0.67, 1.0), seen, strict=True):
        for m in (1, 2, 3):
            teacher = side(*(STEEP if m == i else FLAT for i in (1, 2, 3)))
            found = objective(side(FLAT, FLAT, FLAT), teacher, None, progress)
            assert_close(found, torch.tensor([KL / 2 if m in layers else 0.0]))


def test_every_second_layer_of_12():
    objective = bound(shape(6), shape(12), schedule="progressive")
    assert objective.pairs == tuple((m, 2 * m) for m in range(1, 7))
    assert objective.layers == {"attention": (2, 4, 6, 8, 10, 12)}


def test_what_the_networks_do_not_allow_is_refused():
    with pytest.raises(UserError, match="attention_kl: the student has no attention heads, the teacher 1"):
        bound(shape(1, None), shape(1))


def test_other_values_are_refused():
    with pytest.raises(UserError, match="schedule = 'pid'; allowed: all, progressive, stacked"):
        AttentionKL(schedule="pid")
