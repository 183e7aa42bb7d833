"""The training loop against the bare network on ready tensors; rows per second of inference; cost of token tables.

    python tests/benchmarks/bench_train.py        prints one JSON object
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kdpipe import batches
from kdpipe.models.bilstm import BiLSTM
from kdpipe.objectives.logit_mse import LogitMSE
from kdpipe.optim import Optimiser
from kdpipe.schedules import as_schedule
from kdpipe.signals.said import Said
from kdpipe.train import Settings, Term, cores_for, fit, seeded
from kdpipe.types import Encoded, Ragged

DATASETS = Path(os.environ.get("KDPIPE_DATASETS", Path(__file__).resolve().parents[3] / "shared" / "datasets"))
BATCH = 50


def sentences(limit: int) -> tuple[Encoded, int]:
    """Words of sst2-sentences split at spaces -> encoded rows and the number of words."""
    lines = (DATASETS / "sst2-sentences" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:limit + 1]
    ids: dict[str, int] = {}
    rows = [[ids.setdefault(w, len(ids) + 1) for w in line.split("\t")[0].split()] for line in lines]
    flat = np.fromiter((i for row in rows for i in row), np.int32)
    return Encoded((Ragged(flat, np.cumsum([0, *map(len, rows)])),)), len(ids) + 1


def loop(data: Encoded, words: int, logits: np.ndarray) -> float:
    """Rows per second of kdpipe's training loop."""
    with seeded(0):
        model = BiLSTM(words, 2)
    fitted = fit(model, [Term(LogitMSE(), as_schedule(1.0))], data, np.full(len(data), np.nan),
                 Said(len(data), model.shape, {"logits": logits}),
                 Settings(epochs=1, batch_size=BATCH, schedule="constant"), lambda: 0.0, seed=0)
    return fitted.rows_per_second


def bare(data: Encoded, words: int, logits: np.ndarray) -> float:
    """Rows per second of the same network, optimiser and batches, when every tensor lies ready."""
    with seeded(0):
        model = BiLSTM(words, 2).train()
    order = batches.shuffled(batches.lengths(data), BATCH, seed=0, epoch=1)
    ready = [(batches.collate(data, rows), torch.from_numpy(logits[rows])) for rows in order]
    with cores_for(model), Optimiser(model, "adamw", 1e-3) as optimiser:
        start = time.perf_counter()
        for batch, target in ready:
            F.mse_loss(model(batch).logits, target).backward()
            optimiser.step(1.0, 5.0)
        return len(data) / (time.perf_counter() - start)


def compare(rows: int = 1500, rounds: int = 5) -> dict[str, float]:
    """Medians over rounds in which the two take turns."""
    data, words = sentences(rows)
    logits = np.random.default_rng(0).standard_normal((len(data), 2)).astype(np.float32)
    pairs = [(loop(data, words, logits), bare(data, words, logits)) for _ in range(rounds + 1)][1:]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    return {"loop_rows_per_second": round(ours), "bare_rows_per_second": round(theirs),
            "ratio": round(statistics.median(a / b for a, b in pairs), 3)}


def tables(rows: int, width: int = 300, steps: int = 30) -> dict[str, float]:
    """Milliseconds for the backward pass, clipping and AdamW step of a token table alone, median of steps."""
    draw = torch.Generator().manual_seed(0)
    zipf = 1 / torch.arange(1, rows + 1)
    ids = [torch.multinomial(zipf, BATCH * 20, replacement=True, generator=draw) for _ in range(steps)]
    by_rows, dense = nn.Embedding(rows, width), nn.Embedding(rows, width)
    fused = torch.optim.AdamW(dense.parameters(), fused=True, weight_decay=0.0)
    plain = torch.optim.AdamW(dense.parameters(), weight_decay=0.0)

    def step_dense(optimizer: torch.optim.Optimizer) -> None:
        torch.nn.utils.clip_grad_norm_(dense.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()

    with Optimiser(by_rows, "adamw", 1e-3) as optimiser:
        return {"by_rows_ms": _median_ms(by_rows, ids, lambda: optimiser.step(1.0, 5.0)),
                "dense_fused_ms": _median_ms(dense, ids, lambda: step_dense(fused)),
                "dense_default_ms": _median_ms(dense, ids, lambda: step_dense(plain))}


def _median_ms(table: nn.Embedding, ids: list[torch.Tensor], step: Callable[[], None]) -> float:
    spent, gradient = [], torch.ones(len(ids[0]), table.embedding_dim)
    for batch in ids:
        start = time.perf_counter()
        table(batch).backward(gradient)
        step()
        spent.append(time.perf_counter() - start)
    return round(1000 * statistics.median(spent[3:]), 2)


def main() -> dict[str, object]:
    """All figures; the machine and its threads beside them."""
    return {"machine": platform.processor() or platform.machine(), "threads": torch.get_num_threads(),
            "training": compare(),
            "token_tables": {str(rows): tables(rows) for rows in (15_000, 50_000)}}


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
