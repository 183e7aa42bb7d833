"""Work in order, in this process and in others."""

import os
import subprocess
import sys
from itertools import count, islice
from pathlib import Path

import pytest

from kdpipe.errors import UserError
from kdpipe.progress import bar, listening
from kdpipe.workers import apart, cores, in_order, processes


class Sum:
    def __init__(self, start: int):
        self.start = start

    def __call__(self, a: int, b: int) -> tuple[int, int]:
        return self.start + a + b, os.getpid()


def count_to(n: int) -> int:
    with bar("count", n) as advance:
        for _ in range(n):
            advance(1)
    return os.getpid()


def die() -> None:
    os._exit(7)


def refuse(n: int) -> int:
    raise UserError(f"row {n}: refused")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_endless_tasks(workers):
    results = in_order(Sum(100), ((i, 2 * i) for i in count()), workers)
    found = list(islice(results, 9))
    results.close()
    assert [value for value, _ in found] == [100 + 3 * i for i in range(9)]
    assert (os.getpid() in {pid for _, pid in found}) == (workers == 1)


def test_the_bars_of_a_process_apart_are_heard_here():
    heard = []
    with listening(lambda *said: heard.append(said)):
        assert apart(1, count_to, 1000) != os.getpid()
    assert heard[-1] == ("count", 1000, 1000)
    assert [done for _, done, _ in heard] == sorted({done for _, done, _ in heard})


def test_a_process_apart_that_dies_is_an_error_and_no_hang():
    with pytest.raises(Exception, match="terminated"):
        apart(1, die)


def test_a_workers_error_is_the_callers():
    with pytest.raises(UserError, match="row 0: refused"):
        list(in_order(refuse, ((i,) for i in range(3)), 2))


def test_a_plain_script_without_a_main_guard_may_use_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("from kdpipe.workers import in_order\nprint(sum(in_order(abs, ((-i,) for i in range(5)), 2)))\n")
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PYTHONPATH": str(root)})
    assert done.stdout == "10\n", done.stderr


def test_no_task_waits_to_run_alone_at_the_end():
    assert cores() >= 1
    assert [processes(n) for n in (1, 2 * cores() - 1, 2 * cores(), 100)] == [1, 2 * cores() - 1, cores(), cores()]
