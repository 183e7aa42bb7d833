"""What shows whether files are as they were written: their bytes that lie there now, read once."""

import hashlib
import os
import time

import pytest

from kdpipe import intact


@pytest.fixture
def old_file(tmp_path):
    """A file whose times are settled: old enough for its digest to be kept."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"a" * 100)
    time.sleep(intact._CLOCK_TICK / 1e9 + 0.05)
    return path


def test_a_file_that_was_left_alone_is_read_once(old_file, monkeypatch):
    first = intact.digest(old_file)
    monkeypatch.setattr(hashlib, "file_digest", None)  # a second reading would fail
    assert intact.digest(old_file) == first


def test_bytes_changed_behind_a_restored_time_are_seen(old_file):
    first, times = intact.digest(old_file), old_file.stat()
    with old_file.open("r+b") as file:
        file.write(b"b")
    os.utime(old_file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert intact.digest(old_file) != first


def test_bytes_changed_within_one_tick_of_the_clock_are_seen(tmp_path):
    path, found = tmp_path / "config.json", set()
    for i in range(50):
        path.write_bytes(b"%02d" % i)
        found.add(intact.digest(path))
    assert len(found) == 50
