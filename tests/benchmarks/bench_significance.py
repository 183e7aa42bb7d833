"""All 45 pairs of ten systems over 5,000 rows, 10,000 resamples, by each metric; one seed each, and three.

    python -m tests.benchmarks.bench_significance        prints one JSON object
"""

from __future__ import annotations

import json
import os
import platform

import numpy as np

from kdpipe.significance import System, compare
from tests.benchmarks.bench_warehouse import timed

SYSTEMS, ROWS, RESAMPLES = 10, 5_000, 10_000
CLASSES = {"accuracy": 2, "f1": 2, "macro_f1": 5, "matthews": 2, "pearson": None, "spearman": None}


def main() -> dict[str, object]:
    """Seconds by metric and number of seeds."""
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": [round(x, 1) for x in os.getloadavg()],
        "pairs": SYSTEMS * (SYSTEMS - 1) // 2, "rows": ROWS, "resamples": RESAMPLES,
        "seconds": {metric: {f"{seeds} seeds": round(seconds(metric, seeds), 1) for seeds in (1, 3)}
                    for metric in CLASSES},
    }


def seconds(metric: str, seeds: int) -> float:
    random, classes = np.random.default_rng(0), CLASSES[metric]
    gold = random.normal(size=ROWS) if classes is None else random.integers(0, classes, ROWS)
    systems = [System(f"system {i}", answers(random, gold, classes, (seeds, ROWS))) for i in range(SYSTEMS)]
    found = []
    taken = timed(lambda: found.extend(compare(systems, gold, metric, resamples=RESAMPLES)[1]))
    assert len(found) == SYSTEMS * (SYSTEMS - 1) // 2
    return taken


def answers(random: np.random.Generator, gold: np.ndarray, classes: int | None, shape: tuple[int, int]) -> np.ndarray:
    """Right four times of five; scores with as much noise as signal."""
    if classes is None:
        return gold + random.normal(size=shape)
    return np.where(random.random(shape) < 0.8, gold, random.integers(0, classes, shape))


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
