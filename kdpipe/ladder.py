"""The attribution ladder: what labels, the teacher's answers, their softness and each operator bring, rung by rung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from kdpipe import phases, transfer
from kdpipe.compare import Comparison
from kdpipe.contrast import of_runs, rung_below
from kdpipe.errors import UserError
from kdpipe.job import Job, transfer_key
from kdpipe.settings import Settings
from kdpipe.transfer import facts, read_rows


def level(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs with one training budget: all see about as many rows as the one that sees the most,
    and dev about as often.

    A rung on gold rows alone is trained for more epochs, a rung on made rows for fewer, to the nearest whole epoch.
    Makes the transfer sets, whose sizes count.
    """
    for job in jobs:
        phases.augment(job)
    rows = [rows_of(job) for job in jobs]
    if empty := [job.recipe.name for n, job in zip(rows, jobs, strict=True) if not n]:
        raise UserError([f"{name}: so small a share leaves none of {max(rows):,} rows; take a larger one"
                         for name in empty])
    budget = max(n * Settings(**job.recipe.final.train).epochs for n, job in zip(rows, jobs, strict=True))
    epochs = [max(1, round(budget / n)) for n in rows]
    looks = min(epochs)
    return [_with(job, {"epochs": e, "evaluate_every": max(1, round(e / looks))})
            for e, job in zip(epochs, jobs, strict=True)]


def with_copies(job: Job, copies: int) -> Job:
    """The job whose operators make so many rows of each gold row."""
    made = tuple(part.model_copy(update={"arguments": {**part.arguments, "copies": copies}})
                 for part in job.recipe.final.augment)
    return with_final(job, {"augment": made})


def rows_of(job: Job) -> int:
    """How many rows the student learns from in an epoch."""
    final, train = job.recipe.final, job.recipe.task.splits["train"]
    if final.share < 1:
        whole = read_rows(job.place, transfer_key(job, final)) if final.asks else transfer.rows_of(train)
        return len(whole.some(final.share))
    return facts(job.place, transfer_key(job, final))["counts"]["rows"] if final.asks else len(train)


def _with(job: Job, said: dict[str, int]) -> Job:
    now = job.recipe.final.train
    other = {key: value for key, value in said.items() if value != getattr(Settings(**now), key)}
    return with_final(job, {"train": {**now, **other}})  # as it stands where nothing changes: the same model


def with_final(job: Job, said: dict[str, Any], name: str | None = None) -> Job:
    """The job with other settings of its last phase, and another name where one is given."""
    *earlier, final = job.recipe.phase
    changed = {"phase": (*earlier, final.model_copy(update=said)), "name": name or job.recipe.name}
    return replace(job, recipe=job.recipe.model_copy(update=changed))


def table(jobs: Sequence[Job], found: Comparison, split: str = "dev") -> pa.Table:
    """One row per rung: its score, what it saw, and its gain over the rung that it is held against, each with its 95%
    interval; gains are Holm-corrected together (kdpipe.significance)."""
    jobs = [job for job in jobs if job.recipe.name in found.runs]
    pairs = [(name, below) for name in found.runs if (below := rung_below(name, found.runs))]
    metric = jobs[0].recipe.task.metrics[0]
    scores, differences = of_runs(jobs[0].place, found.runs, split, metric, pairs)
    by_name, gains = {s.name: s for s in scores}, {d.first: d for d in differences}
    rows = []
    for job in jobs:
        name = job.recipe.name
        score, gain, settings = by_name[name], gains.get(name), Settings(**job.recipe.final.train)
        rows.append({
            "rung": name, "metric": metric, "seeds": score.seeds, "rows": rows_of(job),
            "rows_seen": rows_of(job) * settings.epochs, split: round(score.value, 4),
            "low": round(score.low, 4), "high": round(score.high, 4), "over": gain and gain.second,
            "gain": gain and round(gain.value, 4), "gain_low": gain and round(gain.low, 4),
            "gain_high": gain and round(gain.high, 4), "p_holm": gain and round(gain.p_holm, 4),
            "verdict": gain and gain.verdict,
        })
    return pa.Table.from_pylist(rows)
