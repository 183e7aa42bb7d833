"""What an address or a form says, and the check that a form is this server's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from kdpipe.errors import UserError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_LARGEST = 4 << 20  # bytes of a form
_FIELDS = 20_000  # of a form


class Refused(UserError):
    """A form without the token."""


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


def answering(page: Callable[[Form], Response], knows: Callable[[Form], bool] | None) -> Callable:
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
