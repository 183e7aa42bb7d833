"""The command `kdpipe`. A user's mistake ends in one message and exit code 2, never in a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

import kdpipe
from kdpipe import cli_compare, cli_look
from kdpipe.cli_cache import app as cache
from kdpipe.cli_options import (
    STORE,
    Device,
    Form,
    Overrides,
    RecipeName,
    Seeds,
    StorePath,
    TaskName,
    Teacher,
    job_of,
)
from kdpipe.errors import UserError, memory_said_plainly
from kdpipe.resources import is_file


class App(typer.Typer):
    """A Typer application that says a user's mistake plainly."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        try:
            with memory_said_plainly("this command"):
                return super().__call__(*args, **kwargs)
        except UserError as e:
            for fault in e.faults:
                print(f"kdpipe: {fault}", file=sys.stderr)
            raise SystemExit(2) from None


app = App(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(cli_compare.app)
app.add_typer(cli_look.app)
app.add_typer(cache, name="cache")


def _version(asked: bool) -> None:
    if asked:
        print(f"kdpipe {kdpipe.__version__}")
        raise typer.Exit()


Version = Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)]


@app.callback()
def main(version: Version = False) -> None:
    """Ask a large teacher once, train many small students, question the runs in SQL."""



SCORES = """
select recipe, role, seed, metric, dev_score, test_score, teacher_rows_asked, non_embedding_parameters, parameters
from stg_runs
where list_contains($runs, run)
    or run in (select teacher_run from stg_runs where list_contains($runs, run))
order by role desc, seed
"""

@app.command()
def run(
    recipe: RecipeName,
    task: TaskName = None,
    store: StorePath = STORE,
    seeds: Seeds = None,
    overrides: Overrides = None,
    teacher: Teacher = None,
    device: Device = "auto",
) -> None:
    """Augment, teach, train and evaluate in one process; what is already in the store is not made again."""
    from kdpipe import phases, warehouse
    from kdpipe.job import model_folder
    from kdpipe.render import render

    job = job_of(recipe, task, store, seeds, overrides, teacher, device)
    found = phases.run(job)
    if job.place.local:
        warehouse.build(store)
        print(render(warehouse.query(store, SCORES, {"runs": found}), "table"))
    print("runs: " + ", ".join(found))
    print(f"a student to serve: {model_folder(job, job.recipe.final, job.recipe.seeds[0])}")


@app.command()
def audit(
    recipe: RecipeName,
    task: TaskName = None,
    store: StorePath = STORE,
    overrides: Overrides = None,
    teacher: Teacher = None,
    form: Form = "table",
) -> None:
    """Rows of a recipe's transfer sets that are, or nearly are, dev or test rows. Makes the sets that are missing."""
    from kdpipe import phases, transfer
    from kdpipe.leaks import in_words
    from kdpipe.render import check_form, render

    check_form(form)
    job = job_of(recipe, task, store, None, overrides, teacher, "cpu")
    for name, of in phases.augment(job).detail.items():
        typer.echo(f"{name}: {of['rows']:,} rows; dropped {of['dropped_leaks']:,} copies of dev and test rows and "
                   f"{of.get('dropped_near', 0):,} near them", err=True)
    gold = transfer.gold_leaks(job.recipe.task, job.recipe.final.near)
    typer.echo(f"gold: {len(gold):,} of {len(job.recipe.task.splits['train']):,} rows are copies of dev and test rows "
               "or near them, and stay", err=True)
    print(render(in_words([gold, *phases.dropped(job)]), form))


@app.command()
def plan(
    recipe: RecipeName,
    task: TaskName = None,
    store: StorePath = STORE,
    seeds: Seeds = None,
    overrides: Overrides = None,
    teacher: Teacher = None,
    device: Device = "auto",
) -> None:
    """Which stages would run, for how many rows, and why. Makes nothing."""
    from rich.console import Console
    from rich.table import Table

    from kdpipe.plan import plan as steps

    table = Table("stage", "what", "rows", "", "why")
    for step in steps(job_of(recipe, task, store, seeds, overrides, teacher, device)):
        table.add_row(
            step.stage,
            step.what,
            "?" if step.rows is None else f"{step.rows:,}",
            "run" if step.todo else "reuse",
            step.reason,
        )
    Console().print(table)


@app.command()
def bench(
    recipe: RecipeName,
    task: TaskName = None,
    store: StorePath = STORE,
    seeds: Seeds = None,
    overrides: Overrides = None,
    teacher: Teacher = None,
    device: Device = "auto",
    rows: Annotated[int, typer.Option("--rows", min=100, help="Rows to measure on, at most.")] = 2000,
) -> None:
    """How fast each path of a recipe runs on this machine, its share of the floor beside it, and what bounds it."""
    from rich.console import Console
    from rich.table import Table

    from kdpipe.bench import bench as measure

    table = Table("path", "rate", "share of", "", "bound by")
    for m in measure(job_of(recipe, task, store, seeds, overrides, teacher, device), rows):
        share = "" if m.share is None else f"{m.share:.0%}"
        rate = f"{m.rate:,.0f}" if m.rate >= 10 else f"{m.rate:.1f}"
        table.add_row(m.path, f"{rate} {m.unit}", m.floor, share, m.bound)
    Console().print(table)


@app.command()
def recipes() -> None:
    """The recipes that come along, with their sources."""
    from kdpipe.recipe import available

    for name, citation in available().items():
        print(f"{name:20} {citation}")


@app.command()
def tasks(
    name: Annotated[str | None, typer.Argument(help="A shipped task, task.toml or a data file.")] = None,
) -> None:
    """The tasks that come along; of one task its classes, metrics, and the size, balance and overlap of its splits."""
    from kdpipe.tasks.load import available, describe, load

    if name is None:
        print("\n".join(available()))
        return
    about = describe(load(name))
    for key, value in about.items():
        if key != "splits":
            print(f"{key:8} {', '.join(value) if isinstance(value, list) else value}")
    print(_splits(about["splits"]))


def _splits(splits: dict[str, dict[str, object]]) -> str:
    import pyarrow as pa

    from kdpipe.render import render

    return render(pa.Table.from_pylist([{"split": name, **facts} for name, facts in splits.items()]), "table")


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="A student's folder, or any checkpoint with a trained head.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; none: one a line from --file or standard input.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="A text a line; pairs are separated by a tab.")] = None,
    form: Annotated[str, typer.Option("--format", "-f", help="tsv or json.")] = "tsv",
    device: Device = "cpu",
) -> None:
    """Label texts with a trained model."""
    import json

    from kdpipe.predictor import Predictor
    from kdpipe.signals.live import pick_device

    if form not in ("tsv", "json"):
        raise UserError(f"--format {form}: allowed are tsv and json")
    predictor = Predictor.load(model, pick_device(device))
    for text, answer in predictor.stream(_texts(texts, file)):
        if form == "json":
            print(json.dumps({"text": text, **answer.__dict__}, ensure_ascii=False))
        elif answer.label is None:
            print(f"{answer.score:.4f}\t{_shown(text)}")
        else:
            print(f"{answer.label}\t{answer.confidence:.4f}\t{_shown(text)}")


@app.command()
def up(
    store: StorePath = STORE, port: Annotated[int, typer.Option("--port", help="Port of the Prefect server.")] = 4200
) -> None:
    """Start Prefect's server, all deployments and a worker on this machine; Ctrl-C stops them all."""
    from kdpipe.up import up as start

    start(store, port)


def _texts(texts: list[str] | None, file: Path | None) -> Iterator[str | tuple[str, str]]:
    if texts:
        yield from texts
        return
    if file is not None and not is_file(file):
        raise UserError(f"{file}: no such file")
    stream = file.open(encoding="utf-8-sig", newline="\n") if file else sys.stdin
    try:
        for line in stream:
            text = line.rstrip("\r\n")
            yield tuple(text.split("\t", 1)) if "\t" in text else text
    except UnicodeDecodeError as e:
        raise UserError(f"{file or 'standard input'}: not UTF-8 at byte {e.start}; convert it first") from None


def _shown(text: str | tuple[str, str]) -> str:
    return text if isinstance(text, str) else "\t".join(text)


if __name__ == "__main__":
    app()
