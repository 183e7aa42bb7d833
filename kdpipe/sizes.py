"""Learning curves: one recipe over nested shares of its transfer set, at one training budget."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from kdpipe import modelfolder
from kdpipe.compare import Comparison
from kdpipe.contrast import of_runs
from kdpipe.errors import UserError
from kdpipe.job import Job, model_folder
from kdpipe.ladder import level, with_final
from kdpipe.significance import Difference, Score

SHARES = (0.0625, 0.125, 0.25, 0.5, 1.0)


def steps(job: Job, shares: Sequence[float] = SHARES) -> list[Job]:
    """The recipe once for each share of the rows of its last phase, smallest first, all of them last.

    The jobs are named recipe-share ("soft_labels-0.25"). All see as many rows as the whole set in its epochs, so that a
    small share is not held back by fewer steps. The teacher is asked for the whole set once, whatever the shares.
    Raises UserError for shares that are none.
    """
    wrong = [share for share in shares if not 0 < share <= 1]
    if wrong or not shares:
        raise UserError(f"--shares: {', '.join(map(str, wrong)) or 'none'}; allowed: numbers above 0 and up to 1")
    trained = [phase.name for phase in job.students]
    if len(trained) > 1:
        raise UserError(f"{job.recipe.name}: trains {', '.join(trained)} one after another, and a share of the last "
                        "one's rows would say nothing of the others'; name a recipe with one student phase")
    each = [with_final(job, {"share": share}, f"{job.recipe.name}-{share}") for share in sorted({*shares} - {1.0})]
    return level([*each, job])


def table(jobs: Sequence[Job], found: Comparison, split: str = "dev") -> pa.Table:
    """One row per share: its rows, its score with its 95% interval, and whether it can be told from the whole."""
    whole, metric = jobs[-1].recipe.name, jobs[0].recipe.task.metrics[0]
    jobs = [job for job in jobs if job.recipe.name in found.runs]
    pairs = [(job.recipe.name, whole) for job in jobs if whole in found.runs and job.recipe.name != whole]
    scores, differences = of_runs(jobs[0].place, found.runs, split, metric, pairs)
    by_name, said = {s.name: s for s in scores}, {d.first: d for d in differences}
    return pa.Table.from_pylist([_row(job, by_name[job.recipe.name], said.get(job.recipe.name), split) for job in jobs])


def _row(job: Job, score: Score, difference: Difference | None, split: str) -> dict[str, object]:
    folder = model_folder(job, job.recipe.final, job.recipe.seeds[0])
    rows = json.loads((folder / modelfolder.TRAINING).read_text())["rows"]
    return {
        "share": job.recipe.final.share, "rows": rows, "metric": job.recipe.task.metrics[0],
        "seeds": score.seeds, split: round(score.value, 4), "low": round(score.low, 4), "high": round(score.high, 4),
        "than_all": "all rows" if job.recipe.final.share == 1 else difference and difference.verdict,
    }
