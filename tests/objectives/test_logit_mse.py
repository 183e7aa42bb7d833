"""LogitMSE by hand."""

import pytest
import torch
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.logit_mse import LogitMSE
from kdpipe.types import Outputs, Shape

STUDENT = Outputs(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
TEACHER = Outputs(torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))


def test_squares_of_the_differences():
    """Row 1: 0 + 4 + 9 = 13; row 2: 1 + 1 + 1 = 3."""
    assert_close(LogitMSE("sum_c")(STUDENT, TEACHER, None, 0.0), torch.tensor([13.0, 3.0]))
    assert_close(LogitMSE()(STUDENT, TEACHER, None, 0.0), torch.tensor([13 / 3, 1.0]))


def test_the_mean_over_rows_is_torch_mse():
    found = LogitMSE()(STUDENT, TEACHER, None, 0.0).mean()
    assert_close(found, torch.nn.functional.mse_loss(STUDENT.logits, TEACHER.logits))


def test_centred_logits_differ_by_what_moves_probabilities():
    """Row 1: 0, 2, 3 less their mean 5/3: (25 + 1 + 16) / 9 = 14/3; row 2: a constant, 0."""
    found = LogitMSE("sum_c", center=True)(STUDENT, TEACHER, None, 0.0)
    assert_close(found, torch.tensor([14 / 3, 0.0]))
    assert_close(LogitMSE(center=True)(STUDENT, TEACHER, None, 0.0), found / 3)


def test_a_single_output_is_not_centred():
    def shape(outputs):
        return Shape(1, 8, 8, outputs, frozenset({"logits"}))

    LogitMSE().bind(shape(1), shape(1))
    LogitMSE(center=True).bind(shape(2), shape(2))
    with pytest.raises(UserError, match="logit_mse: center = true leaves nothing of a single output"):
        LogitMSE(center=True).bind(shape(1), shape(1))


def test_every_wrong_value_is_named():
    with pytest.raises(UserError) as said:
        LogitMSE("mean", center="yes")
    assert said.value.faults == ("logit_mse: reduction = 'mean'; did you mean 'mean_c'?",
                                 "logit_mse: center = 'yes'; allowed: true or false")
