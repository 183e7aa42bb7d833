"""Bars of other processes: told to whoever listens, and nobody waits for one that died."""

import os
import time
from multiprocessing.connection import Client
from socket import create_connection

import pytest

from kdpipe import progress
from kdpipe.workers import apart


def counted(n: int) -> int:
    with progress.bar("count", n) as advance:
        for _ in range(n):
            advance(1)
    return os.getpid()


def test_bars_of_a_process_apart_are_heard_to_their_end():
    heard = []
    with progress.listening(lambda *said: heard.append(said)):
        assert apart(counted, 3) != os.getpid()
    assert heard[-1] == ("count", 3, 3)


def test_a_listener_that_is_slower_than_the_work_hears_all_of_it():
    heard = []

    def slowly(*said):
        time.sleep(0.6)
        heard.append(said)

    with progress.listening(slowly), progress.overheard() as address, progress.telling(address):
        for done in (1, 2, 3, 4):
            for listener in progress._listeners.get()[1:]:
                listener("work", done, done)
    assert heard[-1] == ("work", 4, 4)


def leaves_without_a_word() -> None:
    os._exit(1)


def test_a_process_that_dies_before_it_tells_anything_holds_up_nobody():
    start = time.monotonic()
    with pytest.raises(Exception, match="terminated|killed"):
        apart(leaves_without_a_word)
    assert time.monotonic() - start < 60


def test_a_visitor_without_the_key_changes_nothing():
    heard = []
    with progress.listening(lambda *said: heard.append(said)), progress.overheard() as (place, key):
        create_connection(place).close()
        with pytest.raises(Exception, match="digest sent was rejected"):
            Client(place, authkey=b"another")
        with Client(place, authkey=key) as line:
            line.send(("work", 1, 1))
    assert heard == [("work", 1, 1)]
