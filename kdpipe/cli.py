"""The command `kdpipe`. A user's mistake ends in one message and exit code 2, never in a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

import kdpipe
from kdpipe.cli_cache import STORE, Device, StorePath
from kdpipe.cli_cache import app as cache
from kdpipe.errors import UserError, memory_said_plainly
from kdpipe.resources import is_file


class App(typer.Typer):
    """A Typer application that says a user's mistake plainly."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        try:
            with memory_said_plainly("kdpipe"):
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

app.add_typer(cache, name="cache")


def _version(asked: bool) -> None:
    if asked:
        print(f"kdpipe {kdpipe.__version__}")
        raise typer.Exit()


Version = Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)]


@app.callback()
def main(version: Version = False) -> None:
    """Ask a large teacher once, train many small students, question the runs in SQL."""



RecipeName = Annotated[str, typer.Argument(help="A shipped recipe (see `kdpipe recipes`) or a TOML file.")]
TaskName = Annotated[
    str | None, typer.Option("--task", "-t", help="Shipped task, task.toml, or a CSV/TSV/JSONL/Parquet file.")
]
Seeds = Annotated[str | None, typer.Option("--seeds", help="Seeds, for example 0,1,2.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="phase.key=value, for example student.train.epochs=3.")
]
Teacher = Annotated[str | None, typer.Option("--teacher", help="A checkpoint with a trained head, asked as it is.")]
AUDIT = """
select operator, split, kind, round(similarity, 3) as similarity, dropped, learned_from, held_out from leak_audit
where list_contains($sets, transfer_set)
"""
SCORES = """
select recipe, role, seed, metric, dev_score, test_score, teacher_rows_asked, non_embedding_parameters, parameters
from stg_runs
where list_contains($runs, run)
    or run in (select teacher_run from stg_runs where list_contains($runs, run))
order by role desc, seed
"""

ROBUSTNESS = """
select run, perturbation, n, metric, clean, perturbed, "drop", drop_low, drop_high, verdict,
    coalesce(flips, mean_move) as change, coalesce(agreement, correlation) as with_teacher
from robustness
where list_contains($runs, run) and split = $split
order by list_position($runs, run), not keeps_label, perturbation
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

    job = _job(recipe, task, store, seeds, overrides, teacher, device)
    found = phases.run(job)
    if job.place.local:
        warehouse.build(store)
        print(render(warehouse.query(store, SCORES, {"runs": found}), "table"))
    print("runs: " + ", ".join(found))
    print(f"a student to serve: {model_folder(job, job.recipe.final, job.recipe.seeds[0])}")


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
    form: Annotated[str, typer.Option("--format", "-f", help="table, csv or json.")] = "table",
) -> None:
    """Run several recipes over one cache and put them side by side. Say it again to go on where it was stopped."""
    from kdpipe.compare import compare as run_all
    from kdpipe.compare import table
    from kdpipe.recipe import available
    from kdpipe.render import check_form, render

    check_form(form)
    names = list(available()) if recipes == "all" else [name.strip() for name in recipes.split(",") if name.strip()]
    if not names:
        raise UserError("--recipes: names none; say names separated by commas, or all (`kdpipe recipes` lists them)")
    jobs = _jobs(names, task, store, seeds, overrides, teacher, device, fitting)
    found = run_all(jobs)
    if found.runs:
        print(render(table(jobs, found), form))
    _say_failed(found.failed)


@app.command()
def ladder(
    task: Annotated[str, typer.Argument(help="Shipped task, task.toml, or a CSV/TSV/JSONL/Parquet file.")],
    store: StorePath = STORE,
    seeds: Annotated[str, typer.Option("--seeds", help="How many (3), or which (0,7,9).")] = "3",
    copies: Annotated[int | None, typer.Option("--copies", min=1, help="Rows that operators make of each; 20.")] = None,
    overrides: Overrides = None,
    teacher: Teacher = None,
    device: Device = "auto",
    form: Annotated[str, typer.Option("--format", "-f", help="table, csv or json.")] = "table",
) -> None:
    """Say what labels, the teacher's answers and each operator bring, at one training budget. Goes on where stopped."""
    from kdpipe.compare import compare as run_all
    from kdpipe.contrast import RUNGS
    from kdpipe.ladder import level, table, with_copies
    from kdpipe.render import check_form, render

    check_form(form)
    jobs = _jobs(RUNGS, task, store, seeds, overrides, teacher, device, fitting=True)
    jobs = level(jobs if copies is None else [with_copies(job, copies) for job in jobs])
    found = run_all(jobs)
    if found.runs:
        print(render(table(jobs, found), form))
    _say_failed(found.failed)


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
    form: Annotated[str, typer.Option("--format", "-f", help="table, csv or json.")] = "table",
) -> None:
    """How a recipe's score grows with its transfer set: nested shares of it, at one training budget."""
    from kdpipe.compare import compare as run_all
    from kdpipe.render import check_form, render
    from kdpipe.sizes import steps, table

    check_form(form)
    try:
        wanted = [float(share) for share in shares.split(",")]
    except ValueError:
        raise UserError(f"--shares: {shares}; numbers above 0 and up to 1, separated by commas, are wanted") from None
    jobs = steps(_jobs([recipe], task, store, seeds, overrides, teacher, device, False)[0], wanted)
    found = run_all(jobs)
    if found.runs:
        print(render(table(jobs, found), form))
    _say_failed(found.failed)


@app.command()
def audit(
    recipe: RecipeName,
    task: TaskName = None,
    store: StorePath = STORE,
    overrides: Overrides = None,
    teacher: Teacher = None,
    form: Annotated[str, typer.Option("--format", "-f", help="table, csv or json.")] = "table",
) -> None:
    """Rows of a recipe's transfer sets that are, or nearly are, dev or test rows. Makes the sets that are missing."""
    from kdpipe import phases, warehouse
    from kdpipe.job import transfer_key
    from kdpipe.render import check_form, render

    check_form(form)
    job = _job(recipe, task, store, None, overrides, teacher, "cpu")
    counts = phases.augment(job).detail
    sets = [transfer_key(job, phase) for phase in phases.taught(job)]
    found = warehouse.query(store, AUDIT, {"sets": sets})
    for name, of in counts.items():
        typer.echo(f"{name}: {of['rows']:,} rows; dropped {of['dropped_leaks']:,} copies of dev and test rows and "
                   f"{of['dropped_near']:,} near them; {of['gold_leaks']:,} gold rows are such and stay", err=True)
    print(render(found, form))


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
    for step in steps(_job(recipe, task, store, seeds, overrides, teacher, device)):
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
    for m in measure(_job(recipe, task, store, seeds, overrides, teacher, device), rows):
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
def sql(
    query: Annotated[str | None, typer.Argument(help="A select, or the name of a view.")] = None,
    store: StorePath = STORE,
    form: Annotated[str, typer.Option("--format", "-f", help="table, csv or json.")] = "table",
    names: Annotated[bool, typer.Option("--list", help="All views, with what one row of each is.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Run the checks; exit code 1 when one finds rows.")] = False,
) -> None:
    """Ask the runs, predictions and transfer sets. Read-only."""
    from kdpipe import warehouse
    from kdpipe.render import render

    if names:
        for name, grain in warehouse.named():
            print(f"{name:28} {grain}")
    elif check:
        failures = warehouse.run_checks(store)
        print("\n".join(failures) or "all checks hold")
        raise typer.Exit(1 if failures else 0)
    elif query is None:
        raise UserError(
            'say a select, or the name of a view: kdpipe sql "select * from leaderboard", kdpipe sql --list'
        )
    else:
        print(render(warehouse.query(store, query), form))


@app.command()
def significance(
    names: Annotated[list[str] | None, typer.Argument(help="Recipes, teachers' phases, run ids; none: all.")] = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Where the store holds runs of several.")] = None,
    split: Annotated[str, typer.Option("--split", help="dev or test.")] = "dev",
    metric: Annotated[str | None, typer.Option("--metric", help="Of the task's kind; its first by default.")] = None,
    against: Annotated[str | None, typer.Option("--against", help="Hold all against this one, not each pair.")] = None,
    store: StorePath = STORE,
    form: Annotated[str, typer.Option("--format", "-f", help="table, csv or json.")] = "table",
) -> None:
    """Say of which recipes and runs one can tell that one is better, and how sure that is."""
    from kdpipe.contrast import contrast, tables
    from kdpipe.render import check_form, render

    check_form(form)
    scores, differences = tables(*contrast(store, names or (), task, split, metric, against))
    if form == "table":
        print(render(scores, form))
    print(render(differences, form))


@app.command()
def robustness(
    names: Annotated[list[str] | None, typer.Argument(help="Recipes, teachers' phases, run ids; none: all.")] = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Where the store holds runs of several.")] = None,
    split: Annotated[str, typer.Option("--split", help="dev or test.")] = "dev",
    store: StorePath = STORE,
    device: Device = "auto",
    form: Annotated[str, typer.Option("--format", "-f", help="table, csv or json.")] = "table",
) -> None:
    """Ask students and teachers again after typos, other cases, neutral words and negations in a split's texts."""
    from kdpipe import warehouse
    from kdpipe.render import check_form, render
    from kdpipe.robustness import robustness as ask
    from kdpipe.signals.live import pick_device

    check_form(form)
    runs = ask(store, names or (), task, split, pick_device(device))
    print(render(warehouse.query(store, ROBUSTNESS, {"runs": runs, "split": split}), form))


@app.command()
def report(
    names: Annotated[list[str] | None, typer.Argument(help="Recipes, teachers' phases, run ids; none: all.")] = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Of this task alone.")] = None,
    split: Annotated[str, typer.Option("--split", help="dev or test.")] = "dev",
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("report.html"),
    store: StorePath = STORE,
) -> None:
    """Write one HTML file about the runs: leaderboard, costs, curves, confusion, calibration, errors."""
    from kdpipe.report import build

    page = build(store, names or (), task, split)
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as e:
        raise UserError(f"{output}: cannot be written ({e.strerror}); name another with --output") from None
    print(f"{output}: {len(page) / 1e6:.1f} MB")


PROBED = """
select {}task, layer, accuracy, majority, untrained, gain_over_untrained, n
from probing
where list_contains($names, name) and list_contains($task_keys, task_key) and protocol = $protocol
order by name, task, place
"""


@app.command()
def probe(
    names: Annotated[list[str], typer.Argument(help="Runs, recipes, RUN:teacher, model folders.")],
    tasks: Annotated[
        str | None, typer.Option("--tasks", "-t", help="Tasks or files separated by commas; the ten shipped ones.")
    ] = None,
    grid: Annotated[str, typer.Option("--grid", help="Settings to choose from: quick, full or linear.")] = "quick",
    cls: Annotated[bool, typer.Option("--cls", help="Probe transformers' [CLS] states, too.")] = False,
    store: StorePath = STORE,
    device: Device = "auto",
    form: Annotated[str, typer.Option("--format", "-f", help="table, csv or json.")] = "table",
) -> None:
    """What each layer of a model knows, beside an untrained twin. Say it again to go on where it was stopped."""
    from kdpipe import warehouse
    from kdpipe.probing.probes import Protocol
    from kdpipe.probing.probes import probe as run_all
    from kdpipe.render import check_form, render
    from kdpipe.signals.live import pick_device
    from kdpipe.store import Store

    check_form(form)
    protocol, wanted = Protocol(grid, cls), [name.strip() for name in (tasks or "").split(",") if name.strip()]
    found = run_all(Store(store), names, wanted, protocol, pick_device(device))
    select = PROBED.format("name, " if len(found.names) > 1 else "")
    print(render(warehouse.query(store, select, {**vars(found), "protocol": protocol.key}), form))


@app.command()
def explore(
    store: StorePath = STORE,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 0,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
) -> None:
    """Filter, compare and trace predictions on a local page; Ctrl-C stops it."""
    from kdpipe.explore import serve

    serve(store, port, show)


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


def _job(
    recipe: str,
    task: str | None,
    store: str,
    seeds: str | None,
    overrides: list[str] | None,
    teacher: str | None,
    device: str,
):
    from kdpipe.job import Job
    from kdpipe.recipe import load

    return Job(load(recipe, task, _seeds(seeds), overrides or (), teacher), store, device)


def _jobs(names: Iterable[str], task: str | None, store: str, seeds: str, overrides: list[str] | None,
          teacher: str | None, device: str, fitting: bool):
    """A job for each recipe. fitting: those that the task does not fit are left out and said, unless none is left."""
    which = ",".join(map(str, range(int(seeds)))) if seeds.isdigit() and int(seeds) else seeds
    jobs, unfit = [], []
    for name in dict.fromkeys(names):
        try:
            jobs.append(_job(name, task, store, which, overrides, teacher, device))
        except UserError as e:
            unfit += e.faults
    if unfit and not (fitting and jobs):
        raise UserError(unfit)
    for fault in unfit:
        print(f"left out: {fault}", file=sys.stderr)
    return jobs


def _say_failed(failed: Mapping[str, str]) -> None:
    for name, why in failed.items():
        print(f"kdpipe: {name}: {why}", file=sys.stderr)
    if failed:
        raise typer.Exit(2)


def _seeds(said: str | None) -> list[int] | None:
    if said is None:
        return None
    try:
        return [int(s) for s in said.split(",")]
    except ValueError:
        raise UserError(f"--seeds {said}: whole numbers separated by commas, for example 0,1,2") from None


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
