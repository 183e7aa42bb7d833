"""Progress bars with rate and time left; flows listen in to show the same in Prefect."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from multiprocessing.connection import Listener as Socket
from socket import create_connection

from tqdm.auto import tqdm

Listener = Callable[[str, int, int], None]  # stage, done, total
Address = tuple[tuple[str, int], bytes]  # where to tell, and the key that proves who tells
SECONDS_BETWEEN = 0.5  # a process apart tells no more often
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


def say(line: str) -> None:
    """A line on standard error that leaves bars whole."""
    tqdm.write(line, file=sys.stderr)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """While inside, every bar of this context also calls `listener(stage, done, total)`."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


@contextmanager
def overheard() -> Iterator[Address]:
    """While inside, what another process tells this address (see `telling`) reaches the listeners of this context."""
    key, over = os.urandom(16), threading.Event()
    with Socket(("127.0.0.1", 0), authkey=key) as socket:
        thread = threading.Thread(target=copy_context().run, args=(_relay, socket, over), daemon=True)
        thread.start()
        try:
            yield socket.address, key
        finally:
            over.set()
            with suppress(OSError):  # wakes a thread to which nobody ever came: the process apart died too early
                create_connection(socket.address, timeout=1).close()
            thread.join()


def _relay(socket: Socket, over: threading.Event) -> None:
    while not over.is_set():
        try:
            told = socket.accept()
        except (AuthenticationError, EOFError, ConnectionError):  # somebody without the key
            continue
        with told:
            return _repeat(told)


def _repeat(told: Connection) -> None:
    while True:
        try:
            said = told.recv()
        except EOFError:
            return
        for listener in _listeners.get():
            listener(*said)


@contextmanager
def telling(address: Address) -> Iterator[None]:
    """In a process apart: its bars are told to the address that `overheard` gave."""
    place, key = address
    with Client(place, authkey=key) as line:
        told: dict[str, float] = {}

        def tell(stage: str, done: int, total: int) -> None:
            now = time.monotonic()
            if done >= total or now >= told.get(stage, 0) + SECONDS_BETWEEN:
                told[stage] = now
                with suppress(OSError):  # nobody listens any more: no reason to end the work
                    line.send((stage, done, total))

        with listening(tell):
            yield
