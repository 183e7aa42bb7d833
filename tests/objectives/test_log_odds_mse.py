"""LogOddsMSE by hand, for certain teachers, for two classes."""

import math

import torch
from torch.testing import assert_close

from kdpipe.objectives.log_odds_mse import LogOddsMSE, log_odds
from kdpipe.types import Outputs


def test_half_the_squares_of_the_differences_from_the_odds():
    """p = [1, 2, 5] / 8: the odds are 1:7, 1:3 and 5:3; a student of zeros pays half their squared logarithms."""
    teacher = Outputs(torch.tensor([[1.0, 2.0, 5.0]]).log())
    found = LogOddsMSE()(Outputs(torch.zeros(1, 3)), teacher, None, 0.0)
    by_hand = (math.log(7) ** 2 + math.log(3) ** 2 + math.log(5 / 3) ** 2) / 2
    assert_close(found, torch.tensor([by_hand]))


def test_of_two_classes_the_odds_are_the_difference_of_the_logits():
    logits = torch.tensor([[0.3, 1.7], [2.0, -40.0]])
    assert_close(log_odds(logits)[:, 1], logits[:, 1] - logits[:, 0])
    assert_close(log_odds(logits)[:, 0], logits[:, 0] - logits[:, 1])


def test_the_odds_are_those_of_the_probabilities():
    logits = torch.randn(20, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_close(log_odds(logits), torch.logit(logits.softmax(-1)))


def test_a_teacher_whose_probability_rounds_to_1_has_finite_odds():
    """z = [200, 0, 0]: 200 - ln 2 for the first class, -200 for the others; softmax in float32 says [1, 0, 0]."""
    assert_close(log_odds(torch.tensor([[200.0, 0.0, 0.0]])), torch.tensor([[200 - math.log(2), -200.0, -200.0]]))


def test_a_constant_of_the_row_changes_no_odds():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_close(log_odds(logits + 100), log_odds(logits))


def test_a_student_at_the_odds_pays_nothing():
    logits = torch.tensor([[1.0, -3.0, 0.5]])
    assert LogOddsMSE()(Outputs(log_odds(logits)), Outputs(logits), None, 0.0) == 0
