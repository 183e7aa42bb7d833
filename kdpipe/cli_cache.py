"""The command `kdpipe cache`: what a teacher has said, kept, checked, mended, packed and carried."""

from __future__ import annotations

from typing import Annotated

import typer

from kdpipe.cli_options import STORE, Device, Form, StorePath

Fingerprint = Annotated[str | None, typer.Option("--teacher", help="Fingerprint of a teacher, or how it begins.")]

app = typer.Typer(no_args_is_help=True, help="Look after the teacher cache: what teachers said, kept in Parquet.")


@app.command()
def ls(store: StorePath = STORE, teacher: Fingerprint = None, form: Form = "table") -> None:
    """Teachers with their tasks, models, rows, parts, bytes and last use. Reads every part and checks its hash."""
    from kdpipe.care.holdings import holdings

    _show([_row(holding, form) for holding in holdings(_store(store), teacher)], form)


@app.command()
def size(store: StorePath = STORE, form: Form = "table") -> None:
    """Bytes and parts of each teacher, without opening a part."""
    from kdpipe.care.holdings import sizes

    found = [each.__dict__ for each in sizes(_store(store))]
    if form == "table":
        total = {key: sum(each[key] for each in found) for key in ("parts", "bytes", "set_aside")}
        found.append({"teacher": "all", "signal": "", **total})
        found = [{**each, "bytes": _bytes(each["bytes"]), "set_aside": _bytes(each["set_aside"])} for each in found]
    _show(found, form)


@app.command()
def verify(
    store: StorePath = STORE,
    teacher: Fingerprint = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Rows of each teacher to ask again; 0: none.")] = 256,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed draws other rows.")] = 0,
    device: Device = "auto",
) -> None:
    """Check every part, ask each teacher for a sample of its rows again; exit code 1 when something is wrong."""
    from kdpipe.care import verify as care

    found = care.verify(_store(store), teacher, rows, seed, device)
    for each in found:
        print(f"teacher {each.teacher.fingerprint} ({', '.join(each.teacher.tasks)}), {each.signal}: "
              f"{each.parts} parts, {len(each.broken)} broken, {each.rows:,} rows")
        for fault in (*each.broken, *each.faults):
            print(f"  {fault}")
        if each.difference is not None:
            print(f"  asked again: {each.asked} rows, max |difference| {each.difference:.3g}")
        elif each.note:
            print(f"  nothing was asked again: {each.note}")
    if not found:
        print("no teacher has said anything yet")
    raise typer.Exit(0 if all(each.ok for each in found) else 1)


@app.command()
def repair(store: StorePath = STORE, teacher: Fingerprint = None, device: Device = "auto") -> None:
    """Set broken parts aside, into quarantine/, and ask for their rows again; exit code 1 when some are left.

    What killed writers left behind (.tmp-*, a day old) is removed.
    """
    from kdpipe.care import repair as care

    kept = _store(store)
    found = [each for each in care.repair(kept, teacher, device) if not each.idle]
    if gone := kept.remove_leftovers():
        print(f"{len(gone)} leftovers of killed writers removed")
    for each in found:
        print(f"teacher {each.teacher.fingerprint} ({', '.join(each.teacher.tasks)}), {each.signal}: "
              f"{len(each.aside)} parts set aside, {each.asked:,} rows asked again")
        for wrong, place in each.aside:
            print(f"  {wrong.split('; `kdpipe cache repair`')[0]}; now {place}")
        for what in each.left:
            print(f"  still to do: {what}")
    if not found:
        print("no part is broken")
    raise typer.Exit(1 if any(each.left for each in found) else 0)


@app.command()
def compact(
    store: StorePath = STORE,
    teacher: Fingerprint = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Parts of fewer rows are put together.")] = 1_000_000,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="How far a value may differ where a row stands twice.")
    ] = 0.0,
) -> None:
    """Put many small parts into few, and rows that stand twice into one. Others may read and write meanwhile."""
    from kdpipe.care import compact as care

    for each in care.compact(_store(store), teacher, rows, tolerance):
        print(f"teacher {each.teacher}, {each.signal}: {each.parts[0]} -> {each.parts[1]} parts, "
              f"{each.rows[0]:,} -> {each.rows[1]:,} rows")


@app.command()
def drop(
    store: StorePath = STORE,
    teacher: Fingerprint = None,
    task: Annotated[str | None, typer.Option("--task", help="Teachers that were asked for this task alone.")] = None,
    unused_since: Annotated[str | None, typer.Option("--unused-since", help="A day (2026-01-31), or 90d.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without: say what would go.")] = False,
) -> None:
    """Take teachers' rows out of the cache; models, transfer sets and runs stay."""
    from kdpipe.care import drop as care

    place = _store(store)
    found = care.choose(place, teacher, task, unused_since)
    _show([_row(holding, "table") for holding in found.goes], "table")
    print("\n".join(found.stays), end="\n" if found.stays else "")
    rows, taken = sum(h.distinct for h in found.goes), _bytes(sum(h.bytes for h in found.goes))
    if yes:
        care.drop(place, found.goes)
    print(f"{rows:,} rows, {taken}: " + ("dropped" if yes else "would go; nothing was changed, say --yes to do it"))


@app.command()
def export(
    target: Annotated[str, typer.Argument(help="A folder, a URL, or a new .tar file.")],
    store: StorePath = STORE,
    teacher: Fingerprint = None,
) -> None:
    """Copy what teachers said into a folder or a tar file, for `import` on another machine."""
    from kdpipe.care import carry

    done = carry.export(_store(store), target, teacher)
    print(f"{done.parts} parts, {done.rows:,} rows -> {target}")


@app.command("import")
def bring(
    source: Annotated[str, typer.Argument(help="What `export` made, or another store.")],
    store: StorePath = STORE,
    teacher: Fingerprint = None,
) -> None:
    """Take the rows that this store lacks; each part is checked, and rows that are there stay as they are."""
    from kdpipe.care import carry

    done = carry.bring(_store(store), source, teacher)
    print(f"{done.parts} parts, {done.rows:,} rows taken; {done.known:,} rows were there already")


def _store(root: str):
    from kdpipe.store import Store

    return Store(root)


def _row(holding, form: str) -> dict[str, object]:
    used = holding.last_used
    row = {
        "teacher": holding.teacher.fingerprint,
        "task": ", ".join(holding.teacher.tasks),
        "model": ", ".join(holding.teacher.folders),
        "signal": holding.signal,
        "rows": holding.rows,
        "distinct": holding.distinct,
        "parts": holding.parts,
        "broken": len(holding.broken),
        "bytes": holding.bytes,
        "last_used": used and used.isoformat(timespec="seconds"),
    }
    if form == "table":
        row |= {"bytes": _bytes(holding.bytes), "last_used": used and used.astimezone().strftime("%Y-%m-%d %H:%M")}
    return row


def _show(rows: list[dict[str, object]], form: str) -> None:
    import pyarrow as pa

    from kdpipe.render import render

    print(render(pa.Table.from_pylist(rows), form) if rows or form != "table" else "nothing")


def _bytes(n: int) -> str:
    """12,345,678 -> "12.3 MB"."""
    size, units = float(n), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while size >= 999.5 and unit != "TB":
        size, unit = size / 1000, next(units)
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
