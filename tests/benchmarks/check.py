"""Runs benchmarks and compares their ratios with the committed ones of a machine like this.

    python -m tests.benchmarks.check [augment teach train inside cache probe warehouse] [--save]

Exit code 1 where a ratio is more than a fifth worse than the committed one; a machine without committed results is
measured and said so. --save writes the results files of this machine anew.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import Any

from kdpipe.runs import machine

RESULTS = Path(__file__).parent / "results"
WORST = 0.8  # of the committed ratio
RATIOS = {  # of each benchmark: ratios against a peer or a baseline in the same run, larger is better
    "augment": ("times_nlpaug",),
    "teach": ("times_pipeline", "share_of_bare_forward"),
    "train": ("training.ratio",),
    "inside": ("pkd.ratio", "textbrewer.ratio"),
    "cache": ("scan_over_read",),
    "probe": ("times_one_by_one",),
    "warehouse": ("seconds.plain_python_over_sql",),
}


def here() -> str:
    """This machine in a file's name: "amd-epyc-2-cores"."""
    about = machine()
    words = f"{about.get('gpu') or about['processor']} {about['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def run(name: str) -> dict[str, Any]:
    """What a benchmark prints. Raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", f"tests.benchmarks.bench_{name}"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def pick(results: dict[str, Any], key: str) -> float:
    return reduce(lambda part, word: part[word], key.split("."), results)


def is_worse(now: float, committed: float | None) -> bool:
    return committed is not None and now < WORST * committed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=", ".join(RATIOS), default=list(RATIOS))
    parser.add_argument("--save", action="store_true")
    said, failed = parser.parse_args(), False
    for name in said.names or RATIOS:
        path, found = RESULTS / f"{name}-{here()}.json", run(name)
        committed = json.loads(path.read_text()) if path.is_file() else None
        for key in RATIOS[name]:
            now, before = pick(found, key), committed and pick(committed, key)
            verdict = "nothing committed for this machine" if before is None else f"committed {before:g}"
            failed |= is_worse(now, before)
            word = "WORSE" if is_worse(now, before) else "ok"
            print(f"{word:6}{name:10}{key:30}{now:8.2f}  {verdict}", flush=True)
        if said.save:
            path.write_text(json.dumps(found, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
