"""Bars of other processes: told to whoever listens, however slow, and to nobody else."""

import time
from multiprocessing.connection import Client
from socket import create_connection

import pytest

from kdpipe import progress


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


def test_a_visitor_without_the_key_changes_nothing():
    heard = []
    with progress.listening(lambda *said: heard.append(said)), progress.overheard() as (place, key):
        create_connection(place).close()
        with pytest.raises(Exception, match="digest sent was rejected"):
            Client(place, authkey=b"another")
        with Client(place, authkey=key) as line:
            line.send(("work", 1, 1))
    assert heard == [("work", 1, 1)]
