"""The probes of eight layers, four settings each, side by side as `kdpipe probe` trains them, and one after another as
SentEval does: seconds for an epoch of 8,500 rows of width 384. With folders of models: also the whole command, ten
tasks in an empty store.

    python -m tests.benchmarks.bench_probe [FOLDER...]        prints one JSON object
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kdpipe.modelfolder import CARD
from kdpipe.probing import classifier
from tests.benchmarks.bench_warehouse import timed

LAYERS, ROWS, CHOSEN_ON, WIDTH, CLASSES, ROUNDS = 8, 8_500, 960, 384, 2, 3
GRID = classifier.GRIDS["quick"]


def main(folders: Sequence[str] = ()) -> dict[str, object]:
    """Medians over rounds; times_one_by_one: how many times as fast side by side is. whole: seconds by model."""
    torch.set_num_threads(1)  # both are faster so
    random = np.random.default_rng(0)
    states = random.normal(size=(LAYERS, ROWS + CHOSEN_ON, WIDTH)).astype(np.float16)
    gold = random.integers(0, CLASSES, ROWS)
    some = states[:, :ROWS]  # a slice of every layer, as a task's rows are
    side = classifier._SideBySide(some, gold, CLASSES, GRID, classifier.SEED)
    together, apart = [], []
    for _ in range(ROUNDS):
        together.append(timed(side._epoch))
        apart.append(timed(lambda: one_by_one(some, gold)))
    together, apart = statistics.median(together), statistics.median(apart)
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": [round(x, 1) for x in os.getloadavg()],
        "layers": LAYERS, "settings": len(GRID), "rows": ROWS, "width": WIDTH,
        "seconds": {"side_by_side": round(together, 2), "one_by_one": round(apart, 2)},
        "times_one_by_one": round(apart / together, 2),
        **({"whole": {kind: seconds for kind, seconds in map(whole, folders)}} if folders else {}),
    }


def whole(folder: str) -> tuple[str, float]:
    """What kind of model it is, and the seconds of `kdpipe probe` over the ten tasks, untrained twin included."""
    with tempfile.TemporaryDirectory() as empty:
        command = [sys.executable, "-m", "kdpipe.cli", "probe", folder, "--store", f"{empty}/store", "--format", "json"]
        taken = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    return json.loads((Path(folder) / CARD).read_text("utf-8"))["model"]["name"], round(taken, 1)


def one_by_one(states: np.ndarray, gold: np.ndarray) -> None:
    """An epoch of each classifier, in plain PyTorch."""
    truth = torch.from_numpy(gold)
    for layer in states:
        x = torch.from_numpy(layer).float()
        for setting in GRID:
            net = nn.Sequential(nn.Linear(WIDTH, setting.hidden), nn.Sigmoid(), nn.Linear(setting.hidden, CLASSES))
            adam = torch.optim.Adam(net.parameters(), lr=classifier.RATE, weight_decay=setting.l2)
            for rows in torch.randperm(len(x)).split(classifier.BATCH):
                adam.zero_grad()
                functional.cross_entropy(net(x[rows]), truth[rows]).backward()
                adam.step()


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:]), indent=1))
