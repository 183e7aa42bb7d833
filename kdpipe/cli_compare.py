"""The commands that run several recipes and hold them against each other: compare, ladder, curve."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from kdpipe.cli_options import STORE, Device, Form, Overrides, RecipeName, StorePath, TaskName, Teacher, jobs_of
from kdpipe.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from kdpipe.compare import Comparison
    from kdpipe.job import Job

app = typer.Typer()


@app.command()
def compare(
    recipes: Annotated[str, typer.Option("--recipes", help="Names or files separated by commas, or all.")],
    task: TaskName = None,
    store: StorePath = STORE,
    seeds: Annotated[str, typer.Option("--seeds", help="How many (3), or which (0,7,9).")] = "3",
    overrides: Overrides = None,
    teacher: Teacher = None,
    device: Device = "auto",
    fitting: Annotated[bool, typer.Option("--fitting", help="Leave out recipes that the task does not fit.")] = False,
    form: Form = "table",
) -> None:
    """Run several recipes over one cache and put them side by side. Say it again to go on where it was stopped."""
    from kdpipe.compare import table
    from kdpipe.recipe import available
    from kdpipe.render import check_form

    check_form(form)
    names = list(available()) if recipes == "all" else [name.strip() for name in recipes.split(",") if name.strip()]
    if not names:
        raise UserError("--recipes: names none; say names separated by commas, or all (`kdpipe recipes` lists them)")
    jobs = jobs_of(names, task, store, seeds, overrides, teacher, device, fitting)
    _run(jobs, table, form)


@app.command()
def ladder(
    task: Annotated[str, typer.Argument(help="Shipped task, task.toml, or a CSV/TSV/JSONL/Parquet file.")],
    store: StorePath = STORE,
    seeds: Annotated[str, typer.Option("--seeds", help="How many (3), or which (0,7,9).")] = "3",
    copies: Annotated[int | None, typer.Option("--copies", min=1, help="Rows that operators make of each; 20.")] = None,
    overrides: Overrides = None,
    teacher: Teacher = None,
    device: Device = "auto",
    form: Form = "table",
) -> None:
    """Say what labels, the teacher's answers and each operator bring, at one training budget. Goes on where stopped."""
    from kdpipe.contrast import RUNGS
    from kdpipe.ladder import level, table, with_copies
    from kdpipe.render import check_form

    check_form(form)
    jobs = jobs_of(RUNGS, task, store, seeds, overrides, teacher, device, fitting=True)
    jobs = level(jobs if copies is None else [with_copies(job, copies) for job in jobs])
    _run(jobs, table, form)


@app.command()
def curve(
    recipe: RecipeName,
    task: TaskName = None,
    store: StorePath = STORE,
    shares: Annotated[str, typer.Option("--shares", help="Of the rows, up to 1.")] = "0.0625,0.125,0.25,0.5,1",
    seeds: Annotated[str, typer.Option("--seeds", help="How many (3), or which (0,7,9).")] = "3",
    overrides: Overrides = None,
    teacher: Teacher = None,
    device: Device = "auto",
    form: Form = "table",
) -> None:
    """How a recipe's score grows with its transfer set: nested shares of it, at one training budget."""
    from kdpipe.render import check_form
    from kdpipe.sizes import steps, table

    check_form(form)
    try:
        wanted = [float(share) for share in shares.split(",")]
    except ValueError:
        raise UserError(f"--shares: {shares}; numbers above 0 and up to 1, separated by commas, are wanted") from None
    jobs = steps(jobs_of([recipe], task, store, seeds, overrides, teacher, device, False)[0], wanted)
    _run(jobs, table, form)


def _run(jobs: Sequence[Job], table: Callable[[Sequence[Job], Comparison], pa.Table], form: str) -> None:
    """Run all, print the table of those that ended, and say of the others why they failed."""
    from kdpipe.compare import compare as run_all
    from kdpipe.contrast import ONE_SEED
    from kdpipe.render import render

    found = run_all(jobs)
    if found.runs:
        print(render(table(jobs, found), form))
        if any(len(runs) == 1 for runs in found.runs.values()):
            print(f"kdpipe: {ONE_SEED}; --seeds 3 trains more", file=sys.stderr)
    for name, why in found.failed.items():
        print(f"kdpipe: {name}: {why}", file=sys.stderr)
    if found.failed:
        raise typer.Exit(2)
