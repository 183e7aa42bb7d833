"""One HTML file about the runs of a store: self-contained, readable offline, in print and by a screen reader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kdpipe.contrast import tasks_of
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
    tasks = {task: names} if task else tasks_of(store, names)
    chapters = [chapter(store, its, name, split) for name, its in tasks.items()]
    root = store.root if isinstance(store, Store) else str(store)
    return page.render(look=LOOK.read_text("utf-8"), store=root, chapters=chapters, split=split, shown=SHOWN)
