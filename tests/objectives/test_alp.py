"""ALPKD by hand."""

import math

import pytest
import torch
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.alp import ALPKD
from kdpipe.types import Outputs, Shape

TEACHER = Outputs(None, {1: torch.tensor([[2.0, 0.0]]), 2: torch.tensor([[0.0, 2.0]])})


def shape(layers, width=2):
    return Shape(layers, width, width, 2, frozenset())


def bound(student, teacher, *args, **kwargs):
    objective = ALPKD(*args, **kwargs)
    objective.bind(student, teacher)
    return objective


def student(*states):
    return Outputs(None, {m: torch.tensor([state]) for m, state in enumerate(states, start=1)})


@pytest.mark.parametrize("scale, odds", [("none", 3.0), ("sqrt_d", 3**(1 / math.sqrt(2))), ("cosine", math.e)])
def test_the_students_state_weighs_the_teachers_layers(scale, odds):
    """h_S = [ln 3 / 2, 0]: its products with [2, 0] and [0, 2] are ln 3 and 0, so the first layer weighs 3 to 1.

    Divided by sqrt(2), 3^(1 / sqrt(2)) to 1; the cosines are 1 and 0.
    """
    h, first = math.log(3) / 2, odds / (odds + 1)
    found = bound(shape(1), shape(2), scale=scale)(student([h, 0.0]), TEACHER, None, 0.0)
    assert_close(found, torch.tensor([((h - 2 * first)**2 + (2 * (1 - first))**2) / 2]))


def test_a_bucket_of_one_layer_is_regression_of_that_layer():
    """([3, 4] - [0, 2])² = 9 + 4 over two numbers, and ([1, 1] - [2, 0])² = 1 + 1 over two: summed over layers."""
    objective = bound(shape(2), shape(2), buckets=[[2], [1]])
    assert_close(objective(student([3.0, 4.0], [1.0, 1.0]), TEACHER, None, 0.0), torch.tensor([6.5 + 1.0]))


def test_equal_layers_of_the_teacher_cost_nothing_when_they_are_met():
    same = Outputs(None, {t: torch.tensor([[1.0, 2.0]]) for t in (1, 2, 3)})
    assert_close(bound(shape(1), shape(3))(student([1.0, 2.0]), same, None, 0.0), torch.tensor([0.0]))


def test_large_states_do_not_overflow():
    huge = Outputs(None, {t: 1e4 * h for t, h in TEACHER.cls.items()})
    found = bound(shape(1), shape(2), scale="none")(student([1e4, 0.0]), huge, None, 0.0)
    assert_close(found, torch.tensor([1e8 / 2]))  # all weight on [2e4, 0]


@pytest.mark.parametrize("layers, word, buckets", [
    ((4, 12), "no", ((1, 2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12))),
    ((2, 5), "no", ((1, 2, 3), (4, 5))),
    ((4, 12), "po", ((1, 2, 3, 4), (3, 4, 5, 6, 7), (6, 7, 8, 9, 10), (9, 10, 11, 12))),
    ((2, 3), "all", ((1, 2, 3), (1, 2, 3)))])
def test_buckets_by_word(layers, word, buckets):
    objective = bound(*map(shape, layers), buckets=word)
    assert objective.buckets == tuple(enumerate(buckets, start=1))


def test_without_a_gradient_through_the_weights_they_are_constants():
    """Then the gradient is 2 (h_S - C) / H."""
    h = torch.tensor([[0.5, 0.1]], requires_grad=True)
    objective = bound(shape(1), shape(2), detach_alpha=True)
    alpha = objective.alpha(h, torch.stack([TEACHER.cls[1], TEACHER.cls[2]], 1)).detach()
    objective(Outputs(None, {1: h}), TEACHER, None, 0.0).sum().backward()
    assert_close(h.grad, h.detach() - 2 * alpha)


def test_a_wider_teacher_is_met_by_a_learned_map():
    objective = bound(shape(2, 2), shape(4, 5))
    assert {name: tuple(p.shape) for name, p in objective.named_parameters()} == {
        "maps.1.weight": (5, 2), "maps.2.weight": (5, 2)}


def test_every_fault_of_buckets_is_said():
    with pytest.raises(UserError) as refused:
        bound(shape(2, 2), shape(4, 3), buckets=[[1, 5], [2, 2], [3]], project=False)
    here = "alp: buckets = [[1, 5], [2, 2], [3]]: "
    assert refused.value.faults == (
        here + "the student has no layer 3; it has 1 to 2", here + "the teacher has no layer 5; it has 1 to 4",
        here + "the teacher's layer 2 is 2 times in the bucket of the student's layer 2",
        "alp: the student's states have 2 numbers, the teacher's 3; take a student of this width, or project = true")


@pytest.mark.parametrize("word", ["no", "po"])
def test_too_few_layers_for_buckets_are_refused(word):
    with pytest.raises(UserError, match="the teacher's 2 layers are too few for a student of 3; name them"):
        bound(shape(3), shape(2), buckets=word)


@pytest.mark.parametrize("buckets", [[], [[]], [1, 2], [[1], 2], [["1"]], 3])
def test_what_cannot_be_buckets_is_refused(buckets):
    with pytest.raises(UserError, match=r"alp: buckets = .*; allowed: 'all', 'no', 'po', or the teacher's layers for"):
        ALPKD(buckets)


def test_other_values_are_refused():
    with pytest.raises(UserError, match="buckets = 'none'; did you mean 'no'"):
        ALPKD("none")
    with pytest.raises(UserError, match="scale = 'sqrt'; did you mean 'sqrt_d'"):
        ALPKD(scale="sqrt")
    with pytest.raises(UserError) as refused:
        ALPKD(detach_alpha="yes", project=0)
    assert refused.value.faults == ("alp: detach_alpha = 'yes'; allowed: true or false",
                                    "alp: project = 0; allowed: true or false")
