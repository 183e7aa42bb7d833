"""Losses on logits beside TextBrewer's (0.2.1.post1): where they are the same numbers, and where not."""

import pytest
import torch
from torch.testing import assert_close

from kdpipe.objectives.kd import HintonKD
from kdpipe.objectives.logit_mse import LogitMSE
from kdpipe.objectives.soft_ce import SoftCrossEntropy
from kdpipe.types import Outputs

B, C = 8, 5


@pytest.fixture
def losses(textbrewer_losses):
    return textbrewer_losses


@pytest.fixture(params=[0, 1, 2])
def logits(request):
    """Student's and teacher's [B, C]."""
    draw = torch.Generator().manual_seed(request.param)
    return [3 * torch.randn(B, C, generator=draw, dtype=torch.float64) for _ in range(2)]


def mean(objective, student, teacher):
    return objective(Outputs(student), Outputs(teacher), None, 0.0).mean()


def same(found, wanted):
    assert_close(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("T", [1.0, 2.0, 8.0])
def test_kd_ce_is_soft_cross_entropy(losses, logits, T):
    same(mean(SoftCrossEntropy(T), *logits), losses.kd_ce_loss(*logits, temperature=T))


@pytest.mark.parametrize("T", [1.0, 2.0, 8.0])
def test_kd_ce_lacks_t_squared(losses, logits, T):
    """Less the teacher's entropy it is the divergence without T², so our gradient is T² times theirs."""
    student, teacher = logits
    student.requires_grad_()
    theirs, = torch.autograd.grad(losses.kd_ce_loss(student, teacher, temperature=T), student)
    ours, = torch.autograd.grad(mean(HintonKD(T), student, teacher), student)
    same(ours, T**2 * theirs)
    entropy = losses.kd_ce_loss(teacher, teacher, temperature=T)
    same(mean(HintonKD(T, t_squared=False), student, teacher),
         losses.kd_ce_loss(student, teacher, temperature=T) - entropy)


def test_kd_mse_is_the_mean_over_classes(losses, logits):
    same(mean(LogitMSE(), *logits), losses.kd_mse_loss(*logits))
    same(mean(LogitMSE("sum_c"), *logits), C * losses.kd_mse_loss(*logits))


def test_kd_mse_divides_both_sides_by_the_temperature(losses, logits):
    """Regression of logits has no temperature: theirs at T is 1 / T² of ours."""
    same(mean(LogitMSE(), *logits), 4**2 * losses.kd_mse_loss(*logits, temperature=4))
