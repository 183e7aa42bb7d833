"""What several commands share: options, and the jobs that they name."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from kdpipe.errors import UserError
from kdpipe.resources import STORE

if TYPE_CHECKING:
    from kdpipe.job import Job

__all__ = ["STORE", "Device", "Form", "Overrides", "RecipeName", "Seeds", "StorePath", "TaskName", "Teacher",
           "job_of", "jobs_of"]

StorePath = Annotated[
    str, typer.Option("--store", "-s", envvar="KDPIPE_STORE", help="Folder or URL that keeps everything.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Form = Annotated[str, typer.Option("--format", "-f", help="table, csv or json.")]
RecipeName = Annotated[str, typer.Argument(help="A shipped recipe (see `kdpipe recipes`) or a TOML file.")]
TaskName = Annotated[
    str | None, typer.Option("--task", "-t", help="Shipped task, task.toml, or a CSV/TSV/JSONL/Parquet file.")
]
Seeds = Annotated[str | None, typer.Option("--seeds", help="Seeds, for example 0,1,2.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="phase.key=value, for example student.train.epochs=3.")
]
Teacher = Annotated[str | None, typer.Option("--teacher", help="A checkpoint with a trained head, asked as it is.")]


def job_of(
    recipe: str,
    task: str | None,
    store: str,
    seeds: str | None,
    overrides: list[str] | None,
    teacher: str | None,
    device: str,
) -> Job:
    """The job that a command names. Raises UserError for what is wrong with its recipe."""
    from kdpipe.job import Job
    from kdpipe.recipe import load

    return Job(load(recipe, task, _seeds(seeds), overrides or (), teacher), store, device)


def jobs_of(names: Iterable[str], task: str | None, store: str, seeds: str, overrides: list[str] | None,
          teacher: str | None, device: str, fitting: bool) -> list[Job]:
    """A job for each recipe. fitting: those that the task does not fit are left out and said, unless none is left."""
    which = ",".join(map(str, range(int(seeds)))) if seeds.isascii() and seeds.isdecimal() and int(seeds) else seeds
    jobs, unfit = [], []
    for name in dict.fromkeys(names):
        try:
            jobs.append(job_of(name, task, store, which, overrides, teacher, device))
        except UserError as e:
            unfit += e.faults
    unfit = list(dict.fromkeys(unfit))  # what is wrong with the task is wrong for every recipe
    if unfit and not (fitting and jobs):
        raise UserError(unfit)
    for fault in unfit:
        print(f"left out: {fault}", file=sys.stderr)
    return jobs


def _seeds(said: str | None) -> list[int] | None:
    if said is None:
        return None
    try:
        return [int(s) for s in said.split(",")]
    except ValueError:
        raise UserError(f"--seeds {said}: whole numbers separated by commas, for example 0,1,2") from None
