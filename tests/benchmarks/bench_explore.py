"""The local page over a million predictions: how long a filter, a text search, two runs side by side and a row take.

    python -m tests.benchmarks.bench_explore        prints one JSON object; needs 300 MB in the temporary folder

Whole answers of the server, from the address to the last byte of HTML: the question, the count, the page and its links.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import statistics
import tempfile
from functools import partial
from html import unescape
from pathlib import Path

from starlette.testclient import TestClient

from kdpipe.explore import app
from tests.benchmarks import bench_warehouse

RUNS, ROUNDS = 100, 9
ASKED = {
    "runs": "/",
    "page_of_all": "/predictions",
    "mistakes_of_all_runs": "/predictions?outcome=wrong",
    "mistakes_of_a_run": "/predictions?run=run-0007&outcome=wrong",
    "filter_class_and_confidence": "/predictions?label=positive&answer=negative&low=0.6&high=0.9&order=unsure",
    "filter_slice": "/predictions?length=11-20+words&negation=no&split=test",
    "text_search_in_all_runs": "/predictions?text=Word12+word2",
    "text_search_in_a_run": "/predictions?run=run-0007&text=word12",
    "by_text": "/predictions?order=text",
    "last_page": "/predictions?page=100",
    "two_runs": "/compare?run=run-0007&second=run-0008",
    "two_runs_where_one_is_right": "/compare?run=run-0007&second=run-0000&side=second",
}


def main() -> dict[str, object]:
    """Medians in milliseconds, all pages taking turns."""
    with tempfile.TemporaryDirectory(prefix="kdpipe-bench-") as folder:
        bench_warehouse.make_store(Path(folder), RUNS, runs_a_task=RUNS)
        made = []
        reading = bench_warehouse.timed(lambda: made.append(app(folder)))
        page = TestClient(made[0], base_url="http://127.0.0.1:8000")
        links = page.get(ASKED["mistakes_of_a_run"]).text
        asked = ASKED | {"row_and_lineage": unescape(re.search(r'href="(/row[^"]+)"', links)[1])}
        assert all(page.get(path).status_code == 200 for path in asked.values())
        taken = [{name: bench_warehouse.timed(partial(page.get, path)) for name, path in asked.items()}
                 for _ in range(ROUNDS)]
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": [round(x, 1) for x in os.getloadavg()],
        "predictions": 2 * RUNS * bench_warehouse.ROWS_A_SPLIT,
        "reading_seconds": round(reading, 1),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "milliseconds": {name: round(1000 * statistics.median(each[name] for each in taken)) for name in asked},
    }


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
