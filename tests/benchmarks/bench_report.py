"""`kdpipe report` over two hundred runs of two tasks, 5,000 dev answers each.

    python -m tests.benchmarks.bench_report        prints one JSON object; needs 200 MB in the temporary folder
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


def main() -> dict[str, object]:
    """Seconds of the command, its start and the check of every part included, and the size of the page."""
    with tempfile.TemporaryDirectory(prefix="kdpipe-bench-") as folder:
        make_store(Path(folder) / "store", RUNS)
        page = Path(folder) / "report.html"
        command = [sys.executable, "-m", "kdpipe.cli", "report", "--store", f"{folder}/store", "-o", str(page)]
        before = os.times()
        seconds = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
        after = os.times()
        size = page.stat().st_size
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": [round(x, 1) for x in os.getloadavg()],
        "runs": RUNS,
        "seconds": round(seconds, 1),
        "processor_seconds": round(after.children_user + after.children_system
                                   - before.children_user - before.children_system, 1),
        "megabytes": round(size / 1e6, 2),
    }


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
