"""Training a table by rows gives what PyTorch's dense optimisers give."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from kdpipe.optim import LARGE, Optimiser

DENSE = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "adadelta": torch.optim.Adadelta}


def twins():
    torch.manual_seed(0)
    start = torch.randn(LARGE, 4, dtype=torch.float64)
    return [nn.Embedding.from_pretrained(start.clone(), freeze=False, padding_idx=0) for _ in range(2)]


@pytest.mark.parametrize("name", DENSE)
def test_rows_move_as_in_a_dense_table(name):
    """Few rows often, many rows seldom, over 400 steps with a falling rate; large gradients, so that eps is nothing."""
    by_rows, dense = twins()
    base = 1.0 if name == "adadelta" else 0.01
    more = {"rho": 0.9} if name == "adadelta" else {}
    reference = DENSE[name](dense.parameters(), lr=base, weight_decay=0.0, **more)
    draw, steps = torch.Generator().manual_seed(1), 400
    with Optimiser(by_rows, name, base, rho=0.9) as optimiser:
        for step in range(steps):
            ids = torch.randint(0, 30 if step % 3 else LARGE, (2, 4), generator=draw)
            for table in (by_rows, dense):
                (1e4 * (table(ids) + 1.5).square().sum() + 1e4 * table(ids[:1]).sum()).backward()
            optimiser.step(1 - step / steps)
            reference.param_groups[0]["lr"] = base * (1 - step / steps)
            reference.step()
            reference.zero_grad()
    assert (by_rows.weight - twins()[0].weight).abs().max() > 0.1
    assert_close(by_rows.weight, dense.weight, rtol=0, atol=1e-6)


def test_settled_rows_are_those_of_the_moment():
    by_rows, dense = twins()
    reference = torch.optim.AdamW(dense.parameters(), lr=0.01, weight_decay=0.0)
    with Optimiser(by_rows, "adamw", 0.01) as optimiser:
        for step in range(30):
            for table in (by_rows, dense):
                (1e4 * table(torch.arange(step, step + 9)).square().sum()).backward()
            optimiser.step()
            reference.step()
            reference.zero_grad()
            if step % 10 == 9:
                optimiser.settle()
                assert_close(by_rows.weight, dense.weight, rtol=0, atol=1e-9)


def test_clipping_counts_table_and_network_together():
    """Gradients 3 (a row read twice: 1.5 + 1.5) and 4 have the norm 5; cut to 1 they are 0.6 and 0.8."""
    parts = nn.ModuleList([nn.Embedding(LARGE, 1), nn.Linear(1, 1, bias=False)])
    before = [p.detach().clone() for p in parts.parameters()]
    with Optimiser(parts, "adadelta", 1.0, rho=0.0) as optimiser:
        (1.5 * parts[0](torch.tensor([7, 7])).sum() + 4 * parts[1].weight.sum()).backward()
        optimiser.step(clip=1.0)
    moved = [(b - p.detach()).abs().max().item() for b, p in zip(before, parts.parameters(), strict=True)]
    by_hand = [np.sqrt(1e-6) / np.sqrt(g * g + 1e-6) * g for g in (0.6, 0.8)]
    assert moved == pytest.approx(by_hand, rel=1e-3)


def test_weight_decay_spares_tables_and_biases():
    parts = nn.ModuleList([nn.Embedding(LARGE, 2), nn.Embedding(5, 2), nn.Linear(2, 2)])
    before = {name: p.detach().clone() for name, p in parts.named_parameters()}
    with Optimiser(parts, "adamw", 0.1, weight_decay=0.5) as optimiser:
        sum(0 * part(x).sum() for part, x in zip(parts, (torch.tensor([1]), torch.tensor([1]), torch.ones(1, 2)),
                                                 strict=True)).backward()
        optimiser.step()
    after = dict(parts.named_parameters())
    assert_close(after["2.weight"], before["2.weight"] * 0.95)
    assert all(torch.equal(after[name], before[name]) for name in ("0.weight", "1.weight", "2.bias"))


def test_tables_are_left_as_they_were_found():
    table = nn.Embedding(LARGE, 2)
    with Optimiser(table, "adam", 0.1):
        assert table.sparse and len(table._forward_pre_hooks) == 1
    assert not table.sparse and not table._forward_pre_hooks


def test_frozen_and_small_tables_are_not_trained_by_rows():
    frozen = nn.Embedding.from_pretrained(torch.randn(LARGE, 2))
    parts = nn.ModuleList([frozen, nn.Embedding(LARGE - 1, 2)])
    with Optimiser(parts, "adam", 0.1) as optimiser:
        assert optimiser.tables == []
