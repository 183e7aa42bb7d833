"""One HTML file about the runs of a store: self-contained, readable offline, in print and by a screen reader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kdpipe import warehouse
from kdpipe.errors import UserError
from kdpipe.store import Store

PAGE = Path(__file__).with_name("page.html")
LOOK = Path(__file__).with_name("look.css")  # colours, type and tables, of all pages


def build(store: Store | str, names: Sequence[str] = (), task: str | None = None, split: str = "dev") -> str:
    """The page, of the recipes and run ids that are named, or of all latest ones; each task is a chapter.

    Raises UserError where the store has no such runs.
    """
    from jinja2 import Environment

    from kdpipe.report.chapters import SHOWN, chapter

    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(PAGE.read_text("utf-8"))
    tasks = [task] if task else _tasks(store, names)
    chapters = [chapter(store, names, name, split) for name in tasks]
    root = store.root if isinstance(store, Store) else str(store)
    return page.render(look=LOOK.read_text("utf-8"), store=root, chapters=chapters, split=split, shown=SHOWN)


def _tasks(store: Store | str, names: Sequence[str]) -> list[str]:
    sql = "select distinct task from stg_runs where ($all and is_latest) or list_contains($names, recipe) or " \
          "list_contains($names, run) order by task"
    found = warehouse.query(store, sql, {"all": not names, "names": list(names)})["task"].to_pylist()
    if not found:
        said = f" of {', '.join(names)}; `kdpipe sql leaderboard` lists what it has" if names else ""
        raise UserError(f"the store has no runs{said or '; `kdpipe run RECIPE` makes one'}")
    return found
