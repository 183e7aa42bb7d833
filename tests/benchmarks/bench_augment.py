"""Made rows per second on one core against nlpaug's word-level augmenter (pip install 'kdpipe[bench]').

    python -m tests.benchmarks.bench_augment [--task sst2] [--rows 67349] [--repeats 5]

Ours: `transfer.build` of Tang's mask, POS swap and n-gram, 20 copies, texts tagged before; with tokenising, ids,
dropping of duplicates and of held-out texts, lineage and Parquet; counted are the rows that are left. Theirs:
RandomWordAug, its fastest action at its fastest batch size; counted is every row that it returns. Both take turns on
one core; figures are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable

import pyarrow as pa

from kdpipe import transfer
from kdpipe.runs import machine, versions
from kdpipe.store import Store
from kdpipe.tasks.load import load
from kdpipe.types import Task

THEIR_ROWS = 4000
ACTIONS, BATCHES = ("swap", "delete", "substitute"), (32, 1000, THEIR_ROWS)


def main(task: str = "sst2", rows: int = 67_349, repeats: int = 5) -> dict:
    """Rates of both (rows per second: wall clock and processor time) and ours as a multiple of theirs."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    loaded = load(task, limit={"train": rows})
    texts = loaded.splits["train"]["text_a"].to_pylist()[:THEIR_ROWS]
    best, augment = _fastest(texts)
    ours, theirs, counts = [], [], {}
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(scratch)
        transfer.build(store, loaded, [{"name": "tang", "copies": 1}], seed=repeats)  # tags every text
        for seed in range(repeats):
            ours.append(_rates(lambda seed=seed: _build(store, loaded, seed, counts)))
            theirs.append(_rates(lambda: len(augment(texts))))
    wall, cpu = ([statistics.median(rate[i] for rate in rates) for rates in (ours, theirs)] for i in (0, 1))
    return {
        "task": loaded.name, "gold_rows": len(loaded.splits["train"]), "repeats": repeats, "counts": counts,
        "rows_per_second": round(wall[0]), "rows_per_cpu_second": round(cpu[0]),
        "nlpaug": best, "nlpaug_rows_per_second": round(wall[1]), "nlpaug_rows_per_cpu_second": round(cpu[1]),
        "times_nlpaug": round(wall[0] / wall[1], 1), "times_nlpaug_cpu": round(cpu[0] / cpu[1], 1),
        "machine": machine(), "versions": versions(),
    }


def _build(store: Store, task: Task, seed: int, counts: dict) -> int:
    key = transfer.build(store, task, [{"name": "tang", "preset": "tang2019"}], seed=seed, workers=1)
    counts.update(transfer.facts(store, key)["counts"])
    return counts["rows"] - counts["gold"]


def _fastest(texts: list[str]) -> tuple[str, Callable[[list[str]], list[str]]]:
    import nlpaug.augmenter.word as naw

    found = {}
    for action in ACTIONS:
        augmenter = naw.RandomWordAug(action=action, aug_p=0.1)
        for size in BATCHES:
            augment = _batched(augmenter.augment, size)
            found[_rates(lambda augment=augment: len(augment(texts)))[1]] = (f"{action}, batch {size}", augment)
    return found[max(found)]


def _batched(augment: Callable, size: int) -> Callable[[list[str]], list[str]]:
    return lambda texts: [made for start in range(0, len(texts), size) for made in augment(texts[start:start + size])]


def _rates(work: Callable[[], int]) -> tuple[float, float]:
    """Rows per second of wall clock, and of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    n = work()
    return n / (time.perf_counter() - wall), n / (time.process_time() - cpu)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--rows", type=int, default=67_349)
    parser.add_argument("--repeats", type=int, default=5)
    print(json.dumps(main(**vars(parser.parse_args())), indent=1))
