"""Siamese: the published count, what it compares, and bad encoders."""

import pytest
import torch
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.models import count_parameters
from kdpipe.models.siamese import Siamese, compare


def test_parameters_are_those_of_the_formula():
    """8H(E + H) + 16H + 8HF + F + FC + C with E = 600, H = 150, F = 200, C = 3."""
    model = Siamese(9, 3, encoder={"name": "bilstm", "hidden": 150, "channels": "multichannel"}, fc=200)
    assert count_parameters(model)["non_embedding"] == 1_143_203


def test_two_states_are_compared_in_the_order_of_the_paper():
    found = compare(torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 5.0]]))
    assert_close(found, torch.tensor([[1.0, -2, 3, 5, 3, -10, 2, 7]]))


def test_bad_encoders_are_named():
    with pytest.raises(UserError, match="no encoder 'bilstn'; did you mean 'bilstm'"):
        Siamese(9, 3, encoder={"name": "bilstn"})
    with pytest.raises(UserError, match="no encoder 'siamese'"):
        Siamese(9, 3, encoder="siamese")
    with pytest.raises(UserError, match="no encoder 'None'"):
        Siamese(9, 3, encoder={"hidden": 3})
    with pytest.raises(UserError) as e:
        Siamese(9, 3, encoder={"name": "bilstm", "hiden": 3, "vocab_size": 4})
    assert len(e.value.faults) == 2 and "did you mean 'hidden'?" in e.value.faults[0]
