"""Progress bars with rate and time left; flows listen in to show the same in Prefect."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm.auto import tqdm

Listener = Callable[[str, int, int], None]  # stage, done, total
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("listeners", default=())


@contextmanager
def bar(stage: str, total: int, unit: str = "row") -> Iterator[Callable[[int], None]]:
    """`with bar("teach", n) as advance: advance(32)`: shown on standard error and told to all listeners."""
    with tqdm(total=total, desc=stage, unit=f" {unit}s", smoothing=0.1, dynamic_ncols=True, mininterval=0.5) as shown:

        def advance(n: int) -> None:
            shown.update(n)
            for listener in _listeners.get():
                listener(stage, shown.n, total)

        yield advance


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """While inside, every bar of this context also calls `listener(stage, done, total)`."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)
