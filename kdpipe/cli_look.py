"""The commands that look at what a store holds: sql, significance, robustness, report, probe, explore."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from kdpipe.cli_options import STORE, Device, Form, StorePath
from kdpipe.errors import UserError
from kdpipe.resources import is_folder

ROBUSTNESS = """
select run, perturbation, n, metric, round(clean, 4) as clean, round(perturbed, 4) as perturbed,
    round("drop", 4) + 0 as "drop", round(drop_low, 4) + 0 as drop_low, round(drop_high, 4) + 0 as drop_high, verdict,
    round(coalesce(flips, mean_move), 4) as change, round(coalesce(agreement, correlation), 4) as with_teacher
from robustness
where list_contains($runs, run) and split = $split
order by list_position($runs, run), not keeps_label, perturbation
"""
PROBED = """
select {}task, layer, accuracy, majority, untrained, gain_over_untrained, n
from probing
where list_contains($names, name) and list_contains($weights, weights)
    and list_contains($task_keys, task_key) and protocol = $protocol
order by name, task, place
"""

app = typer.Typer()


@app.command()
def sql(
    query: Annotated[str | None, typer.Argument(help="A select, or the name of a view.")] = None,
    store: StorePath = STORE,
    form: Form = "table",
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
    form: Form = "table",
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
    form: Form = "table",
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

    if is_folder(output):
        raise UserError(f"{output}: a folder; name the file to write with --output, such as {output / 'report.html'}")
    page = build(store, names or (), task, split)
    scratch = output.with_name(f".{output.name}.tmp")
    try:
        scratch.write_text(page, encoding="utf-8")
        scratch.replace(output)
    except OSError as e:
        with suppress(OSError):
            scratch.unlink()
        raise UserError(f"{output}: cannot be written ({e.strerror}); name another with --output") from None
    print(f"{output}: {len(page) / 1e6:.1f} MB")


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
    form: Form = "table",
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
