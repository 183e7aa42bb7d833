"""Each page of the local server as a function of what its address or form says."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from kdpipe import warehouse
from kdpipe.errors import UserError
from kdpipe.explore import keeping, questions
from kdpipe.explore.forms import Form, Refused
from kdpipe.explore.held import Held
from kdpipe.explore.labelling import Models, Said
from kdpipe.explore.questions import Filter, NotThere, Question
from kdpipe.report import LOOK
from kdpipe.store import Store

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

PAGES = Path(__file__).with_name("pages")
_NAMES = {"runs": "Runs", "predictions": "Predictions", "compare": "Side by side"}  # in the navigation
_LONGEST = 20_000  # characters of a text that models are asked

class Pages:
    """Each page as a function of what its address or form says."""

    def __init__(self, store: Store, token: str):
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        self.store, self.token = store, token
        self.held, self.models, self.reading = Held(store), Models(store), threading.Lock()
        self.env = Environment(loader=FileSystemLoader(PAGES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
                               undefined=StrictUndefined)
        self.env.globals["pairs"] = lambda values: [(value, value) for value in values]
        self.env.filters |= {"query": urlencode, "command": self._command}

    def runs(self, form: Form) -> Response:
        """All runs with predictions, by task."""
        found = self.held.choices.runs.values()
        tasks = {task: list(runs) for task, runs in groupby(found, lambda run: run["task"])}
        return self._page("runs", tasks=tasks)

    def predictions(self, form: Form) -> Response:
        """One page of the predictions that a filter lets through."""
        held = self.held
        asked = Filter.read(form, held.choices)
        question, totals = questions.predictions(asked), held.one(questions.totals(asked))
        return self._page("predictions", held, asked=asked, found=held.ask(question), totals=totals, sql=question,
                          pages=_pages(totals["n"]), saved=form("kept"))

    def compare(self, form: Form) -> Response:
        """Two runs side by side."""
        held = self.held
        asked, side = Filter.read(form, held.choices), form("side")
        second = form("second")
        if side and side not in questions.SIDES:
            raise UserError(f"side: no '{side[:200]}'; allowed: {', '.join(questions.SIDES)}")
        if not (asked.run and second):
            return self._page("compare", held, asked=asked, second=second, side=side, found=None)
        one, two = held.choices.run(asked.run), held.choices.run(second)
        if one["task_key"] != two["task_key"]:
            raise UserError(f"{asked.run} answers {one['task']} and {second} answers {two['task']}: other rows; "
                            "choose two runs of one task and its same data")
        question, totals = questions.beside(asked, second, side or None), held.one(questions.sides(asked, second))
        return self._page("compare", held, asked=asked, second=second, side=side, one=one, two=two, totals=totals,
                          found=held.ask(question), sql=question, pages=_pages(totals[side or "n"]))

    def row(self, form: Form, **more: Any) -> Response:
        """One row: what every run answered, and what the run learned from near it."""
        held = self.held
        run, split, id = held.choices.run(form("run")), form("split"), questions.row_id(form("id"))
        question = questions.answers(run, split, id)
        answers = held.ask(question)
        mine = next((answer for answer in answers if answer["run"] == run["run"]), None)
        if mine is None:
            raise NotThere(f"{run['run']} answered no row {form('id')} of {split[:200] or 'no split'}")
        origin = questions.lineage(run["run"], id)
        made = self._asked_afresh(origin)
        near = [list(rows) for _, rows in groupby(made, lambda row: row["rank"])]
        teacher = next((answer for answer in answers if answer["run"] == run["teacher_run"]), None)
        return self._page("row", held, run=run, split=split, id=form("id"), mine=mine, teacher=teacher, answers=answers,
                          near=near, sql=question, origin=origin, **({"edited": None, "said": ()} | more))

    def answer(self, form: Form) -> Response:
        """The same row, and what student and teacher say of an edited text."""
        run = self.held.choices.run(form("run"))
        text = (form("text_a").strip(), form("text_b").strip() if "text_b" in form.fields else None)
        if sum(len(part or "") for part in text) > _LONGEST:
            raise UserError(f"the text is longer than {_LONGEST:,} characters; models read some hundred words")
        if not text[0] or text[1] == "":
            raise UserError("the text is empty: there is nothing to label")
        asked = [(run["role"], run)]
        if run["teacher_run"] in self.held.choices.runs:
            asked.append(("teacher", self.held.choices.run(run["teacher_run"])))
        return self.row(form, edited=text, said=[(role, self._said(which, text)) for role, which in asked])

    def _said(self, run: Mapping[str, Any], text: tuple[str, str | None]) -> Said | str:
        """An answer, or why there is none: without a teacher the student still answers."""
        try:
            return self.models.ask(run["run"], *text)
        except UserError as e:
            return "; ".join(e.faults)

    def slice(self, form: Form) -> Response:
        """Save rows under a name; then the page that shows them."""
        from starlette.responses import RedirectResponse

        name, held = form("name").strip(), self.held
        ids = sorted({row["id"] for row in held.ask(self._chosen(form))})
        with self.reading:
            keeping.save(self.store, name, ids)
            held.add_slice(name, ids)
        return RedirectResponse(f"/predictions?{urlencode({'saved': name, 'kept': len(ids)})}", 303)

    def gold(self, form: Form) -> Response:
        """Rows to label, as a file that the browser puts where the user says."""
        rows, kind = self._near(form) if form("id_of") else self._filtered(form)
        if not rows:
            raise UserError("no row was chosen; tick some, or choose all")
        from starlette.responses import StreamingResponse

        headers = {"content-disposition": 'attachment; filename="to-label.csv"'}
        return StreamingResponse(keeping.to_label(rows, kind), media_type="text/csv; charset=utf-8", headers=headers)

    def _filtered(self, form: Form) -> tuple[list[dict[str, Any]], str]:
        runs = self.held.choices.runs
        asked = Filter.read(Form(form("query")), self.held.choices)
        tasks = {run["task"]: run["kind"] for name, run in runs.items()
                 if asked.run in (None, name) and asked.task in (None, run["task"])}
        if len(tasks) > 1:
            raise UserError(f"rows of {len(tasks)} tasks ({', '.join(sorted(tasks))}) do not go into one file to "
                            "label; choose a task")
        rows = self.held.ask(self._chosen(form))
        return [row | {"origin": row["split"]} for row in rows], next(iter(tasks.values()), "classification")

    def _near(self, form: Form) -> tuple[list[dict[str, Any]], str]:
        """Rows that were made near one, and the edited text."""
        run = self.held.choices.run(form("run"))
        ticked = set(form.all("id"))
        made = self._asked_afresh(questions.lineage(run["run"], questions.row_id(form("id_of"))))
        found = {row["id"]: row | {"origin": row["operator"]} for row in made if row["id"].hex() in ticked}
        edited = {"text_a": form("text_a"), "text_b": form("text_b") or None, "label": None, "origin": "edited"}
        return [*found.values(), *([edited] if "edited" in ticked and edited["text_a"].strip() else [])], run["kind"]

    def _chosen(self, form: Form) -> Question:
        """The ticked rows of a filter, or all of them."""
        asked, which = Filter.read(Form(form("query")), self.held.choices), form("which")
        if which not in ("ticked", "all"):
            raise UserError(f"which: found '{which[:200]}'; allowed: ticked, all")
        ids = [questions.row_id(id) for id in form.all("id")] if which == "ticked" else []
        if which == "ticked" and not ids:
            raise UserError("no row was chosen; tick some, or choose all")
        return questions.texts(asked, ids)

    def refresh(self, form: Form) -> Response:
        """Read the store again."""
        from starlette.responses import RedirectResponse

        with self.reading:
            self.held = Held(self.store)
        return RedirectResponse("/", 303)

    def look(self, form: Form) -> Response:
        """The report's colours and tables, and what forms need."""
        return _file(LOOK.read_text("utf-8") + (PAGES / "look.css").read_text("utf-8"), "text/css")

    def script(self, form: Form) -> Response:
        """Copying, and ticking all: what HTML alone cannot."""
        return _file((PAGES / "page.js").read_text("utf-8"), "text/javascript")

    async def refused(self, request: Request, error: UserError) -> Response:
        """A mistake in one sentence."""
        status = 404 if isinstance(error, NotThere) else 403 if isinstance(error, Refused) else 400
        return self._page("message", faults=error.faults, status=status)

    async def nowhere(self, request: Request, error: Exception) -> Response:
        """An address that is none."""
        return self._page("message", faults=["there is no such page"], status=error.status_code)

    def _asked_afresh(self, question: Question) -> list[dict[str, Any]]:
        """From the files: what is asked for one row at a time need not be held."""
        return warehouse.query(self.store, question.sql, dict(question.values)).to_pylist()

    def _page(self, name: str, held: Held | None = None, status: int = 200, **facts: Any) -> Response:
        from starlette.responses import HTMLResponse

        held = held or self.held
        template = self.env.get_template(f"{name}.html")
        return HTMLResponse(template.render(
            held=held, choices=held.choices, store=self.store.root, token=self.token, changed=held.changed(),
            orders=questions.ORDERS, sides=questions.SIDES,
            most_pages=questions.PAGES, page=_NAMES.get(name), **facts), status)

    def _command(self, question: Question) -> str:
        """A question for the shell."""
        import shlex

        return f"kdpipe sql --store {shlex.quote(self.store.root)} {shlex.quote(question.text)}"


def _pages(rows: int) -> int:
    return max(1, min(questions.PAGES, -(-rows // questions.ROWS)))


def _file(text: str, kind: str) -> Response:
    from starlette.responses import Response

    return Response(text, media_type=kind)
