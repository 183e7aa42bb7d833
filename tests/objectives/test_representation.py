"""Representation by hand."""

import math

import torch
from torch.testing import assert_close

from kdpipe.objectives.representation import Representation
from kdpipe.types import Outputs, Shape


def bound(student, teacher):
    objective = Representation()
    objective.bind(Shape(1, student, student, 2, frozenset()), Shape(3, teacher, teacher, 2, frozenset()))
    return objective


def test_half_the_squared_distance_after_gelu():
    """W = [1, 0], b = [0, 2], z_S = 1: gelu(1) = 0.8413 and gelu(2) = 2 * 0.9772, against [0, 1]."""
    objective = bound(1, 2)
    with torch.no_grad():
        objective.map.weight.copy_(torch.tensor([[1.0], [0.0]]))
        objective.map.bias.copy_(torch.tensor([0.0, 2.0]))
    student = Outputs(None, cls={1: torch.tensor([[1.0]])})
    teacher = Outputs(None, cls={1: torch.tensor([[9.0, 9.0]]), 3: torch.tensor([[0.0, 1.0]])})
    gelu = [x * (1 + math.erf(x / 2**0.5)) / 2 for x in (1, 2)]
    expected = (gelu[0]**2 + (gelu[1] - 1)**2) / 2
    assert_close(objective(student, teacher, None, 0.0), torch.tensor([expected]))


def test_the_map_is_learned_whatever_the_widths():
    for student, teacher in ((4, 4), (2, 5)):
        assert {name: tuple(p.shape) for name, p in bound(student, teacher).named_parameters()} == {
            "map.weight": (teacher, student), "map.bias": (teacher,)}
