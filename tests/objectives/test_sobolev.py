"""Sobolev by hand on a linear model, and differentiated twice."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.sobolev import Sobolev
from kdpipe.types import Outputs, Shape

MASK = torch.tensor([[True, True, False]])
VECTORS = torch.tensor([[[1.0, 0.0], [3.0, 1.0], [9.0, 9.0]]])
WEIGHT = torch.tensor([[1.0, 2.0], [0.0, -1.0]])


def linear(weight=WEIGHT):
    """o_c = <w_c, e_1 + e_2>: the derivative by either vector is w_c."""
    vectors = VECTORS.clone().requires_grad_()
    return Outputs((vectors * MASK[:, :, None]).sum(1) @ weight.T, mask=MASK, vectors=vectors)


def shape(embedding):
    return Shape(2, 8, embedding, 2, frozenset())


def test_saliency_by_hand():
    """The teacher's class is 0, w = (1, 2): <w, e> = 1 and 5, the teacher says 0 and 3: (1² + 2²) / 2 tokens."""
    teacher = Outputs(torch.tensor([[5.0, 1.0]]), saliency=torch.tensor([[0.0, 3.0, 7.0]]))
    assert_close(Sobolev()(linear(), teacher, None, 0.0), torch.tensor([2.5]))


def test_gradient_by_hand():
    """w = (1, 2) against (1, 0) and (3, 2): (0 + 2²) + (2² + 0) over 2 tokens."""
    gradient = torch.tensor([[[1.0, 0.0], [3.0, 2.0], [7.0, 7.0]]])
    teacher = Outputs(torch.tensor([[5.0, 1.0]]), gradient=gradient)
    assert_close(Sobolev("gradient")(linear(), teacher, None, 0.0), torch.tensor([4.0]))


def test_the_direction_is_the_teachers_class_and_not_the_students():
    """Class 1: w = (0, -1), so <w, e> = 0 and -1; the student itself would take class 0."""
    teacher = Outputs(torch.tensor([[1.0, 5.0]]), saliency=torch.tensor([[0.0, -1.0, 7.0]]))
    assert linear().logits.argmax() == 0
    assert_close(Sobolev()(linear(), teacher, None, 0.0), torch.tensor([0.0]))


def test_of_a_score_the_derivative_is_that_of_the_score():
    teacher = Outputs(torch.tensor([[-4.0]]), saliency=torch.tensor([[1.0, 4.0, 7.0]]))
    assert_close(Sobolev()(linear(WEIGHT[:1]), teacher, None, 0.0), torch.tensor([0.5]))


@pytest.mark.parametrize("match", ["saliency", "gradient"])
def test_whatever_stands_in_padding_has_no_influence(match):
    draw = torch.Generator().manual_seed(0)
    said = torch.randn(*((1, 3, 2) if match == "gradient" else (1, 3)), generator=draw)

    def slope(padding):
        weight = WEIGHT.clone().requires_grad_()
        known = said.clone()
        known[:, 2] = padding
        loss = Sobolev(match)(linear(weight), Outputs(torch.tensor([[5.0, 1.0]]), **{match: known}), None, 0.0)
        loss.sum().backward()
        return loss.detach(), weight.grad

    for found, wanted in zip(slope(float("nan")), slope(0.0), strict=True):
        assert_close(found, wanted)


def student(vectors, inner, outer, mask):
    """A network whose derivatives depend on its weights and its input: tanh of each token, their sum, a classifier."""
    states = (vectors @ inner).tanh() * mask[:, :, None]
    return Outputs(states.sum(1).square() @ outer, mask=mask, vectors=vectors)


@pytest.mark.parametrize("match, C", [("saliency", 3), ("gradient", 3), ("saliency", 1), ("gradient", 1)])
def test_its_gradients_are_those_of_the_loss(match, C):
    """Second order: by the vectors and by every weight, against differences in float64."""
    draw = torch.Generator().manual_seed(C)

    def normal(*size):
        return torch.randn(*size, generator=draw, dtype=torch.float64)

    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    known = normal(2, 4, 3) if match == "gradient" else normal(2, 4)
    teacher = Outputs(normal(2, C), **{match: known})

    def loss(vectors, inner, outer):
        return Sobolev(match)(student(vectors, inner, outer, mask), teacher, None, 0.0)

    parts = [p.requires_grad_() for p in (normal(2, 4, 3), normal(3, 5), normal(5, C))]
    assert torch.autograd.gradcheck(loss, parts)
    assert all(g.any() for g in torch.autograd.grad(loss(*parts).sum(), parts))


def test_a_student_that_is_the_teacher_pays_nothing():
    draw = torch.Generator().manual_seed(0)
    vectors, inner, outer = (torch.randn(*size, generator=draw) for size in ((2, 4, 3), (3, 5), (5, 3)))
    mask = torch.ones(2, 4, dtype=torch.bool)
    said = student(vectors.requires_grad_(), inner, outer, mask)
    top = said.logits.gather(-1, said.logits.argmax(-1, keepdim=True)).sum()
    g, = torch.autograd.grad(top, vectors, retain_graph=True)
    teacher = Outputs(said.logits, gradient=g, saliency=(g * vectors).sum(-1))
    for match in ("saliency", "gradient"):
        assert_close(Sobolev(match)(said, teacher, None, 0.0), torch.zeros(2))


@pytest.mark.parametrize("match", ["saliency", "gradient"])
def test_an_lstm_learns_its_derivatives(match):
    """Twenty steps of descent lower the loss: the second derivatives of a recurrent student are there."""
    torch.manual_seed(0)
    lstm, top = nn.LSTM(3, 4, batch_first=True, bidirectional=True), nn.Linear(8, 2)
    vectors, mask = torch.randn(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)
    known = torch.randn(2, 5, 3) if match == "gradient" else torch.randn(2, 5)
    teacher = Outputs(torch.randn(2, 2), **{match: known})
    descent = torch.optim.Adam([*lstm.parameters(), *top.parameters()], lr=0.05)
    losses = []
    for _ in range(20):
        read = vectors.clone().requires_grad_()
        said = Outputs(top(lstm(read)[0].mean(1)), mask=mask, vectors=read)
        loss = Sobolev(match)(said, teacher, None, 0.0).mean()
        descent.zero_grad()
        loss.backward()
        descent.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_the_teacher_gets_no_gradient():
    teacher = Outputs(torch.tensor([[5.0, 1.0]], requires_grad=True), saliency=torch.ones(1, 3, requires_grad=True))
    Sobolev()(linear(WEIGHT.clone().requires_grad_()), teacher, None, 0.0).sum().backward()
    assert teacher.logits.grad is None and teacher.saliency.grad is None


def test_it_needs_what_it_compares():
    assert Sobolev().needs == {"logits", "saliency"} and Sobolev("gradient").needs == {"logits", "gradient"}
    assert Sobolev.reads == {"logits", "vectors"} and Sobolev.aligned


def test_gradients_need_vectors_of_one_width():
    Sobolev().bind(shape(300), shape(768))
    Sobolev("gradient").bind(shape(768), shape(768))
    with pytest.raises(UserError, match="match = 'gradient': the student's token vectors have 300 numbers, the "
                                        "teacher's 768; take match = 'saliency'"):
        Sobolev("gradient").bind(shape(300), shape(768))


def test_other_values_are_refused():
    with pytest.raises(UserError, match="sobolev: match = 'gradients'; did you mean 'gradient'"):
        Sobolev("gradients")
