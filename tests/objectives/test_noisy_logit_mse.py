"""NoisyLogitMSE: which rows, which noise, the same in any company."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, kstest, pearsonr
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.logit_mse import LogitMSE
from kdpipe.objectives.noisy_logit_mse import NoisyLogitMSE
from kdpipe.types import Batch, Outputs

MANY = 4000


def batch(rows, epoch=0):
    n = len(rows)
    return Batch((), torch.zeros(n), torch.ones(n, dtype=torch.bool), rows, epoch)


def sides(n=6, C=3):
    draw = torch.Generator().manual_seed(1)
    return [Outputs(torch.randn(n, C, generator=draw)) for _ in range(2)]


def noise(objective, epoch=0, C=2):
    """What MANY rows of logits 1 are multiplied by."""
    return objective.noisy(torch.ones(MANY, C, dtype=torch.float64), batch(torch.arange(MANY), epoch)).numpy()


def test_squares_of_the_differences_from_the_noisy_logits():
    """A student of zeros pays z'² / C: logits [1, 0, -2] become [1 + a, 0, -2 (1 + b)]."""
    objective, rows = NoisyLogitMSE(p=1), batch(torch.tensor([7]))
    student, teacher = Outputs(torch.zeros(1, 3)), Outputs(torch.tensor([[1.0, 0.0, -2.0]]))
    a, _, b = (objective.noisy(torch.ones(1, 3), rows) - 1)[0].tolist()
    by_hand = (1 + a) ** 2 + 4 * (1 + b) ** 2
    assert a != b and abs(a * b) > 0
    assert_close(objective(student, teacher, rows, 0.0), torch.tensor([by_hand / 3]))
    assert_close(NoisyLogitMSE(p=1, reduction="sum_c")(student, teacher, rows, 0.0), torch.tensor([by_hand]))


@pytest.mark.parametrize("quiet", [{"sigma": 0}, {"p": 0}])
@pytest.mark.parametrize("reduction", ["mean_c", "sum_c"])
def test_without_noise_it_is_logit_mse(quiet, reduction):
    found = NoisyLogitMSE(**quiet, reduction=reduction)(*sides(), batch(torch.arange(6)), 0.0)
    assert torch.equal(found, LogitMSE(reduction)(*sides(), None, 0.0))


def test_a_row_hears_the_same_in_any_company():
    objective, order = NoisyLogitMSE(), torch.randperm(MANY, generator=torch.Generator().manual_seed(0))
    together = noise(objective)
    ones = torch.ones(MANY, 2, dtype=torch.float64)
    assert (objective.noisy(ones, batch(order)).numpy() == together[order]).all()
    assert (objective.noisy(ones[:3], batch(torch.tensor([5, 900, 17]))).numpy() == together[[5, 900, 17]]).all()


@pytest.mark.parametrize("other", [(NoisyLogitMSE(p=1), 1), (NoisyLogitMSE(p=1, seed=1), 0)], ids=["epoch", "seed"])
def test_another_epoch_or_seed_is_other_noise(other):
    one, two = noise(NoisyLogitMSE(p=1))[:, 0], noise(*other)[:, 0]
    assert (one != two).all() and pearsonr(one, two).pvalue > 1e-3


def test_a_logit_of_0_is_never_moved():
    moved = NoisyLogitMSE(sigma=9, p=1).noisy(torch.tensor([[0.0, 1.0]]).repeat(50, 1), batch(torch.arange(50)))
    assert not moved[:, 0].any() and (moved[:, 1] != 1).all()


def test_the_noise_is_normal_and_the_classes_have_nothing_in_common():
    xi = noise(NoisyLogitMSE(sigma=0.6, p=1)) - 1
    assert all(kstest(xi[:, c] / 0.6, "norm").pvalue > 1e-3 for c in (0, 1))
    assert pearsonr(xi[:, 0], xi[:, 1]).pvalue > 1e-3


def test_a_share_p_of_the_rows_is_chosen_whole():
    """And which rows are chosen says nothing of the noise."""
    some, all_rows = noise(NoisyLogitMSE(p=0.15)), noise(NoisyLogitMSE(p=1))
    chosen = (some != 1).any(1)
    assert binomtest(int(chosen.sum()), MANY, 0.15).pvalue > 1e-3
    assert (some[chosen] == all_rows[chosen]).all() and (some[~chosen] == 1).all()
    assert kstest((some[chosen, 0] - 1) / 0.6, "norm").pvalue > 1e-3


def test_half_precision_logits_are_multiplied_in_full():
    student, teacher = (Outputs(side.logits.bfloat16()) for side in sides())
    losses = NoisyLogitMSE(p=1)(student, teacher, batch(torch.arange(6)), 0.0)
    assert losses.dtype == torch.float32 and np.isfinite(losses.numpy()).all()


def test_every_wrong_value_is_named():
    with pytest.raises(UserError) as said:
        NoisyLogitMSE(sigma=-1, p=1.5, seed=0.5, reduction="mean")
    assert said.value.faults == (
        "noisy_logit_mse: sigma = -1; allowed: a number from 0",
        "noisy_logit_mse: p = 1.5; allowed: a number from 0 to 1",
        "noisy_logit_mse: seed = 0.5; allowed: a whole number from 0",
        "noisy_logit_mse: reduction = 'mean'; did you mean 'mean_c'?")


def test_each_training_hears_noise_of_its_own():
    logits, rows = torch.ones(64, 2), torch.arange(64)
    one, other = (NoisyLogitMSE(p=1.0).noisy(logits, Batch((), rows, rows > 0, rows, epoch=1, seed=seed))
                  for seed in (0, 1))
    assert not torch.isclose(one, other).any()
