"""Losses on logits beside torchdistill's (1.1.5): where they are the same numbers, and where not."""

import pytest
import torch
from torch.testing import assert_close

from kdpipe.objectives.hard import Hard
from kdpipe.objectives.kd import HintonKD
from kdpipe.types import Batch, Outputs

B, C = 8, 5


@pytest.fixture(params=[0, 1, 2])
def sides(request):
    """Student's and teacher's logits [B, C], gold classes [B]."""
    draw = torch.Generator().manual_seed(request.param)
    student, teacher = (3 * torch.randn(B, C, generator=draw, dtype=torch.float64) for _ in range(2))
    return student, teacher, torch.randint(C, (B,), generator=draw)


@pytest.fixture
def theirs():
    from torchdistill.losses.mid_level import KDLoss  # here, so that the other tests run where it is not installed

    def loss(student, teacher, gold, **said):
        kd = KDLoss("top", "output", "top", "output", **said)
        return kd({"top": {"output": student}}, {"top": {"output": teacher}}, gold)

    return loss


def soft(student, teacher, **said):
    return HintonKD(**said)(Outputs(student), Outputs(teacher), None, 0.0).mean()


def hard(student, gold):
    rows = Batch((), gold.float(), torch.ones(B, dtype=torch.bool), torch.arange(B))
    return Hard()(Outputs(student), None, rows, 0.0).mean()


def same(found, wanted):
    assert_close(found, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("T", [1.0, 4.0])
@pytest.mark.parametrize("alpha", [0.1, 0.7])
def test_it_is_alpha_hard_and_the_rest_kd(sides, theirs, T, alpha):
    student, teacher, gold = sides
    found = alpha * hard(student, gold) + (1 - alpha) * soft(student, teacher, temperature=T)
    same(found, theirs(*sides, temperature=T, alpha=alpha))


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_its_mean_divides_the_soft_term_by_the_classes(sides, theirs, T):
    student, teacher, gold = sides
    with pytest.warns(UserWarning, match="batchmean"):
        wanted = theirs(*sides, temperature=T, alpha=0.5, reduction="mean")
    same((hard(student, gold) + soft(student, teacher, temperature=T, reduction="mean_c")) / 2, wanted)


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_alone_it_lacks_t_squared_and_its_weight(sides, theirs, T):
    """With alpha = 0 or without gold classes it answers the divergence, without T² and without beta."""
    student, teacher, gold = sides
    bare = soft(student, teacher, temperature=T, t_squared=False)
    same(bare, theirs(student, teacher, gold, temperature=T, alpha=0))
    same(bare, theirs(student, teacher, None, temperature=T, alpha=0.5, beta=3.0))
    same(soft(student, teacher, temperature=T), T**2 * theirs(student, teacher, gold, temperature=T, alpha=0))
