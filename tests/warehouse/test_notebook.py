"""The worked notebook, cell after cell, over a store."""

import json
import os
import subprocess
import sys

from kdpipe.resources import folder

NOTEBOOK = folder("warehouse") / "error_analysis.ipynb"
RUN = """
import json, sys
cells = json.load(open(sys.argv[1], encoding="utf-8"))["cells"]
space = {}
for cell in cells:
    if cell["cell_type"] == "code":
        print("#", cell["id"])
        exec(compile("".join(cell["source"]), cell["id"], "exec"), space)
        if "run" in space:
            space["run"] = sys.argv[2]  # "say another run's id if you like"
import matplotlib.pyplot as plt
print("pictures:", [len(axes.lines) + len(axes.patches) + len(axes.collections) for n in plt.get_fignums()
                    for axes in plt.figure(n).axes])
"""


def test_the_notebook_runs_from_top_to_bottom(small_store):
    found = {**os.environ, "KDPIPE_STORE": str(small_store), "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", RUN, NOTEBOOK, "tang-s0"], env=found, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for shown in ("tang2019", "not a good film", "a [MASK] film", "sure mistake", "NEVER AGAIN", "00-05 words"):
        assert shown in done.stdout, shown
    assert "pictures: [2, 3, 4, 3]" in done.stdout


def test_the_notebook_finds_the_store_beside_it(small_store, tmp_path):
    (tmp_path / "store").symlink_to(small_store)
    first = next(cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code")
    code = "".join(first["source"]) + "\nshow('select max(seeds) as most from leaderboard')\ncon.close()"
    found = {key: value for key, value in os.environ.items() if key != "KDPIPE_STORE"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=found, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "most" in done.stdout


def test_no_outputs_are_kept_in_it():
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert all(cell.get("outputs", []) == [] and cell.get("execution_count") is None for cell in cells)
