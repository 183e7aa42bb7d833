"""`kdpipe report` over two hundred runs of two tasks, 5,000 dev answers each; and over a store that is there.

    python -m tests.benchmarks.bench_report [STORE]        prints one JSON object; needs 200 MB in the temporary folder
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.bench_warehouse import make_store, timed

RUNS = 200


def main(store: str | None = None) -> dict[str, object]:
    """Seconds of the command, its start and the check of every part included, and the size of the page."""
    with tempfile.TemporaryDirectory(prefix="kdpipe-bench-") as folder:
        make_store(Path(folder) / "store", RUNS)
        found = {"runs": RUNS, **report(f"{folder}/store")}
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": [round(x, 1) for x in os.getloadavg()],
        **found,
        **({"store": {"runs": len(list(Path(store, "runs").glob("*.json"))), **report(store)}} if store else {}),
    }


def report(store: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="kdpipe-bench-") as folder:
        page = Path(folder) / "report.html"
        command = [sys.executable, "-m", "kdpipe.cli", "report", "--store", store, "-o", str(page)]
        before = os.times()
        seconds = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
        after = os.times()
        return {
            "seconds": round(seconds, 1),
            "processor_seconds": round(after.children_user + after.children_system
                                       - before.children_user - before.children_system, 1),
            "megabytes": round(page.stat().st_size / 1e6, 2),
        }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:]), indent=1))
