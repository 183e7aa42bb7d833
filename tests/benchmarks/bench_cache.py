"""The teacher cache at ten million rows: which rows are missing, and reading all logits for training.

    python -m tests.benchmarks.bench_cache [--rows 10000000]    prints one JSON object; needs 1 GB of temporary space

Each measurement runs in a process of its own, so that its memory is its own. The plain scan reads the same files with
pyarrow's dataset reader, and neither checks a byte nor looks for a row.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from kdpipe.idset import as_ids
from kdpipe.signals.cache import SHARD, Cache
from kdpipe.store import Store

CLASSES, REPEATS = 2, 3
TEACHER = "0123456789abcdef0123"


def ids_of(start: int, stop: int) -> np.ndarray:
    """Ids of made-up rows, a function of their numbers: uint64 [n, 2], as even as hashes are."""
    numbers = np.arange(start, stop, dtype=np.uint64)
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.column_stack([mixed ^ (mixed >> np.uint64(32)), numbers])


def make(root: Path, rows: int, part: int) -> None:
    """A cache of so many rows, in parts as teaching leaves them."""
    store, draw = Store(root), np.random.default_rng(0)
    for start in range(0, rows, part):
        ids = as_ids(ids_of(start, min(start + part, rows)))
        values = pa.array(draw.normal(size=CLASSES * len(ids)).astype(np.float32))
        table = pa.table({"id": ids, "values": pa.FixedSizeListArray.from_arrays(values, CLASSES)})
        store.write_part(store.signals(TEACHER, "logits"), table)


def asked(rows: int) -> pa.ChunkedArray:
    """The ids of a transfer set: all stored rows in another order and one new row in a hundred, in chunks."""
    blocks = np.random.default_rng(1).permutation(max(rows // 250_000, 1))
    size = rows // len(blocks)
    chunks = [as_ids(ids_of(b * size, (b + 1) * size)) for b in blocks]
    return pa.chunked_array([*chunks, as_ids(ids_of(rows, rows + rows // 100))])


def lookup(root: Path, wanted: pa.ChunkedArray) -> int:
    """The rows that are missing, as the teach stage looks for them."""
    cache = Cache(Store(root), TEACHER, lambda: None, CLASSES, {})
    stored = cache.stored("logits")
    return sum(len(cache.missing(pa.table({"id": chunk}), stored)) for chunk in wanted.chunks)


def read(root: Path, wanted: pa.ChunkedArray) -> int:
    """All logits in the order of a transfer set, as training reads them."""
    cache = Cache(Store(root), TEACHER, lambda: None, CLASSES, {})
    return len(cache.read("logits", pa.chunked_array(wanted.chunks[:-1])))


def scan(root: Path, wanted: pa.ChunkedArray) -> int:
    """The same files, read by pyarrow alone."""
    return len(ds.dataset(Store(root).signals(TEACHER, "logits"), format="parquet").to_table())


def timed(what: str, root: Path, rows: int) -> dict[str, float]:
    """Median seconds and peak memory of a measurement, each time in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_cache", "--rows", str(rows), "--only", what, str(root)]
    found = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(REPEATS)]
    return {
        "rows": found[0]["rows"],
        "seconds": round(statistics.median(f["seconds"] for f in found), 2),
        "peak_mib": round(max(f["mib"] for f in found)),
    }


def main() -> dict[str, object]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--part", type=int, default=SHARD)
    parser.add_argument("--only", nargs=2)
    said = parser.parse_args()
    if said.only:
        what, root = said.only
        wanted = asked(said.rows)
        started = time.perf_counter()
        rows = {"lookup": lookup, "read": read, "scan": scan}[what](Path(root), wanted)
        seconds = time.perf_counter() - started
        return {"rows": rows, "seconds": seconds, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    with tempfile.TemporaryDirectory(prefix="kdpipe-bench-") as folder:
        make(Path(folder), said.rows, said.part)
        found = {what: timed(what, Path(folder), said.rows) for what in ("lookup", "read", "scan")}
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "rows": said.rows,
        "rows_of_a_part": said.part,
        **found,
        "scan_over_read": round(found["scan"]["seconds"] / found["read"]["seconds"], 2),
    }


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
