"""HintonKD by hand, at its limits, and against torch."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.kd import HintonKD
from kdpipe.objectives.logit_mse import LogitMSE
from kdpipe.types import Outputs

STUDENT, TEACHER = Outputs(torch.tensor([[0.0, 0.0]])), Outputs(torch.tensor([[2 * math.log(3), 0.0]]))
BY_HAND = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


def sides(C=3):
    draw = torch.Generator().manual_seed(C)
    return [Outputs(torch.randn(5, C, generator=draw, dtype=torch.float64)) for _ in range(2)]


def test_divergence_of_the_softened_distributions():
    """T = 2: the teacher says [3/4, 1/4], the student [1/2, 1/2]: KL = 3/4 ln 3/2 + 1/4 ln 1/2, T² = 4, C = 2."""
    assert_close(HintonKD(2.0)(STUDENT, TEACHER, None, 0.0), torch.tensor([4 * BY_HAND]))
    assert_close(HintonKD(2.0, t_squared=False)(STUDENT, TEACHER, None, 0.0), torch.tensor([BY_HAND]))
    assert_close(HintonKD(2.0, reduction="mean_c")(STUDENT, TEACHER, None, 0.0), torch.tensor([2 * BY_HAND]))


def test_the_mean_over_rows_is_torchs_batchmean():
    student, teacher = sides()
    p, log_q = F.softmax(teacher.logits / 3, -1), F.log_softmax(student.logits / 3, -1)
    found = HintonKD(3.0)(student, teacher, None, 0.0).mean()
    assert_close(found, 9 * F.kl_div(log_q, p, reduction="batchmean"))


@pytest.mark.parametrize("C", [2, 7])
def test_a_hot_divergence_is_centred_logit_matching(C):
    """T² KL -> ||z_S - z_T||² / 2C for T -> infinity, each row's mean taken away."""
    student, teacher = sides(C)
    hot = HintonKD(1e4)(student, teacher, None, 0.0)
    assert_close(hot, LogitMSE("mean_c", center=True)(student, teacher, None, 0.0) / 2, rtol=1e-3, atol=0)


def test_a_hot_gradient_is_the_difference_of_the_logits_over_c():
    """T (q - p) -> (z_S - z_T) / C for centred logits: with T² the gradient does not fade."""
    student, teacher = sides()
    logits = (student.logits - student.logits.mean(-1, keepdim=True)).requires_grad_()
    wanted = teacher.logits - teacher.logits.mean(-1, keepdim=True)
    HintonKD(1e4)(Outputs(logits), Outputs(wanted), None, 0.0).sum().backward()
    assert_close(logits.grad, (logits.detach() - wanted) / 3, rtol=1e-3, atol=1e-4)


def test_equal_distributions_cost_nothing():
    """Logits are known up to a constant of the row."""
    student, _ = sides()
    moved = Outputs(student.logits + torch.arange(5.0)[:, None])
    assert_close(HintonKD()(student, moved, None, 0.0), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-14)


def test_the_temperature_follows_its_schedule():
    student, teacher = sides()
    falling = HintonKD({"linear": [4.0, 2.0]})
    for progress, T in ((0.0, 4.0), (0.5, 3.0), (1.0, 2.0)):
        assert_close(falling(student, teacher, None, progress), HintonKD(T)(student, teacher, None, 0.0))


def test_every_wrong_value_is_named():
    with pytest.raises(UserError) as said:
        HintonKD(temperature=0, reduction="sum", t_squared=1)
    assert said.value.faults == (
        "kd: temperature: reaches 0; allowed: from 0.001 to 1e+06 throughout",
        "kd: reduction = 'sum'; did you mean 'sum_c'?",
        "kd: t_squared = 1; allowed: true or false")


def test_a_schedule_must_stay_above_0():
    with pytest.raises(UserError, match="kd: temperature: reaches -1; allowed: from 0.001 to"):
        HintonKD({"linear": [2.0, -1.0]})
    with pytest.raises(UserError, match="kd: temperature: reaches -3; allowed: from 0.001 to"):
        HintonKD({"join": [[0.0, 2.0], [0.6, {"steps": [[0.0, 2.0], [0.1, -3.0], [0.2, 2.0]]}]]})
    with pytest.raises(UserError, match="kd: temperature: schedule 'hot': allowed: a number, or one of"):
        HintonKD("hot")
