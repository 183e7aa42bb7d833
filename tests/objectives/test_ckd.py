"""CombinatorialKD by hand."""

import pytest
import torch
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.ckd import CombinatorialKD
from kdpipe.types import Outputs, Shape


def shape(layers, width=1):
    return Shape(layers, width, width, 2, frozenset())


def bound(student, teacher, *args):
    objective = CombinatorialKD(*args)
    objective.bind(student, teacher)
    return objective


def test_the_student_is_projected_up_to_all_layers_of_its_bucket():
    """W = [1, 2], b = [0, 1], h_S = 3: [3, 7] beside the teacher's [1, 4]: (4 + 9) / 2."""
    objective = bound(shape(1), shape(2))
    with torch.no_grad():
        objective.maps["1"].weight.copy_(torch.tensor([[1.0], [2.0]]))
        objective.maps["1"].bias.copy_(torch.tensor([0.0, 1.0]))
    student = Outputs(None, {1: torch.tensor([[3.0]])})
    teacher = Outputs(None, {1: torch.tensor([[1.0]]), 2: torch.tensor([[4.0]])})
    assert_close(objective(student, teacher, None, 0.0), torch.tensor([6.5]))


def test_layers_of_the_student_are_summed():
    objective = bound(shape(2), shape(2))
    with torch.no_grad():
        for p in objective.parameters():
            p.zero_()
    states = Outputs(None, {1: torch.tensor([[2.0]]), 2: torch.tensor([[3.0]])})
    assert_close(objective(states, states, None, 0.0), torch.tensor([4.0 + 9.0]))


@pytest.mark.parametrize("buckets, expected", [
    ("no", [[1, 2, 3], [4, 5, 6]]), ("po", [[1, 2, 3, 4], [3, 4, 5, 6]]),
    ([[1, 2], [5, 6]], [[1, 2], [5, 6]]), ([[1, 3], [4, 6]], [[1, 3], [4, 6]]),
    ([[1, 3, 5], [2, 4, 6]], [[1, 3, 5], [2, 4, 6]])])
def test_the_papers_combinations_of_6_layers_for_2(buckets, expected):
    """Each map is of the student's width 4 to that of its layers together, with a bias, equal widths or not."""
    objective = bound(shape(2, 4), shape(6, 4), buckets)
    assert objective.buckets == tuple((m, tuple(b)) for m, b in enumerate(expected, start=1))
    assert {name: tuple(p.shape) for name, p in objective.named_parameters()} == {
        f"maps.{m}.{what}": size for m, b in enumerate(expected, start=1)
        for what, size in (("weight", (4 * len(b), 4)), ("bias", (4 * len(b),)))}


def test_every_fault_of_buckets_is_said():
    with pytest.raises(UserError) as refused:
        bound(shape(1), shape(2), [[0, 1, 1], [3]])
    here = "ckd: buckets = [[0, 1, 1], [3]]: "
    assert refused.value.faults == (
        here + "the student has no layer 2; it has 1", here + "the teacher has no layer 0, 3; it has 1 to 2",
        here + "the teacher's layer 1 is 2 times in the bucket of the student's layer 1")


def test_other_values_are_refused():
    with pytest.raises(UserError, match="ckd: buckets = 'all'; allowed: no, po"):
        CombinatorialKD("all")
