"""`kdpipe up`: Prefect's server, the deployments and a worker on this machine, started and stopped together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import BinaryIO

from kdpipe.errors import UserError
from kdpipe.resources import folder
from kdpipe.store import Store

HOST = "127.0.0.1"
POOL = "local"
# prefect.yaml says the same for `prefect deploy`
FLOWS = ("augment_and_teach", "train_students", "evaluate", "distill")
PARAMETERS = {"recipe": "tang2019", "task": "support"}
SECONDS_TO_START = 120.0
SECONDS_TO_STOP = 20.0


def up(store: str, port: int = 4200) -> None:
    """Run until Ctrl-C or SIGTERM; then stop the worker and its flow runs first, the server last.

    Raises UserError where the port is taken, or where server or worker ends by itself.
    """
    _check_free(port)
    home = prefect_home(store, f"prefect-{port}")
    api = f"http://{HOST}:{port}/api"
    serve = ["server", "start", "--host", HOST, "--port", str(port)]
    environment = {**os.environ, **settings(home), "PREFECT_API_URL": api}
    with ExitStack() as running, _interrupted() as stop:
        log = running.enter_context((home / "server.log").open("ab"))
        print(f"starting Prefect's server (its log: {home / 'server.log'}) ...", flush=True)
        server = running.enter_context(_process(serve, environment, log))
        if not _healthy(f"{api}/health", server, stop, log.name):
            return
        _make_pool(api)
        worker = running.enter_context(_process(["worker", "start", "--pool", POOL], environment, None))
        _deploy(api, _absolute(store))
        print(_welcome(port), flush=True)
        while not stop.wait(0.5):
            _check_alive(server, "server", f"see {log.name}")
            _check_alive(worker, "worker", "see the lines above")
        print("stopping worker and server ...", flush=True)


def prefect_home(store: str, name: str) -> Path:
    """Prefect's own folder: in the store, or under ~/.kdpipe for a store that is not on this machine.

    Never Prefect's default: two servers that write to one SQLite file end in "database is locked".
    """
    place = Store(store)
    home = (Path(place.path) if place.local else Path.home() / ".kdpipe") / name
    home.mkdir(parents=True, exist_ok=True)
    return home.resolve()


def settings(home: Path) -> dict[str, str]:
    """Prefect's settings as environment variables: its own database, nothing sent anywhere."""
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect.db'}",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",  # a first start on a busy machine takes over 20 s
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
    }


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as e:
            raise UserError(f"port {port}: cannot be used ({e}); stop what runs there or give another --port") from None


@contextmanager
def _interrupted() -> Iterator[Event]:
    """Set at the first Ctrl-C or SIGTERM inside the block."""
    stop = Event()
    before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _process(command: list[str], environment: dict[str, str], log: BinaryIO | None) -> Iterator[subprocess.Popen]:
    """A Prefect command in a process group of its own: Ctrl-C reaches this process alone, which ends the group."""
    process = subprocess.Popen([sys.executable, "-m", "prefect", *command], env=environment, stdin=subprocess.DEVNULL,
                               stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen) -> None:
    """SIGTERM to the whole group, SIGKILL to what is left of it after SECONDS_TO_STOP."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal_group(process.pid, number)
        end = time.monotonic() + SECONDS_TO_STOP
        while time.monotonic() < end:
            process.poll()
            if not _signal_group(process.pid, 0):
                return
            time.sleep(0.1)


def _signal_group(group: int, number: int) -> bool:
    """False when the group has no member any more."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _healthy(url: str, server: subprocess.Popen, stop: Event, log: str) -> bool:
    """Wait until the server answers; False when the user stopped it before."""
    end = time.monotonic() + SECONDS_TO_START
    while not stop.wait(0.2):
        _check_alive(server, "server", f"see {log}")
        if time.monotonic() > end:
            raise UserError(f"the Prefect server did not answer within {SECONDS_TO_START:.0f} s; see {log}")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return True
        except (urllib.error.URLError, OSError):
            continue
    return False


def _check_alive(process: subprocess.Popen, what: str, where: str) -> None:
    if process.poll() is not None:
        raise UserError(f"the Prefect {what} ended by itself with exit code {process.returncode}; {where}")


def _make_pool(api: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.workers.process import ProcessWorker

    pool = WorkPoolCreate(name=POOL, type="process", base_job_template=ProcessWorker.get_default_base_job_template())
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        client.create_work_pool(pool, overwrite=True)


def _deploy(api: str, store: str) -> None:
    """Apply the deployments of FLOWS to a server; their runs start in the folder that this process is in."""
    from prefect.flows import Flow
    from prefect.settings import PREFECT_API_URL, temporary_settings

    here = str(Path.cwd())
    # A command of our own keeps flow runs in the worker's process group: none outlives it.
    variables = {"working_dir": here, "command": f"{sys.executable} -m prefect.engine"}
    with temporary_settings({PREFECT_API_URL: api}):
        for name in FLOWS:
            flow = Flow.from_source(here, f"{folder('flows') / name}.py:{name}")
            flow.to_deployment(
                "local", parameters={**PARAMETERS, "store": store}, work_pool_name=POOL, job_variables=variables
            ).apply()


def _absolute(store: str) -> str:
    place = Store(store)
    return str(Path(place.path).resolve()) if place.local else store


def _welcome(port: int) -> str:
    return f"""
Prefect is up: http://{HOST}:{port}   (Ctrl-C stops server, worker and their runs)

In another shell:
  export PREFECT_API_URL=http://{HOST}:{port}/api
  prefect deployment run 'distill/local' -p recipe=tang2019 -p task=support
  prefect deployment run 'augment-and-teach/local' -p recipe=tang2019
  prefect deployment run 'train-students/local' -p recipe=tang2019 -p 'seeds=[3, 4]'
  prefect deployment run 'train-students/local' -p recipe=tang2019 -p 'overrides=["student.train.epochs=20"]'
  prefect deployment run 'evaluate/local' -p recipe=tang2019
"""
