"""PatientKD by hand, and the paper's layer maps."""

import pytest
import torch
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.pkd import PatientKD
from kdpipe.types import Outputs, Shape

TEACHER = Outputs(None, {2: torch.tensor([[0.0, 2.0]]), 4: torch.tensor([[1.0, 0.0]])})
STUDENT = Outputs(None, {1: torch.tensor([[3.0, 4.0]]), 2: torch.tensor([[5.0, 5.0]])})


def shape(layers, width=2):
    return Shape(layers, width, width, 2, frozenset())


def bound(student, teacher, *args, **kwargs):
    objective = PatientKD(*args, **kwargs)
    objective.bind(student, teacher)
    return objective


def loss(**kwargs):
    return bound(shape(2), shape(4), **kwargs)(STUDENT, TEACHER, None, 0.0)


def test_squared_distance_of_unit_vectors():
    """[3, 4] / 5 - [0, 1] = [0.6, -0.2]: 0.36 + 0.04 = 0.4. The student's last layer does not count."""
    assert_close(loss(), torch.tensor([0.4]))


def test_without_norms_the_states_themselves_are_compared():
    """[3, 4] - [0, 2]: 9 + 4."""
    assert_close(loss(normalize=False), torch.tensor([13.0]))


def test_the_mean_of_the_papers_code_divides_by_layers_and_width():
    """Two layers of two numbers: layer 1 gives 13 as above, [5, 5] - [1, 0] gives 16 + 25 = 41."""
    found = loss(normalize=False, reduction="mean", layers=[2, 4])
    assert_close(found, torch.tensor([(13 + 41) / 4]))


@pytest.mark.parametrize("teacher, student, word, layers", [
    (12, 6, "skip", (2, 4, 6, 8, 10)), (12, 3, "skip", (4, 8)), (24, 6, "skip", (4, 8, 12, 16, 20)),
    (12, 6, "last", (7, 8, 9, 10, 11)), (12, 3, "last", (10, 11))])
def test_the_published_layer_maps(teacher, student, word, layers):
    assert bound(shape(student), shape(teacher), word).pairs == tuple(enumerate(layers, start=1))


def test_named_layers():
    assert bound(shape(6), shape(12), [3, 9]).pairs == ((1, 3), (2, 9))
    assert bound(shape(1), shape(12), [[1, 12]]).pairs == ((1, 12),)
    assert bound(shape(6), shape(12), [[5, 9], [2, 3]]).pairs == ((2, 3), (5, 9))


def test_equal_states_cost_nothing():
    assert_close(bound(shape(2), shape(2))(STUDENT, STUDENT, None, 0.0), torch.tensor([0.0]))


def test_the_length_of_a_state_does_not_count():
    longer = Outputs(None, {i: 7 * t for i, t in STUDENT.cls.items()})
    assert_close(bound(shape(2), shape(4))(longer, TEACHER, None, 0.0), torch.tensor([0.4]))


def test_a_zero_state_gives_a_finite_gradient():
    zero = torch.zeros(1, 2, requires_grad=True)
    bound(shape(2), shape(4))(Outputs(None, {1: zero}), TEACHER, None, 0.0).sum().backward()
    assert_close(zero.grad, torch.tensor([[0.0, -2.0]]))


def test_a_wider_teacher_is_met_by_a_learned_map():
    objective = bound(shape(2, 2), shape(4, 5))
    assert {name: tuple(p.shape) for name, p in objective.named_parameters()} == {"maps.1.weight": (5, 2)}


def test_a_narrower_student_is_refused_where_no_map_is_allowed():
    with pytest.raises(UserError, match="the student's states have 2 numbers, the teacher's 5; take a student of this"):
        bound(shape(2, 2), shape(4, 5), project=False)


def test_every_fault_of_two_networks_is_said():
    with pytest.raises(UserError) as refused:
        bound(shape(5, 2), shape(12, 3), project=False, layers=[2, 13])
    assert refused.value.faults == (
        "pkd: layers = [2, 13]: the teacher has no layer 13; it has 1 to 12",
        "pkd: the student's states have 2 numbers, the teacher's 3; take a student of this width, or project = true")


@pytest.mark.parametrize("student, why", [
    (5, "a student of 5 and a teacher of 12 layers: 5 does not divide 12; name them, as in layers = "),
    (1, "a student of 1 and a teacher of 12 layers; name them, as in layers = ")])
def test_a_word_that_finds_no_layers_is_refused(student, why):
    with pytest.raises(UserError, match=f"pkd: layers = 'skip' maps no layers between {why}"):
        bound(shape(student), shape(12))


def test_the_last_layers_of_a_shallow_teacher_are_refused():
    with pytest.raises(UserError, match="the teacher has no layer -1, 0; it has 1 to 2"):
        bound(shape(4), shape(2), "last")


def test_other_values_are_refused():
    with pytest.raises(UserError, match="layers = 'skpi'; did you mean 'skip'"):
        PatientKD("skpi")
    with pytest.raises(UserError, match="reduction = 'summ'; did you mean 'sum'"):
        PatientKD(reduction="summ")
    with pytest.raises(UserError, match="normalize = 1; allowed: true or false"):
        PatientKD(normalize=1)
