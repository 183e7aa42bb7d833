"""A local page over the warehouse: the predictions of a store, filtered, side by side, and where an error comes from.

Plain HTML forms: an address says all that a page shows, nothing is built and nothing is fetched from elsewhere.
"""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser
from contextlib import suppress
from typing import TYPE_CHECKING

from kdpipe.errors import UserError
from kdpipe.explore.forms import Form, answering
from kdpipe.explore.views import Pages
from kdpipe.store import Store

if TYPE_CHECKING:
    from starlette.applications import Starlette


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
        *(Route(path, answering(page, None), methods=["GET"]) for path, page in (
            ("/", pages.runs), ("/predictions", pages.predictions), ("/compare", pages.compare), ("/row", pages.row),
            ("/look.css", pages.look), ("/page.js", pages.script))),
        *(Route(path, answering(page, knows), methods=["POST"]) for path, page in (
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
