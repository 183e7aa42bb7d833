"""Bars of other processes: told to whoever listens, however slow, and to nobody else."""

import os
import socket
import tempfile
import time
from multiprocessing.connection import Client

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


@pytest.mark.parametrize("word", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\4????"])
def test_a_visitor_without_the_key_changes_nothing(word):
    heard = []
    with progress.listening(lambda *said: heard.append(said)), progress.overheard() as (place, key):
        with socket.socket(socket.AF_UNIX) as visitor:
            visitor.connect(place)
            visitor.sendall(word)
        with pytest.raises(Exception, match="digest sent was rejected"):
            Client(place, authkey=b"another")
        with Client(place, authkey=key) as line:
            line.send(("work", 1, 1))
    assert heard == [("work", 1, 1)]


def test_a_word_that_is_cut_off_ends_the_talk(capfd):
    with progress.overheard() as (place, key):
        line = Client(place, authkey=key)
        os.write(line.fileno(), b"\0\0\1\0half a word")
        line.close()
    assert capfd.readouterr().err == ""


def test_a_long_name_of_the_temporary_folder_is_no_hindrance(tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with progress.overheard() as (place, key), Client(place, authkey=key) as line:
        line.send(("work", 1, 1))
