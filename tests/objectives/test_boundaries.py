"""ActivationBoundaries by hand."""

import pytest
import torch
from torch.testing import assert_close

from kdpipe.errors import UserError
from kdpipe.objectives.boundaries import ActivationBoundaries
from kdpipe.types import Outputs, Shape


def shape(layers, width=2, ffn=2):
    return Shape(layers, width, width, 2, frozenset(), ffn=ffn)


def bound(student, teacher, **kwargs):
    objective = ActivationBoundaries(**kwargs)
    objective.bind(student, teacher)
    return objective


def loss(r, active, **kwargs):
    """Of what the connector makes of a state, which it is made to pass on."""
    objective = bound(shape(1, len(r)), shape(1, 3, len(r)), **kwargs)
    with torch.no_grad():
        objective.connectors["1"].weight.copy_(torch.eye(len(r)))
        objective.connectors["1"].bias.zero_()
    return objective(Outputs(None, cls={1: torch.tensor([r])}),
                     Outputs(None, boundaries={1: torch.tensor([active])}), None, 0.0)


@pytest.mark.parametrize("r, active, margin, expected", [
    (1.5, True, 1.0, 0.0), (1.0, True, 1.0, 0.0), (0.5, True, 1.0, 0.25), (-2.0, True, 1.0, 9.0),
    (-1.5, False, 1.0, 0.0), (-1.0, False, 1.0, 0.0), (-0.5, False, 1.0, 0.25), (2.0, False, 1.0, 9.0),
    (0.0, True, 2.0, 4.0), (0.0, False, 0.5, 0.25)])
def test_a_unit_on_the_wrong_side_or_within_the_margin(r, active, margin, expected):
    assert_close(loss([r], [active], margin=margin), torch.tensor([expected]))


def test_units_are_summed_or_averaged():
    """(1 - 0)² + (1 + 2)²."""
    assert_close(loss([0.0, 2.0], [True, False]), torch.tensor([10.0]))
    assert_close(loss([0.0, 2.0], [True, False], reduction="mean"), torch.tensor([5.0]))


def test_it_is_what_the_authors_code_computes():
    """(s + mu)² where s > -mu and t <= 0, (s - mu)² where s <= mu and t > 0."""
    draw = torch.Generator().manual_seed(0)
    s, t = (torch.randn(50, generator=draw) * 2 for _ in range(2))
    expected = (s + 1)**2 * ((s > -1) & (t <= 0)) + (s - 1)**2 * ((s <= 1) & (t > 0))
    assert_close(loss(s.tolist(), (t > 0).tolist()), expected.sum()[None])


def test_layers_are_summed_each_through_its_own_connector():
    objective = bound(shape(2, 3), shape(4, 5, 7))
    assert {name: tuple(p.shape) for name, p in objective.named_parameters()} == {
        f"connectors.{m}.{what}": size for m in (1, 2) for what, size in (("weight", (7, 3)), ("bias", (7,)))}
    with torch.no_grad():
        for p in objective.parameters():
            p.zero_()
    student = Outputs(None, cls={m: torch.ones(1, 3) for m in (1, 2)})
    teacher = Outputs(None, boundaries={t: torch.ones(1, 7, dtype=torch.bool) for t in (1, 2, 3, 4)})
    assert_close(objective(student, teacher, None, 0.0), torch.tensor([14.0]))


def test_layers():
    assert bound(shape(2), shape(12)).pairs == ((1, 6), (2, 12))
    assert bound(shape(2), shape(12), layers="last").pairs == ((2, 12),)
    assert bound(shape(1), shape(12), layers=[7]).pairs == ((1, 7),)


def test_a_teacher_without_a_feed_forward_network_is_refused():
    with pytest.raises(UserError) as refused:
        bound(shape(5), shape(12, ffn=None))
    assert refused.value.faults[1] == "boundaries: the teacher has no feed-forward network; take a transformer"
    assert refused.value.faults[0].startswith("boundaries: layers = 'uniform' maps no layers between a student of 5")


def test_other_values_are_refused():
    with pytest.raises(UserError, match="margin = 0; allowed: a number above 0"):
        ActivationBoundaries(margin=0)
    with pytest.raises(UserError, match="reduction = 'avg'; allowed: mean, sum"):
        ActivationBoundaries(reduction="avg")
