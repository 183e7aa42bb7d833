"""`kdpipe up` as users have it: server, worker and deployments, a run to its end, and nothing left after Ctrl-C."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings

from kdpipe.errors import UserError
from kdpipe.store import Store
from kdpipe.up import up

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def running(tmp_path, port) -> Iterator[subprocess.Popen]:
    """`kdpipe up` on a store of its own, ready."""
    log = tmp_path / "up.log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "kdpipe.cli", "up", "--store", str(tmp_path / "store"),
                                    "--port", str(port)], cwd=ROOT, stdout=out, stderr=out)
    try:
        wait_until(lambda: "Prefect is up" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def wait_until(true, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.2)


def descendants(pid: int) -> set[int]:
    """Processes that a process started, and those that these started."""
    if Path("/proc/self/stat").exists():
        parents = {int(p.parent.name): parent_of(p) for p in Path("/proc").glob("[0-9]*/stat")}
    else:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        parents = dict(map(int, line.split()) for line in listed.splitlines())
    found, level = set(), {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found |= level
    return found


def parent_of(stat: Path) -> int:
    try:
        return int(stat.read_text().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def api(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def prefect(port: int, *arguments: str) -> str:
    """What another shell sees: the Prefect command with PREFECT_API_URL as `kdpipe up` printed it."""
    environment = {**os.environ, "PREFECT_API_URL": api(port)}
    command = [sys.executable, "-m", "prefect", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_deployed_flow_runs_and_nothing_is_left_after_ctrl_c(tmp_path, running, port, tiny_recipe, tiny_task):
    asked = ("-p", f"recipe={tiny_recipe}", "-p", f"task={tiny_task}", "-p", "device=cpu")
    assert "Completed" in prefect(port, "deployment", "run", "augment-and-teach/local", *asked, "--watch")
    assert list(Path(Store(tmp_path / "store").path, "signals").rglob("part-*.parquet"))

    before = descendants(running.pid)
    endless = {"recipe": str(tiny_recipe), "task": str(tiny_task), "overrides": ["student.train.epochs=99999"]}
    with temporary_settings({PREFECT_API_URL: api(port)}):
        run_deployment("train-students/local", parameters=endless, timeout=0)
    wait_until(lambda: len(descendants(running.pid) - before) > 2)  # the flow run and processes that it trains in
    started = descendants(running.pid)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 0
    assert not [pid for pid in started if alive(pid)]


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {number}: cannot be used.*--port"):
            up(str(tmp_path / "store"), number)
    assert not (tmp_path / "store").exists()
