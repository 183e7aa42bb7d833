"""A warm process that carries out the stages of a recipe in forks of itself, each of which may be killed or starved.

Reads one request a line, {"jobs": [...]}, forks once for each job, and answers with one line of what became of them.
A job: recipe, task, store, stages; and, where wanted,
    seed, overrides, shard    of the work
    asked                     a file that gets a line for each part that the teacher was asked: rows, "begun" or "done"
    point, after              dies by SIGKILL at its n-th call of fsync, chmod, replace or rename, before or after it
    point, error              gets this errno ("EDQUOT") from its n-th call of these
    count                     a file that gets a dot for each of these calls
    delay                     is killed by SIGKILL after so many seconds
    file_size, memory         RLIMIT_FSIZE in bytes; bytes of address space beyond what the process has when it begins
    user                      the user id that it runs as
"""

from __future__ import annotations

import errno
import faulthandler
import json
import os
import resource
import signal
import sys
import threading
import time
import traceback
from functools import lru_cache
from pathlib import Path

STAGES = ("teachers", "augment", "teach", "train", "evaluate")
HANGS = 100  # seconds after which a fork shows where it stands and is killed
POINTS = ("fsync", "chmod", "replace", "rename")


@lru_cache
def recipe_of(path: str, task: str, seed: int, overrides: tuple[str, ...]):
    from kdpipe.recipe import load

    return load(path, task, [seed], overrides)


def load(job: dict):
    return recipe_of(job["recipe"], job["task"], job.get("seed", 0), tuple(job.get("overrides", ())))


def carry_out(job: dict) -> None:
    """The stages of a job, in this process."""
    from kdpipe import phases

    work, seed = phases.Job(load(job), job["store"], "cpu", 1), job.get("seed", 0)
    for stage in job["stages"]:
        getattr(phases, stage)(work, *([seed] if stage in ("train", "evaluate") else []))


def prepare(job: dict) -> None:
    """What a child changes of itself before it works."""
    from functools import partial

    from kdpipe import evaluation
    from kdpipe.signals.cache import Cache
    from kdpipe.signals.live import Live

    evaluation.speed = partial(evaluation.speed, seconds=0.0)  # a speed is no part of what is compared
    Cache.__init__.__defaults__ = (job.get("shard", 32), *Cache.__init__.__defaults__[1:])
    if "asked" in job:
        Live.compute = counting(Live.compute, job["asked"])
    if "point" in job:
        die_at(job["point"], job.get("after", False), job.get("error"))
    if "count" in job:
        count_points(job["count"])
    if "user" in job:
        os.setgroups([])
        os.setgid(job["user"])
        os.setuid(job["user"])
    if "file_size" in job:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_size"], job["file_size"]))
    if "memory" in job:
        has = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (has + job["memory"],) * 2)


def counting(compute, path: str):
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def counted(self, signal_name, encoded):
        os.write(log, b"%d begun\n" % len(encoded))
        values = compute(self, signal_name, encoded)
        os.write(log, b"%d done\n" % len(encoded))
        return values

    return counted


def patched(told) -> None:
    """Have `told(call)` carry out every call that stands between writing and being there."""
    for name in POINTS:
        real = getattr(os, name)
        setattr(os, name, lambda *a, _real=real, **k: told(lambda: _real(*a, **k)))


def die_at(point: int, after: bool, error: str | None) -> None:
    lock, seen = threading.Lock(), [0]

    def told(call):
        with lock:
            seen[0] += 1
            mine = seen[0] == point
        if mine and error:
            number = getattr(errno, error)
            raise OSError(number, os.strerror(number))
        if mine and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = call()
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    patched(told)


def count_points(path: str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def told(call):
        os.write(log, b".")
        return call()

    patched(told)


def child(job: dict, said: int) -> int:
    """Exit code of one job: 0; 2 and its faults for a user's mistake; 1 and the traceback for everything else."""
    from kdpipe.errors import UserError

    os.dup2(said, 1), os.dup2(said, 2)
    faulthandler.register(signal.SIGUSR1, said, all_threads=True)
    try:
        prepare(job)
        carry_out(job)
        return 0
    except UserError as e:
        os.write(2, ("\n".join(e.faults) + "\n").encode())
        return 2
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        return 1


def serve(jobs: list[dict]) -> list[dict]:
    begun = [fork(job) for job in jobs]
    return [ended(job, *one) for job, one in zip(jobs, begun, strict=True)]


def fork(job: dict) -> tuple[int, int, float]:
    said = os.memfd_create("said")
    pid = os.fork()
    if pid == 0:
        os._exit(child(job, said))
    return pid, said, time.perf_counter()


def ended(job: dict, pid: int, said: int, start: float) -> dict:
    end, status = start + job.get("delay", HANGS), None
    while status is None:
        got, code = os.waitpid(pid, os.WNOHANG)
        if got:
            status = os.waitstatus_to_exitcode(code)
        elif time.perf_counter() >= end:
            if "delay" not in job:
                os.kill(pid, signal.SIGUSR1), time.sleep(1)
            os.kill(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        else:
            time.sleep(0.001)
    seconds = time.perf_counter() - start
    os.lseek(said, 0, os.SEEK_SET)
    text = b"".join(iter(lambda: os.read(said, 1 << 16), b"")).decode(errors="replace")
    os.close(said)
    return {"status": status, "said": text, "seconds": seconds}


def warm(job: dict) -> None:
    """Import and open everything once, so that a fork need not."""
    import torch
    import tqdm

    torch.set_num_threads(1)
    tqdm.tqdm.monitor_interval = 0  # its thread would not be in a fork
    tqdm.tqdm.set_lock(threading.RLock())  # its own is a semaphore that forks share: a killed one would keep it
    prepare({})
    carry_out({**job, "stages": STAGES})


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        request = json.loads(line)
        if "warm" in request:
            warm(request["warm"])
        for job in request.get("jobs", ()):
            load(job)
        print(json.dumps(serve(request.get("jobs", ()))), file=out, flush=True)


if __name__ == "__main__":
    try:
        main()
    except OSError as e:
        if e.errno != errno.EPIPE:
            raise
