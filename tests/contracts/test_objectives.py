"""What every objective of the room must keep: found by the folder, so a new file is tested without a line here."""

import pytest
import torch
from torch.testing import assert_close

from kdpipe import catalog
from kdpipe.types import Batch, Outputs

NAMES = catalog.names("objectives")
KINDS = [(name, kind) for name in NAMES for kind in sorted(catalog.find("objectives", name).kinds)]
B, N, H = 6, 5, 4


def sides(kind, seed=0):
    """Random outputs of student and teacher in float64, and a batch whose rows 1 and 4 have no label."""
    draw = torch.Generator().manual_seed(seed)
    C = 3 if kind == "classification" else 1
    mask = torch.arange(N) < torch.tensor([5, 2, 3, 5, 1, 4])[:, None]

    def outputs():
        def normal(*shape):
            return torch.randn(*shape, generator=draw, dtype=torch.float64)

        return Outputs(normal(B, C), normal(B, H), normal(2, B, N, H), normal(2, B, 2, N, N).softmax(-1), mask)

    labels = torch.tensor([0.0, 0, 1, 2, 0, 1]) if C > 1 else torch.linspace(0, 5, B)
    has_label = torch.tensor([True, False, True, True, False, True])
    return outputs(), outputs(), Batch((), labels, has_label, torch.arange(B))


def rows_of(side, rows):
    return Outputs(side.logits[rows], side.cls[rows], side.hidden[:, rows], side.attention[:, rows], side.mask[rows])


def batch_of(batch, rows):
    return Batch((), batch.labels[rows], batch.has_label[rows], batch.rows[rows])


@pytest.mark.parametrize("name, kind", KINDS)
def test_one_finite_loss_for_each_example(name, kind):
    student, teacher, batch = sides(kind)
    losses = catalog.find("objectives", name)()(student, teacher, batch, 0.5)
    assert losses.shape == (B,) and losses.isfinite().all() and (losses >= 0).all()


@pytest.mark.parametrize("name, kind", KINDS)
def test_other_rows_of_the_batch_have_no_influence(name, kind):
    student, teacher, batch = sides(kind)
    objective = catalog.find("objectives", name)()
    together = objective(student, teacher, batch, 0.5)
    for rows in (torch.tensor([3]), torch.tensor([5, 0]), torch.arange(B).flip(0)):
        apart = objective(rows_of(student, rows), rows_of(teacher, rows), batch_of(batch, rows), 0.5)
        assert_close(apart, together[rows], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name, kind", KINDS)
def test_padding_has_no_influence(name, kind):
    student, teacher, batch = sides(kind)
    objective = catalog.find("objectives", name)()
    before = objective(student, teacher, batch, 0.5)
    for side in (student, teacher):
        side.hidden[:, ~side.mask] = 1e3
        side.attention = torch.where(side.mask[:, None, :, None] & side.mask[:, None, None, :], side.attention, 1e3)
    assert_close(objective(student, teacher, batch, 0.5), before, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name, kind", KINDS)
def test_gradients_are_those_of_the_loss(name, kind):
    student, teacher, batch = sides(kind)
    objective = catalog.find("objectives", name)().double()

    def loss(logits, cls, hidden, attention):
        return objective(Outputs(logits, cls, hidden, attention, student.mask), teacher, batch, 0.5)

    parts = [t.requires_grad_() for t in (student.logits, student.cls, student.hidden, student.attention)]
    assert torch.autograd.gradcheck(loss, parts)


@pytest.mark.parametrize("name, kind", KINDS)
def test_the_teacher_gets_no_gradient(name, kind):
    student, teacher, batch = sides(kind)
    parts = [t.requires_grad_() for t in (teacher.logits, teacher.cls, teacher.hidden, teacher.attention)]
    student.logits.requires_grad_()
    catalog.find("objectives", name)()(student, teacher, batch, 0.5).sum().backward()
    assert all(t.grad is None for t in parts)


@pytest.mark.parametrize("name, kind", KINDS)
def test_half_precision_logits_are_raised_before_the_loss(name, kind):
    student, teacher, batch = sides(kind)
    student.logits = student.logits.bfloat16()
    assert catalog.find("objectives", name)()(student, teacher, batch, 0.5).dtype in (torch.float32, torch.float64)
