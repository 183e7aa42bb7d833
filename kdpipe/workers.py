"""One piece of work over many tasks, in this process or in several, results always in the order of the tasks."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from kdpipe import progress

Result = TypeVar("Result")

_work: Callable | None = None  # in a worker process: what it was started for


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes(tasks: int) -> int:
    """How many processes of one thread each do so many long tasks soonest.

    One a core; but of fewer tasks than twice the cores none waits, for what waits would run alone at the end.
    """
    return tasks if tasks < 2 * cores() else cores()


def in_order(work: Callable[..., Result], tasks: Iterable[tuple], workers: int) -> Generator[Result, None, None]:
    """work(*task) of each task, in order.

    With several workers `work` is sent to each of them once, when it starts, and at most two tasks a worker are
    under way or waiting to be taken; tasks may be endless. Closing the iterator stops the workers.
    """
    if workers <= 1:
        yield from (work(*task) for task in tasks)
        return
    # loky, not the standard library's pool: that one imports the caller's script again in each worker, and hangs for
    # ever in Python 3.11 when a worker dies while a task is being sent (github.com/python/cpython/issues/94777)
    from joblib.externals.loky import ProcessPoolExecutor

    waiting = deque()
    with ProcessPoolExecutor(workers, initializer=_receive, initargs=(work,)) as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(_do, task))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def in_threads(work: Callable[..., Result], *tasks: Iterable) -> list[Result]:
    """map(work, *tasks) by a thread for each core; by this one alone where there is one task."""
    calls = list(zip(*tasks, strict=False))
    if len(calls) < 2:
        return [work(*call) for call in calls]
    with ThreadPoolExecutor(cores()) as threads:
        return list(threads.map(lambda call: work(*call), calls))


def apart(workers: int, work: Callable[..., Result], *task: object) -> Result:
    """work(*task) in one of so many other processes: for work that sets a process's threads or random state.

    They stay for the next that is done by as many. Progress bars are told to whoever listens here.
    """
    from joblib.externals.loky import get_reusable_executor

    with progress.overheard() as address:
        return get_reusable_executor(workers, timeout=60).submit(_told, address, work, task).result()


def _told(address: progress.Address, work: Callable[..., Result], task: tuple) -> Result:
    with progress.telling(address):
        return work(*task)


def _receive(work: Callable) -> None:
    global _work
    _work = work


def _do(task: tuple) -> object:
    return _work(*task)
