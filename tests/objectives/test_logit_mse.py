"""LogitMSE by hand."""

import pytest
import torch
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.logit_mse import LogitMSE
from kdpipe.types import Outputs

STUDENT = Outputs(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
TEACHER = Outputs(torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))


def test_squares_of_the_differences():
    """Row 1: 0 + 4 + 9 = 13; row 2: 1 + 1 + 1 = 3."""
    assert_close(LogitMSE("sum_c")(STUDENT, TEACHER, None, 0.0), torch.tensor([13.0, 3.0]))
    assert_close(LogitMSE()(STUDENT, TEACHER, None, 0.0), torch.tensor([13 / 3, 1.0]))


def test_the_mean_over_rows_is_torch_mse():
    found = LogitMSE()(STUDENT, TEACHER, None, 0.0).mean()
    assert_close(found, torch.nn.functional.mse_loss(STUDENT.logits, TEACHER.logits))


def test_other_reductions_are_refused():
    with pytest.raises(UserError, match="reduction = 'mean'; did you mean 'mean_c'"):
        LogitMSE("mean")
