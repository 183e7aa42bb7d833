"""AnnealedMSE by hand and up its stairs."""

from collections import Counter
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.annealed_mse import AnnealedMSE
from kdpipe.objectives.logit_mse import LogitMSE
from kdpipe.types import Outputs

STUDENT, TEACHER = Outputs(torch.tensor([[1.0, 2.0]])), Outputs(torch.tensor([[4.0, 8.0]]))


def test_squares_of_the_differences_from_the_scaled_logits():
    """Phi = 1/4: 0; Phi = 1/2: (1 - 2)² + (2 - 4)² = 5; Phi = 1: 9 + 36 = 45."""
    objective = AnnealedMSE(tau_max=4, reduction="sum_c")
    for progress, loss in ((0.1, 0.0), (0.3, 5.0), (0.9, 45.0)):
        assert_close(objective(STUDENT, TEACHER, None, progress), torch.tensor([loss]))
    assert_close(AnnealedMSE(tau_max=4)(STUDENT, TEACHER, None, 0.9), torch.tensor([22.5]))


def test_the_stairs_of_four():
    phi = AnnealedMSE(tau_max=4).phi
    assert [phi(p) for p in (0.0, 0.24, 0.25, 0.5, 0.74, 0.75, 0.99, 1.0)] == [
        0.25, 0.25, 0.5, 0.75, 0.75, 1.0, 1.0, 1.0]


@given(st.integers(1, 30), st.integers(1, 40))
def test_every_stair_has_as_many_steps(tau_max, each):
    """Step i of n is at progress (i + 1/2) / n; the paper's Phi(T) is 1 - (T - 1) / tau_max, T = tau_max .. 1."""
    objective, n = AnnealedMSE(tau_max), tau_max * each
    found = Counter(objective.phi((i + 0.5) / n) for i in range(n))
    assert found == {float(1 - Fraction(T - 1, tau_max)): each for T in range(tau_max, 0, -1)}


@given(st.integers(1, 30), st.floats(0, 1))
def test_it_never_passes_1(tau_max, progress):
    assert 1 / tau_max <= AnnealedMSE(tau_max).phi(progress) <= AnnealedMSE(tau_max).phi(1.0) == 1


@pytest.mark.parametrize("reduction", ["mean_c", "sum_c"])
def test_on_the_last_stair_it_is_logit_mse(reduction):
    found = AnnealedMSE(reduction=reduction)(STUDENT, TEACHER, None, 1.0)
    assert torch.equal(found, LogitMSE(reduction)(STUDENT, TEACHER, None, 1.0))


def test_a_score_is_scaled_in_the_same_way():
    """tau_max 2, first half: (3 - 5/2)² = 0.25."""
    found = AnnealedMSE(2)(Outputs(torch.tensor([[3.0]])), Outputs(torch.tensor([[5.0]])), None, 0.2)
    assert_close(found, torch.tensor([0.25]))


def test_every_wrong_value_is_named():
    with pytest.raises(UserError) as said:
        AnnealedMSE(tau_max=0, reduction="sum")
    assert said.value.faults == ("annealed_mse: tau_max = 0; allowed: a whole number from 1",
                                 "annealed_mse: reduction = 'sum'; did you mean 'sum_c'?")
