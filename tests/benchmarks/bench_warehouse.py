"""SQL over a thousand runs and ten million predictions; the leaderboard against plain Python over the same records.

    python tests/benchmarks/bench_warehouse.py        prints one JSON object; needs 1 GB in the temporary folder
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from kdpipe.store import Store
from kdpipe.types import NEIGHBOURS, PREDICTIONS, TRANSFER, row_ids
from kdpipe.warehouse import query

RUNS, ROWS_A_SPLIT, RUNS_A_TASK = 1000, 5000, 100
LARGE = (20, 250_000, 20)  # the same ten million answers as of few runs over large splits
LABELS = np.array(["negative", "positive"])
RECIPES = ["labels_only", "tang2019", "tang2019-mask", "tang2019-ngram"]
GOLD, COPIES = 5000, 20


def make_store(root: Path, runs: int = RUNS, rows: int = ROWS_A_SPLIT, runs_a_task: int = RUNS_A_TASK) -> Store:
    """Tasks of so many runs each, `rows` dev and test answers of each run, one transfer set of 105,000 rows."""
    store, draw = Store(root), np.random.default_rng(0)
    splits = {split: texts(draw, rows, split) for split in ("dev", "test")}
    classes = {split: draw.integers(0, 2, rows) for split in splits}
    for i in range(runs):
        run = f"run-{i:04d}"
        for split, asked in splits.items():
            store.write_part(store.predictions(run, split), answers(draw, asked, classes[split]))
        store.write_json(store.run(run), record(i, run, runs_a_task))
    gold = texts(draw, GOLD, "train")
    made = texts(draw, GOLD * COPIES, "made")
    learned = lineage(gold, made)
    folder = store.transfer("set1")
    store.finish(folder, [store.write_part(folder, learned)], {})
    values = pa.array(draw.normal(size=2 * len(learned)), pa.float32())
    logits = pa.table({"id": learned["id"], "values": pa.FixedSizeListArray.from_arrays(values, 2)})
    store.write_part(store.signals("fp", "logits"), logits)
    for task in range(runs // runs_a_task):
        store.write_part(store.neighbours(f"key{task}"), neighbours(draw, splits["dev"], gold))
    return store


def texts(draw: np.random.Generator, n: int, name: str) -> pa.Table:
    words = np.array([f"word{i}" for i in range(3000)])
    text = pa.array([f"{name} {i} {' '.join(words[draw.integers(0, 3000, draw.integers(4, 20))])}" for i in range(n)])
    return pa.table({"id": row_ids(text), "text_a": text})


def answers(draw: np.random.Generator, rows: pa.Table, gold: np.ndarray) -> pa.Table:
    n = len(rows)
    logits = draw.normal(size=(n, 2)).astype(np.float32)
    logits[np.arange(n), gold] += 2
    answer = logits.argmax(1)
    offsets = pa.array(np.arange(0, 2 * n + 1, 2, dtype=np.int32))
    found = {
        "id": rows["id"],
        "text_a": rows["text_a"],
        "text_b": pa.nulls(n, pa.string()),
        "label": LABELS[gold],
        "target": gold.astype(float),
        "prediction": LABELS[answer],
        "score": answer.astype(float),
        "confidence": (1 / (1 + np.exp(-np.abs(logits[:, 0] - logits[:, 1])))).astype(np.float32),
        "logits": pa.ListArray.from_arrays(offsets, logits.ravel()),
        "n_words": np.full(n, 12, np.int32),
        "n_unknown": np.zeros(n, np.int32),
    }
    return pa.table(found, schema=PREDICTIONS)


def record(i: int, run: str, runs_a_task: int) -> dict[str, object]:
    task, is_teacher = i // runs_a_task, i % runs_a_task == 0
    score = 0.8 + i % 97 / 1000
    return {
        "run": run,
        "task": f"task{task}",
        "task_key": f"key{task}",
        "kind": "classification",
        "labels": list(LABELS),
        "recipe": "teacher" if is_teacher else RECIPES[i % 4],
        "phase": "teacher" if is_teacher else "student",
        "role": "teacher" if is_teacher else "student",
        "student": "bert-base" if is_teacher else f"bilstm hidden={150 + 50 * (i // 20 % 5)}",
        "seed": i // 4 % 5,
        "metric": "accuracy",
        "model": f"model{i}",
        "dev_score": score,
        "test_score": score - 0.01,
        "scores": [{"split": s, "metric": m, "value": score} for s in ("dev", "test") for m in ("accuracy", "f1")],
        "stages": [{"stage": s, "seconds": 1.5, "rows": 100, "reused": False} for s in ("augment", "teach", "train")],
        "teacher_run": None if is_teacher else f"run-{task * runs_a_task:04d}",
        "teacher": None if is_teacher else "fp",
        "transfer": None if is_teacher else "set1",
        "teacher_rows_asked": 0,
        "operators": ["tang"],
        "transfer_counts": [{"operator": "gold", "rows": GOLD}],
        "parameters": {"total": 3_000_000, "embedding": 2_000_000, "non_embedding": 1_000_000},
        "curve": [{"epoch": e, "loss": 1 / e, "dev": 0.7 + e / 100, "seconds": 2.5} for e in range(1, 31)],
        "best_epoch": 12,
        "speed": [{"batch": b, "rows_per_second": 1000.0 * b} for b in (1, 64)],
        "settings": {"phases": [{"name": "student", "loss": [{"name": "logit_mse"}], "train": {"epochs": 30}}] * 4},
        "device": "cpu",
        "started": f"2026-01-{1 + i % 28:02d}T{i // 60 % 24:02d}:{i % 60:02d}:00+00:00",
        "seconds": 12.5,
        "versions": {name: "1.2.3" for name in ("python", "torch", "transformers", "pyarrow", "duckdb", "numpy")},
        "git": {"commit": "a" * 40, "dirty": False},
        "machine": {"host": "bench", "system": platform.platform(), "cores": 2},
    }


def lineage(gold: pa.Table, made: pa.Table) -> pa.Table:
    """Every gold row, and twenty made rows of each."""
    n = len(gold)
    rows = pa.concat_tables([gold, made])
    found = {
        "id": rows["id"],
        "text_a": rows["text_a"],
        "text_b": pa.nulls(len(rows), pa.string()),
        "label": pa.array([0.0] * n + [None] * len(made), pa.float64()),
        "source": gold["id"].take(pa.array(np.arange(len(rows)) % n)),
        "operator": np.repeat(["gold", "mask", "ngram"], [n, len(made) // 2, len(made) // 2]),
        "copy": (np.arange(len(rows)) // n).astype(np.int32),
        "round": np.zeros(len(rows), np.int32),
    }
    return pa.table(found, schema=TRANSFER)


def neighbours(draw: np.random.Generator, rows: pa.Table, gold: pa.Table) -> pa.Table:
    n = len(rows)
    found = {
        "id": rows["id"].take(pa.array(np.repeat(np.arange(n), 5))),
        "rank": np.tile(np.arange(1, 6, dtype=np.int32), n),
        "neighbour": gold["id"].take(pa.array(draw.integers(0, len(gold), 5 * n))),
        "similarity": np.full(5 * n, 0.5, np.float32),
    }
    return pa.table(found, schema=NEIGHBOURS)


def plain_python(root: Path) -> list[tuple[object, ...]]:
    """The leaderboard's means and deviations with the standard library alone."""
    groups = defaultdict(list)
    for path in (root / "runs").glob("*.json"):
        run = json.loads(path.read_bytes())
        groups[run["task"], run["recipe"], run["student"]].append((run["started"], run["seed"], run["dev_score"]))
    newest = {key: {seed: score for _, seed, score in sorted(runs)}.values() for key, runs in groups.items()}
    return [(*key, statistics.fmean(s), statistics.stdev(s) if len(s) > 1 else None) for key, s in newest.items()]


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_a_new_process(root: Path) -> None:
    code = "import sys; from kdpipe.warehouse import query; query(sys.argv[1], 'leaderboard')"
    subprocess.run([sys.executable, "-c", code, str(root)], check=True)


def compare(root: Path, rounds: int = 7) -> dict[str, float]:
    """Medians in seconds, all questions taking turns; files lie in the page cache."""
    questions: dict[str, Callable[[], object]] = {
        "leaderboard": lambda: query(root, "leaderboard"),
        "leaderboard_in_plain_python": lambda: plain_python(root),
        "leaderboard_in_a_new_process": lambda: in_a_new_process(root),
        "gap_closed": lambda: query(root, "gap_closed"),
        "error_cases_of_a_run": lambda: query(root, "select * from error_cases where run = ?", ["run-0101"]),
        "confusion_of_a_run": lambda: query(root, "select * from confusion where run = ?", ["run-0101"]),
        "slices_of_a_run": lambda: query(root, "select * from slices where run = ?", ["run-0101"]),
        "confusion_of_all_runs": lambda: query(root, "confusion"),
    }
    seconds = [{name: timed(work) for name, work in questions.items()} for _ in range(rounds)]
    medians = {name: round(statistics.median(s[name] for s in seconds), 3) for name in questions}
    ratio = statistics.median(s["leaderboard_in_plain_python"] / s["leaderboard"] for s in seconds)
    return {**medians, "plain_python_over_sql": round(ratio, 2)}


def mistakes(root: Path, run: str, rounds: int = 5) -> dict[str, float]:
    """Seconds of questions about mistakes: the first call of a process, which checks the hash of every part that it may
    read, and medians of those that follow."""
    hundred = "select text_a, label, student_answer, teacher_answer from error_cases where run = ? limit 100"
    counted = "select split, label, student_answer, count(*) as n from error_cases where run = ? group by all"
    questions = {
        "hundred": lambda: query(root, hundred, [run]),
        "counted": lambda: query(root, counted, [run]),
        "confusion_of_all_runs": lambda: query(root, "confusion"),
    }
    first = timed(questions["hundred"])
    seconds = [{name: timed(work) for name, work in questions.items()} for _ in range(rounds)]
    return {"hundred_first_call": round(first, 3),
            **{name: round(statistics.median(s[name] for s in seconds), 3) for name in questions}}


def main() -> dict[str, object]:
    """All figures; the machine and its load beside them."""
    with tempfile.TemporaryDirectory(prefix="kdpipe-bench-") as folder:
        making = timed(lambda: make_store(Path(folder)))
        size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
        few = mistakes(Path(folder), "run-0101")
        found = compare(Path(folder))
    with tempfile.TemporaryDirectory(prefix="kdpipe-bench-") as folder:
        make_store(Path(folder), *LARGE)
        many = mistakes(Path(folder), "run-0001", rounds=3)
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": [round(x, 1) for x in os.getloadavg()],
        "runs": RUNS,
        "predictions": 2 * RUNS * ROWS_A_SPLIT,
        "megabytes": size // 2**20,
        "making_seconds": round(making, 1),
        "seconds": found,
        "mistakes_of_1000_runs_10000_answers_each": few,
        "mistakes_of_20_runs_500000_answers_each": many,
    }


if __name__ == "__main__":
    print(json.dumps(main(), indent=1))
