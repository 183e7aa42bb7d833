"""Seconds and peak memory of every stage for ten times the rows, and ten times that, with a tiny teacher.

    python -m tests.benchmarks.bench_scale [--rows 10000 100000 1000000]

Gold rows are SST-2's, a fifteenth of the rows asked for; the operators make the others. Each size runs in a process of
its own; peaks are of that process or of its largest worker, in MiB. A stage's `times` is its seconds over those of the
size before, divided by how many times the rows there are: above 1 it grows faster than the rows.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kdpipe import phases, recipe
from kdpipe.job import Job
from kdpipe.runs import machine
from kdpipe.tasks.load import load
from tests import tiny

GOLD = 15  # rows for each gold row
RECIPE = """# Scale benchmark
[[phase]]
name = "teacher"
seed = 0
model = {{ name = "bert", checkpoint = "{checkpoint}" }}
train = {{ epochs = 1, batch_size = 256, lr = 1e-3 }}

[[phase]]
name = "student"
teacher = "teacher"
model = {{ name = "bilstm", hidden = 4, fc = 4, width = 8 }}
vocab = {{ name = "words" }}
augment = [{{ name = "tang", preset = "tang_lin_tsmp", target_rows = {rows} }}]
loss = [{{ name = "logit_mse" }}]
train = {{ epochs = 1, batch_size = 1024 }}
"""
TASK = """name = "some"
kind = "classification"
format = "jsonl"
train = "train.jsonl"
dev = "dev.jsonl"
text = "text"
label = "label"
"""
STAGES = ("teachers", "augment", "teach", "train", "evaluate")


def main(sizes: list[int]) -> dict:
    found = [_apart(rows) for rows in sizes]
    for before, after in zip(found, found[1:], strict=False):
        more = after["rows"] / before["rows"]
        after["times"] = {s: round(after[s]["seconds"] / before[s]["seconds"] / more, 2) for s in STAGES}
    return {"sizes": found, "machine": machine()}


def _apart(rows: int) -> dict:
    done = subprocess.run([sys.executable, "-m", __spec__.name, "--rows", str(rows), "--here"], check=True,
                          stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure(rows: int) -> dict:
    with tempfile.TemporaryDirectory(prefix="kdpipe-bench-") as folder:
        scratch = Path(folder)
        checkpoint = tiny.bert(scratch / "tiny", width=16, layers=1, positions=128)
        (scratch / "recipe.toml").write_text(RECIPE.format(checkpoint=checkpoint, rows=rows))
        task = _some_of_sst2(scratch / "some", rows // GOLD)
        job, found = Job(recipe.load(scratch / "recipe.toml", task), str(scratch / "store"), "cpu"), {}
        for stage, work in zip(STAGES, (phases.teachers, phases.augment, phases.teach, lambda job: phases.train(job, 0),
                                        lambda job: phases.evaluate(job, 0)), strict=True):
            start = time.perf_counter()
            work(job)
            found[stage] = {"peak_mib": _peak(), "seconds": round(time.perf_counter() - start, 1)}
        return {"rows": phases.augment(job).rows, **found}


def _some_of_sst2(folder: Path, rows: int) -> Path:
    folder.mkdir()
    (folder / "task.toml").write_text(TASK)
    task = load("sst2")
    for split, table in (("train", task.splits["train"].slice(0, rows)), ("dev", task.splits["dev"])):
        lines = (json.dumps({"text": text, "label": task.labels[int(label)]})
                 for text, label in zip(table["text_a"].to_pylist(), table["label"].to_pylist(), strict=True))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def _peak() -> int:
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) // 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    said = parser.parse_args()
    print(json.dumps(measure(said.rows[0]) if said.here else main(said.rows), indent=1))
