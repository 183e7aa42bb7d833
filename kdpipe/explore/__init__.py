"""A local page over the warehouse: the predictions of a store, filtered, side by side, and where an error comes from.

Plain HTML forms: an address says all that a page shows, nothing is built and nothing is fetched from elsewhere.
"""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

from kdpipe import warehouse
from kdpipe.errors import UserError
from kdpipe.explore import keeping, questions
from kdpipe.explore.held import Held
from kdpipe.explore.labelling import Models, Said
from kdpipe.explore.questions import Filter, NotThere, Question
from kdpipe.report import LOOK
from kdpipe.store import Store

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

PAGES = Path(__file__).with_name("pages")
_NAMES = {"runs": "Runs", "predictions": "Predictions", "compare": "Side by side"}  # in the navigation
_LARGEST = 4 << 20  # bytes of a form
_FIELDS = 20_000  # of a form
_LONGEST = 20_000  # characters of a text that models are asked


def app(store: Store | str, token: str | None = None) -> Starlette:
    """The pages of a store, whose predictions are read now. Raises UserError where it cannot be read."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    from kdpipe.explore.guard import Guard

    store = store if isinstance(store, Store) else Store(store)
    token = token or secrets.token_urlsafe()
    pages = Pages(store, token)

    def knows(form: Form) -> bool:
        return secrets.compare_digest(form("token").encode(), token.encode())

    routes = [
        *(Route(path, _answering(page, None), methods=["GET"]) for path, page in (
            ("/", pages.runs), ("/predictions", pages.predictions), ("/compare", pages.compare), ("/row", pages.row),
            ("/look.css", pages.look), ("/page.js", pages.script))),
        *(Route(path, _answering(page, knows), methods=["POST"]) for path, page in (
            ("/answer", pages.answer), ("/slice", pages.slice), ("/gold", pages.gold), ("/refresh", pages.refresh))),
    ]
    made = Starlette(routes=routes, exception_handlers={
        UserError: pages.refused, 404: pages.nowhere, 405: pages.nowhere})
    made.add_middleware(Guard)
    return made


def serve(store: Store | str, port: int = 0, show: bool = True) -> None:
    """The pages at 127.0.0.1, until Ctrl-C. port 0: a free one. show: open a browser."""
    import uvicorn

    made = app(store)
    with _listening(port) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        print(f"{url}  (Ctrl-C stops it)", flush=True)
        if show:
            threading.Timer(0.5, webbrowser.open, [url]).start()
        server = uvicorn.Server(uvicorn.Config(made, log_level="warning", lifespan="off", server_header=False))
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as e:
        why = e.strerror if isinstance(e, OSError) else "ports go up to 65535"
        raise UserError(f"--port {port}: cannot listen there ({why}); name another, or 0 for a free one") from None


# ---- requests


class Form:
    """What an address or a form says."""

    def __init__(self, text: str):
        try:
            self.fields = parse_qs(text, keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
        except (UnicodeDecodeError, ValueError):
            raise UserError(f"the form is not UTF-8, or has more than {_FIELDS:,} fields") from None

    def __call__(self, key: str) -> str:
        """The first value of a key, empty where there is none."""
        return self.fields.get(key, [""])[0]

    def all(self, key: str) -> list[str]:
        """Every value of a key."""
        return self.fields.get(key, [])


def _answering(page: Callable[[Form], Response], knows: Callable[[Form], bool] | None) -> Callable:
    """A page as Starlette calls it; it runs in a thread. knows: what checks a form's token, None for addresses."""
    from starlette.concurrency import run_in_threadpool

    async def answer(request: Request) -> Response:
        if knows is None:
            return await run_in_threadpool(lambda: page(Form(request.url.query)))
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LARGEST:
                raise UserError(f"the form is larger than {_LARGEST >> 20} MiB")
        form = Form(body.decode("ascii", errors="replace"))
        if not knows(form):
            raise Refused("this form is not this server's own; load its page again, then send it")
        return await run_in_threadpool(lambda: page(form))

    return answer


class Refused(UserError):
    """A form without the token."""


# ---- pages


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
        question = questions.answers(split, id, run["task_key"])
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
            return self.models.ask(run["model_key"], *text)
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
        kinds = {run["kind"] for name, run in runs.items()
                 if asked.run in (None, name) and asked.task in (None, run["task"])}
        rows = self.held.ask(self._chosen(form))
        return [row | {"origin": row["split"]} for row in rows], kinds.pop() if len(kinds) == 1 else "classification"

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
