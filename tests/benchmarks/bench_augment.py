"""Made rows per second on one core against nlpaug's word-level augmenter (pip install 'kdpipe[bench]').

    python -m tests.benchmarks.bench_augment [--task sst2] [--rows 67349] [--repeats 5]

Ours: `transfer.build` of Tang's mask, POS swap and n-gram, 20 copies, texts tagged before; with tokenising, ids,
dropping of duplicates and of held-out texts, lineage and Parquet; counted are the rows that are left. Theirs:
RandomWordAug, its fastest action at its fastest batch size; counted is every row that it returns. Both take turns on
one core; figures are medians. `stage_ns` says where our processor time goes, in ns for each row that is left.

The floor for a row that is left (SST-2, tang2019: 1.64 attempts, 15 words drawn, 1.3 texts made and hashed, 63 bytes
of text), reckoned from single steps on a shared core, not reached anywhere:
draw and edit   15 words, about 20 passes of 4 to 8 bytes at 0.25 ns: 75 ns
join            12 words at 15 ns each in Arrow's `take`: 180 ns
ids             1.3 digests at 120 ns a call: 155 ns; making the objects of bytes that they read costs as much again
encode          zstd of the text 220 ns, all else copied 150 ns; without zstd a row takes 94 bytes instead of 59
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq

from kdpipe import making, transfer
from kdpipe.augment import _made
from kdpipe.augment._tokens import Lexicon
from kdpipe.augment.tang import Tang
from kdpipe.idset import IdSet
from kdpipe.runs import machine, versions
from kdpipe.store import Store
from kdpipe.tasks.load import load
from kdpipe.types import Task

THEIR_ROWS = 4000
STAGES = {
    "start": (transfer, "build"),
    "tags": (transfer, "tagged_rows"),
    "draw and edit": (Tang, "edit"),
    "rows that changed": (_made, "made_rows"),
    "join": (Lexicon, "join"),
    "ids": (_made, "row_ids"),
    "seen": (IdSet, "add"),
    "filter": (making.Intake, "_take"),
    "gather": (making.Intake, "_write_part"),
    "encode": (pq, "write_table"),
    "hash and write": (Store, "write_part"),
}
ACTIONS, BATCHES = ("swap", "delete", "substitute"), (32, 1000, THEIR_ROWS)


def main(task: str = "sst2", rows: int = 67_349, repeats: int = 5) -> dict:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
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
        with _clocks() as spent:
            left = _build(store, loaded, repeats, counts)
        for seed in range(repeats):
            ours.append(_rates(lambda seed=seed: _build(store, loaded, seed, counts)))
            theirs.append(_rates(lambda: len(augment(texts))))
    wall, cpu = ([statistics.median(rate[i] for rate in rates) for rates in (ours, theirs)] for i in (0, 1))
    return {
        "task": loaded.name, "gold_rows": len(loaded.splits["train"]), "repeats": repeats, "counts": counts,
        "rows_per_second": round(wall[0]), "rows_per_cpu_second": round(cpu[0]),
        "nlpaug": best, "nlpaug_rows_per_second": round(wall[1]), "nlpaug_rows_per_cpu_second": round(cpu[1]),
        "times_nlpaug": round(wall[0] / wall[1], 1), "times_nlpaug_cpu": round(cpu[0] / cpu[1], 1),
        "stage_ns": {stage: round(seconds / left * 1e9) for stage, seconds in spent.items()},
        "machine": machine(), "versions": versions(),
    }


def _build(store: Store, task: Task, seed: int, counts: dict) -> int:
    key = transfer.build(store, task, [{"name": "tang", "preset": "tang2019"}], seed=seed, near=False, workers=1)
    counts.update(transfer.facts(store, key)["counts"])
    return counts["rows"] - counts["gold"]


@contextlib.contextmanager
def _clocks() -> Iterator[Counter]:
    """Processor seconds spent in each stage, the time of stages inside it left out."""
    spent, own = Counter(dict.fromkeys(STAGES, 0.0)), threading.local()

    def clocked(stage: str, work: Callable) -> Callable:
        def call(*args, **kwargs):
            inside = own.__dict__.setdefault("inside", [0.0])
            start = time.thread_time()
            inside.append(0.0)
            try:
                return work(*args, **kwargs)
            finally:
                took = time.thread_time() - start
                spent[stage] += took - inside.pop()
                inside[-1] += took
        return call

    with contextlib.ExitStack() as stack:
        for stage, (owner, name) in STAGES.items():
            stack.enter_context(patch.object(owner, name, clocked(stage, getattr(owner, name))))
        yield spent


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
