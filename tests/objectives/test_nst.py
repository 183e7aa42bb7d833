"""NST by hand, and against the kernel's own sums over all pairs of units."""

import pytest
import torch
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.nst import NST
from kdpipe.types import Outputs, Shape

MASK = torch.tensor([[True, True, False]])


def shape(layers, width=2):
    return Shape(layers, width, width, 2, frozenset())


def bound(student, teacher, **kwargs):
    objective = NST(**kwargs)
    objective.bind(student, teacher)
    return objective


def side(states, layer=1, mask=MASK):
    return Outputs(None, hidden={layer: torch.as_tensor(states)}, mask=mask)


@pytest.mark.parametrize("kernel, expected", [("poly", 0.5 + 1 - 2 * 0.5), ("linear", 0.5 + 1 - 2 * 0.7)])
def test_one_unit_against_two(kernel, expected):
    """At the real tokens the student's unit is [3, 4] / 5 and the teacher's are [1, 0] and [0, 1].

    Among the teacher's four pairs the kernel is 1, 0, 0, 1; of the student's with itself 1; across 0.6 and 0.8, squared
    0.36 and 0.64.
    """
    student, teacher = side([[[3.0], [4.0], [100.0]]]), side([[[7.0, 0.0], [0.0, 3.0], [-50.0, 3.0]]])
    found = bound(shape(1, 1), shape(1, 2), kernel=kernel)(student, teacher, None, 0.0)
    assert_close(found, torch.tensor([expected]))


@pytest.mark.parametrize("kernel, power", [("poly", 2), ("linear", 1)])
def test_the_gram_matrices_say_what_all_pairs_of_units_say(kernel, power):
    draw = torch.Generator().manual_seed(0)
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    student, teacher = (torch.randn(2, 4, width, generator=draw, dtype=torch.float64) for width in (5, 7))
    objective = bound(shape(1, 5), shape(1, 7), kernel=kernel)
    found = objective(side(student, mask=mask), side(teacher, mask=mask), None, 0.0)
    for row, n in enumerate((4, 2)):
        f_S, f_T = (h[row, :n] / h[row, :n].norm(dim=0) for h in (student, teacher))
        means = [(x.T @ y).pow(power).mean() for x, y in ((f_T, f_T), (f_S, f_S), (f_T, f_S))]
        assert_close(found[row], means[0] + means[1] - 2 * means[2])


@pytest.mark.parametrize("kernel", ["poly", "linear"])
def test_the_same_units_in_another_order_and_length_cost_nothing(kernel):
    states = torch.tensor([[[1.0, 2.0], [3.0, -1.0], [0.0, 0.0]]])
    other = states.flip(-1) * torch.tensor([2.0, 5.0])
    assert_close(bound(shape(1), shape(1), kernel=kernel)(side(states), side(other), None, 0.0), torch.tensor([0.0]))


@pytest.mark.parametrize("kernel", ["poly", "linear"])
def test_a_silent_unit_gives_a_finite_gradient(kernel):
    states = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [0.0, 8.0]]], requires_grad=True)
    teacher = side([[[1.0, 2.0], [0.0, 1.0], [0.0, 0.0]]])
    found = bound(shape(1), shape(1), kernel=kernel)(side(states), teacher, None, 0.0)
    found.sum().backward()
    assert found.isfinite().all() and states.grad.isfinite().all() and states.grad.abs().max() < 10


def test_layers():
    assert bound(shape(3), shape(12)).layers == {"hidden": (12,)}
    assert bound(shape(3), shape(12), layers=[4, 8]).pairs == ((1, 4), (2, 8))


def test_pairs_of_layers_are_summed():
    """[1, 0] against [0, 1] costs 1 + 1 - 0 under either kernel, in both layers."""
    first, second = [[[1.0], [0.0], [0.0]]], [[[0.0], [1.0], [0.0]]]
    student, teacher = (Outputs(None, hidden={i: torch.tensor(h) for i in (1, 2)}, mask=MASK) for h in (first, second))
    assert_close(bound(shape(2, 1), shape(2, 1), layers=[1, 2])(student, teacher, None, 0.0), torch.tensor([4.0]))


def test_other_values_are_refused():
    with pytest.raises(UserError, match="kernel = 'gauss'; allowed: linear, poly"):
        NST("gauss")
    with pytest.raises(UserError, match="layers = 'uniform'; allowed: last"):
        NST(layers="uniform")
