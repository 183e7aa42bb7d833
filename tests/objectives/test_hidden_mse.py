"""HiddenMSE by hand."""

import pytest
import torch
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.hidden_mse import HiddenMSE
from kdpipe.types import Outputs, Shape

MASK = torch.tensor([[True, True, False]])
STUDENT = Outputs(None, hidden={0: torch.tensor([[[1.0, 0.0], [0.0, 0.0], [9.0, 9.0]]]),
                                1: torch.tensor([[[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]]])}, mask=MASK)
TEACHER = Outputs(None, hidden={0: torch.zeros(1, 3, 2), 2: torch.zeros(1, 3, 2)}, mask=MASK)


def shape(layers, width=2, embedding=None):
    return Shape(layers, width, embedding or width, 2, frozenset())


def bound(student, teacher, **kwargs):
    objective = HiddenMSE(**kwargs)
    objective.bind(student, teacher)
    return objective


def loss(**kwargs):
    return bound(shape(1), shape(2), **kwargs)(STUDENT, TEACHER, None, 0.0)


def test_the_mean_over_real_tokens_and_units():
    """Embeddings: 1 / 4 numbers; layer 1: (4 + 1) / 4. The third token is padding."""
    assert_close(loss(), torch.tensor([0.25 + 1.25]))
    assert_close(loss(layers=[[1, 2]]), torch.tensor([1.25]))


def test_as_in_tinyberts_code_padding_counts():
    """(1 + 81 + 81) / 6 and (5 + 25 + 25) / 6: another loss for the same text in a longer batch."""
    assert_close(loss(tinybert_compat=True), torch.tensor([163 / 6 + 55 / 6]))
    full = torch.ones_like(MASK)
    same = [Outputs(None, hidden=side.hidden, mask=full) for side in (STUDENT, TEACHER)]
    without_padding = [bound(shape(1), shape(2), tinybert_compat=compat)(*same, None, 0.0) for compat in (False, True)]
    assert_close(*without_padding)


def test_equal_states_cost_nothing():
    assert_close(bound(shape(1), shape(1))(STUDENT, STUDENT, None, 0.0), torch.tensor([0.0]))


@pytest.mark.parametrize("student, expected", [(4, (0, 3, 6, 9, 12)), (6, (0, 2, 4, 6, 8, 10, 12))])
def test_tinyberts_layers(student, expected):
    objective = bound(shape(student), shape(12))
    assert objective.pairs == tuple(enumerate(expected)) and objective.layers == {"hidden": expected}


def test_named_layers_begin_at_the_embeddings():
    assert bound(shape(4), shape(12), layers=[0, 6, 12]).pairs == ((0, 0), (1, 6), (2, 12))
    assert bound(shape(4), shape(12), layers=[[4, 12], [1, 12]]).layers == {"hidden": (12,)}


def test_maps_are_made_where_widths_differ():
    """Separate matrices without bias, as the paper has; equal embeddings need none."""
    assert {name: tuple(p.shape) for name, p in bound(shape(1, 2, 3), shape(2, 5, 4)).named_parameters()} == {
        "maps.0.weight": (4, 3), "maps.1.weight": (5, 2)}
    assert [name for name, _ in bound(shape(1, 2, 3), shape(2, 5, 3)).named_parameters()] == ["maps.1.weight"]
    assert not list(bound(shape(1), shape(2)).parameters())


@pytest.mark.parametrize("teacher", [2, 5])
def test_a_shared_map_is_one_with_a_bias(teacher):
    """The fit_dense of TinyBERT's code, which is there for equal widths too."""
    objective = bound(shape(1, 2), shape(2, teacher), share_projection=True)
    assert {name: tuple(p.shape) for name, p in objective.named_parameters()} == {
        "maps.weight": (teacher, 2), "maps.bias": (teacher,)}


def test_a_shared_map_serves_every_layer():
    objective = bound(shape(1), shape(2), share_projection=True)
    with torch.no_grad():
        objective.maps.weight.copy_(2 * torch.eye(2))
        objective.maps.bias.zero_()
    assert_close(objective(STUDENT, TEACHER, None, 0.0), torch.tensor([4 * 1.5]))


def test_one_pair_is_a_hint():
    """FitNets: a guided layer regresses a hint layer through a learned map."""
    objective = bound(shape(1, 2), shape(2, 3), layers=[[1, 2]])
    teacher = Outputs(None, hidden={2: torch.ones(1, 3, 3)}, mask=MASK)
    away = STUDENT.hidden[1][:, :2] @ objective.maps["1"].weight.T - 1
    assert_close(objective(STUDENT, teacher, None, 0.0), away.square().mean((1, 2)))


def test_what_the_networks_do_not_allow_is_refused():
    with pytest.raises(UserError) as refused:
        bound(shape(1, 2, 3), shape(2, 5, 4), project=False)
    assert refused.value.faults == tuple(
        f"hidden_mse: the student's states have {ours} numbers, the teacher's {theirs}; take a student of this width, "
        "or project = true" for ours, theirs in ((2, 5), (3, 4)))
    with pytest.raises(UserError, match="share_projection = true: the widths of the layers are 2 -> 5, 3 -> 4; take"):
        bound(shape(1, 2, 3), shape(2, 5, 4), share_projection=True)
    with pytest.raises(UserError, match="maps no layers between a student of 5 and a teacher of 12 layers: 5 does not"):
        bound(shape(5), shape(12))
    with pytest.raises(UserError, match="the student has no layer 2; it has 0 to 1"):
        bound(shape(1), shape(2), layers=[0, 1, 2])


def test_other_values_are_refused():
    with pytest.raises(UserError, match="layers = 'unifrom'; did you mean 'uniform'"):
        HiddenMSE("unifrom")
    with pytest.raises(UserError, match="share_projection = true with project = false"):
        HiddenMSE(share_projection=True, project=False)
    with pytest.raises(UserError, match="tinybert_compat = None; allowed: true or false"):
        HiddenMSE(tinybert_compat=None)
