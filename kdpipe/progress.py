"""Progress bars with rate and time left; flows listen in to show the same in Prefect."""

import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from multiprocessing.connection import Listener as Socket

from tqdm.auto import tqdm

Listener = Callable[[str, int, int], None]  # stage, done, total
Address = tuple[str, bytes]  # where to tell, and the key that proves who tells
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
    with _own_folder() as folder, Socket(os.path.join(folder, "bars"), authkey=key) as door:
        thread = threading.Thread(target=copy_context().run, args=(_relay, door, over), daemon=True)
        thread.start()
        try:
            yield door.address, key
        finally:
            over.set()
            with suppress(OSError), socket.socket(socket.AF_UNIX) as visitor:
                visitor.connect(door.address)  # wakes a thread to which nobody ever came: the other died too early
            thread.join()


def _own_folder() -> tempfile.TemporaryDirectory:
    """A folder that no other user may enter, for a socket's name, which has to be short."""
    long = len(tempfile.gettempdir()) > 60
    return tempfile.TemporaryDirectory(prefix="kdpipe-", dir="/tmp" if long else None, ignore_cleanup_errors=True)


def _relay(door: Socket, over: threading.Event) -> None:
    while not over.is_set():
        try:
            told = door.accept()
        except (AuthenticationError, EOFError, OSError):  # somebody without the key
            continue
        with told:
            return _repeat(told)


def _repeat(told: Connection) -> None:
    while True:
        try:
            said = told.recv()
        except (EOFError, OSError):  # the end, or killed in the middle of a word
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
