"""CosineState by hand."""

import pytest
import torch
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.cosine import CosineState
from kdpipe.types import Outputs, Shape

MASK = torch.tensor([[True, True, False]])
STUDENT = Outputs(None, cls={1: torch.tensor([[1.0, 0.0]]), 2: torch.tensor([[3.0, 4.0]])},
                  hidden={2: torch.tensor([[[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]])}, mask=MASK)
TEACHER = Outputs(None, cls={1: torch.tensor([[-2.0, 0.0]]), 2: torch.tensor([[0.0, 1.0]])},
                  hidden={2: torch.tensor([[[5.0, 0.0], [3.0, 4.0], [-1.0, -1.0]]])}, mask=MASK)


def shape(layers, width=2):
    return Shape(layers, width, width, 2, frozenset())


def bound(student, teacher, **kwargs):
    objective = CosineState(**kwargs)
    objective.bind(student, teacher)
    return objective


def test_the_mean_over_real_tokens_of_the_last_layer():
    """cos([1, 0], [5, 0]) = 1, cos([0, 2], [3, 4]) = 0.8: (0 + 0.2) / 2. The third token is padding."""
    assert_close(bound(shape(2), shape(2))(STUDENT, TEACHER, None, 0.0), torch.tensor([0.1]))


def test_the_state_of_the_text():
    """cos([3, 4], [0, 1]) = 0.8; opposite states of layer 1 cost 2."""
    assert_close(bound(shape(2), shape(2), on="cls")(STUDENT, TEACHER, None, 0.0), torch.tensor([0.2]))
    found = bound(shape(2), shape(2), on="cls", layers="uniform")(STUDENT, TEACHER, None, 0.0)
    assert_close(found, torch.tensor([2.2]))


@pytest.mark.parametrize("schedule, expected", [("all", (2.2, 2.2)), ("progressive", (2.0, 0.2)),
                                                ("stacked", (2.0, 2.2))])
def test_which_layers_count_when(schedule, expected):
    objective = bound(shape(2), shape(2), on="cls", layers="uniform", schedule=schedule)
    for progress, loss in zip((0.49, 0.5), expected, strict=True):
        assert_close(objective(STUDENT, TEACHER, None, progress), torch.tensor([loss]))


@pytest.mark.parametrize("on", ["tokens", "cls"])
def test_one_direction_costs_nothing_whatever_the_length(on):
    longer = Outputs(None, cls={i: 3 * t for i, t in STUDENT.cls.items()},
                     hidden={i: 3 * t for i, t in STUDENT.hidden.items()}, mask=MASK)
    assert_close(bound(shape(2), shape(2), on=on)(STUDENT, longer, None, 0.0), torch.tensor([0.0]))


def test_a_zero_state_costs_1_and_gives_a_finite_gradient():
    zero = torch.zeros(1, 2, requires_grad=True)
    found = bound(shape(2), shape(2), on="cls")(Outputs(None, cls={2: zero}), TEACHER, None, 0.0)
    found.sum().backward()
    assert_close(found, torch.tensor([1.0]))
    assert_close(zero.grad, torch.tensor([[0.0, -1.0]]))


def test_what_it_reads_follows_what_it_is_on():
    tokens, texts = bound(shape(2), shape(12)), bound(shape(2), shape(12), on="cls")
    assert tokens.needs == tokens.reads == {"hidden"} and tokens.aligned and tokens.layers == {"hidden": (12,)}
    assert texts.needs == texts.reads == {"cls"} and not texts.aligned and texts.layers == {}


def test_a_wider_teacher_is_met_by_a_learned_map_or_refused():
    assert [tuple(p.shape) for p in bound(shape(2), shape(2, 5)).parameters()] == [(5, 2)]
    with pytest.raises(UserError, match="cosine: the student's states have 2 numbers, the teacher's 5; take"):
        bound(shape(2), shape(2, 5), project=False)


def test_other_values_are_refused():
    with pytest.raises(UserError, match="on = 'token'; did you mean 'tokens'"):
        CosineState("token")
    with pytest.raises(UserError, match="layers = 'first'; allowed: last, uniform"):
        CosineState(layers="first")
    with pytest.raises(UserError, match="schedule = 'stack'; did you mean 'stacked'"):
        CosineState(schedule="stack")
