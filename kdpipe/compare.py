"""Several recipes over one task and one cache: run, resumed, and put side by side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import mean, stdev

import pyarrow as pa

from kdpipe import modelfolder, phases
from kdpipe.asking import asked
from kdpipe.contrast import of_runs
from kdpipe.errors import UserError
from kdpipe.evaluation import evaluate
from kdpipe.job import Job, Report, model_folder, teacher_fingerprint, transfer_key
from kdpipe.significance import Difference, Score
from kdpipe.training import prepare_vectors
from kdpipe.workers import in_order, processes


@dataclass
class Comparison:
    """What was run. runs: by recipe, one for each seed. failed: what went wrong with a recipe, in words."""

    runs: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def compare(jobs: Sequence[Job]) -> Comparison:
    """Run all recipes; what is in the store is not made again, and a recipe that fails does not stop the others.

    Recipes that need more of a teacher are taught first, so that it is asked once for all of them. Students that train
    on one core are trained side by side, over recipes and seeds; the others one after the other.
    """
    found, shared = Comparison(), {}
    if twice := [name for name, n in Counter(job.recipe.name for job in jobs).items() if n > 1]:
        raise UserError([f"two recipes are named '{name}'; rename one of the files" for name in twice])
    for job in jobs:
        with _noted(found, job):
            phases.teachers(job)
            phases.augment(job)
    greed = {}
    for job in _left(jobs, found):
        with _noted(found, job):
            greed[job.recipe.name] = _greed(job)
    for job in sorted(_left(jobs, found), key=lambda job: greed[job.recipe.name], reverse=True):
        with _noted(found, job):
            shared[job.recipe.name] = [phases.augment(job), phases.teach(job)]
    trained: dict[str, list[Report]] = {}
    for job in _left(jobs, found):
        with _noted(found, job):
            if phases.on_one_core(job):
                prepare_vectors(job)
    for job, report in _train(_left(jobs, found)):
        if isinstance(report, str):
            found.failed[job.recipe.name] = report
        else:
            trained.setdefault(job.recipe.name, []).append(report)
    for job in _left(jobs, found):
        name = job.recipe.name
        with _noted(found, job):
            found.runs[name] = [evaluate(job, seed, [*(shared[name] if i == 0 else ()), trained[name][i]])
                                for i, seed in enumerate(job.recipe.seeds)]
    return found


def table(jobs: Sequence[Job], found: Comparison) -> pa.Table:
    """One row per recipe, best first: dev score over seeds, size, speed, and what each cost when its work was done.

    dev_sd: over seeds, null for one. low, high: 95% over rows and seeds; gap_low, gap_high: of the difference to the
    first row. than_best: against that, with Holm's correction (kdpipe.significance). Of one seed, in the mean:
    teach_seconds, of all teachers for their whole transfer sets, whoever asked first; train_seconds, of all phases.
    """
    done = [job for job in jobs if job.recipe.name in found.runs]
    rows = [_row(job, found.runs[job.recipe.name], score, gap) for job, score, gap in _judged(done, found)]
    rows.sort(key=lambda row: -row["dev"])
    return pa.Table.from_pylist(rows)


def _judged(jobs: Sequence[Job], found: Comparison) -> list[tuple[Job, Score, Difference | None]]:
    """Each recipe's score with its interval, and its difference to the best, which has none."""
    metric = jobs[0].recipe.task.metrics[0]
    scores, differences = of_runs(jobs[0].place, found.runs, "dev", metric, "best")
    by_name, gaps = {score.name: score for score in scores}, {d.first: d for d in differences}
    return [(job, by_name[job.recipe.name], gaps.get(job.recipe.name)) for job in jobs]


def _row(job: Job, ids: Sequence[str], score: Score, gap: Difference | None) -> dict[str, object]:
    records = [job.place.read_json(job.place.run(run)) for run in ids]
    scores = [record["dev_score"] for record in records]
    at_64 = [speed["rows_per_second"] for record in records for speed in record["speed"] if speed["batch"] == 64]
    return {
        "recipe": job.recipe.name,
        "metric": records[0]["metric"],
        "seeds": len(records),
        "dev": round(mean(scores), 4),
        "dev_sd": round(stdev(scores), 4) if len(scores) > 1 else None,
        "low": round(score.low, 4),
        "high": round(score.high, 4),
        "gap_low": gap and round(gap.low, 4),
        "gap_high": gap and round(gap.high, 4),
        "than_best": gap.verdict if gap else "the best",
        "non_embedding": records[0]["parameters"]["non_embedding"],
        "rows_per_second": round(mean(at_64), 1),
        "train_seconds": round(mean(_training_seconds(job, seed) for seed in job.recipe.seeds), 1),
        "teach_seconds": round(_teaching_seconds(job), 1),
        "teacher_rows_asked": sum(record["teacher_rows_asked"] for record in records),
    }


def _training_seconds(job: Job, seed: int) -> float:
    folders = [model_folder(job, phase, seed) for phase in job.students]
    return sum(json.loads((folder / modelfolder.TRAINING).read_text())["seconds"] for folder in folders)


def _teaching_seconds(job: Job) -> float:
    return mean(sum(job.place.read_cost("teach", f"{teacher}-{key}")["seconds"] for teacher, key in {
        (teacher_fingerprint(job, name, seed), transfer_key(job, phase))
        for phase in job.recipe.phase for name in phase.asks}) for seed in job.recipe.seeds)


def _greed(job: Job) -> int:
    """How many kinds of signals a recipe keeps of the teachers that all seeds share."""
    return sum(len({*(needs := asked(job, phase, seed)).kept, *needs.besides}) for phase, seed in phases.askable(job))


def _left(jobs: Sequence[Job], found: Comparison) -> list[Job]:
    return [job for job in jobs if job.recipe.name not in found.failed]


def _train(jobs: Sequence[Job]) -> Iterator[tuple[Job, Report | str]]:
    """Every job's seeds in order, with what became of each: a report, or what went wrong."""
    small = [job for job in jobs if phases.on_one_core(job)]
    for group in (small, [job for job in jobs if job not in small]):
        tasks = [(job, seed) for job in group for seed in job.recipe.seeds]
        workers = (jobs[0].workers or processes(len(tasks))) if group and group is small else 1
        done = in_order(_train_one, tasks, workers)
        yield from zip([job for job, _ in tasks], done, strict=True)


def _train_one(job: Job, seed: int) -> Report | str:
    try:
        return phases.train(job, seed)
    except UserError as e:
        return str(e)


@contextmanager
def _noted(found: Comparison, job: Job) -> Iterator[None]:
    """A user's mistake inside is noted as the recipe's failure, and the next recipe goes on."""
    try:
        yield
    except UserError as e:
        found.failed[job.recipe.name] = str(e)
