"""Who may ask: a browser on this machine, from these pages alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_NAMES = ("127.0.0.1", "localhost")
_HEADERS = {
    "content-security-policy": "default-src 'none'; img-src data:; style-src 'self'; script-src 'self'; "
                               "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Refuses other hosts' names (a foreign page whose name was pointed at 127.0.0.1) and other pages' forms."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        refusal = self._refusal(scope)
        app = PlainTextResponse(f"{refusal}\n", 403) if refusal else self.app

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in _HEADERS.items())]
            await send(message)

        await app(scope, receive, sent)

    def _refusal(self, scope: Scope) -> str | None:
        headers = {}
        for name, value in scope["headers"]:
            if name in (b"host", b"origin", b"sec-fetch-site"):
                if name in headers:
                    return "a header is there twice"
                headers[name] = value.decode("latin-1").lower()
        port = (scope.get("server") or ("", None))[1]
        hosts = {f"{name}:{port}" for name in _NAMES} | (set(_NAMES) if port in (80, None) else set())
        if headers.get(b"host") not in hosts:
            return f"this page answers to http://127.0.0.1:{port} alone"
        if scope["method"] not in ("GET", "HEAD"):
            if headers.get(b"origin", f"http://{headers[b'host']}") != f"http://{headers[b'host']}":
                return "a form of another page may not ask here"
            if headers.get(b"sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return "a form of another page may not ask here"
        return None
