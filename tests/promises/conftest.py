"""A warm process to fork from, and what a store holds as one value that two stores can be compared by."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdpipe import intact
from kdpipe.store import Store
from tests.promises.forks import STAGES

LONG = os.environ.get("KDPIPE_LONG") == "1"
TIMES = ("seconds", "rows_per_second", "started", "speed", "stages", "curve", "machine", "teacher_rows_asked")


class Forks:
    """Jobs of `forks.py`, carried out in forks of one warm process."""

    killed = 0  # of all jobs so far

    def __init__(self, base: dict, scratch: Path):
        self.base = base
        self.errors = (scratch / "stderr").open("w+")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen([sys.executable, "-m", "tests.promises.forks"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, text=True, env=environment)
        self._ask({"warm": {**base, "store": str(scratch / "warm")}})

    def __call__(self, *jobs: dict) -> list[dict]:
        done = self._ask({"jobs": [{**self.base, "stages": STAGES, **job} for job in jobs]})
        Forks.killed += sum(one["status"] == -9 for one in done)
        return done

    def _ask(self, request: dict) -> list[dict]:
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            self.errors.seek(0)
            raise RuntimeError(self.errors.read()[-5000:])
        return json.loads(answer)

    def one(self, **job) -> dict:
        return self(job)[0]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()
        self.errors.close()


def pytest_terminal_summary(terminalreporter) -> None:
    if Forks.killed:
        terminalreporter.write_line(f"{Forks.killed} processes were killed at work")


@pytest.fixture(scope="session")
def forks(tmp_path_factory, tiny_recipe, tiny_task) -> Iterator[Forks]:
    server = Forks({"recipe": str(tiny_recipe), "task": str(tiny_task)}, tmp_path_factory.mktemp("forks"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def undisturbed(forks, tmp_path_factory) -> list[Path]:
    """Stores of a run that nobody disturbed: before the first stage, after it, ..., after the last."""
    import shutil

    root = tmp_path_factory.mktemp("undisturbed")
    stores = [root / str(i) for i in range(len(STAGES) + 1)]
    stores[0].mkdir()
    for before, after, stage in zip(stores, stores[1:], STAGES, strict=False):
        shutil.copytree(before, after)
        done = forks.one(store=str(after), stages=[stage])
        assert done["status"] == 0, done["said"]
    return stores


def contents(store: Path) -> dict[str, object]:
    """What a reader sees of a store, bit by bit; of records all but the times that work took."""
    found: dict[str, object] = {}
    for path in sorted(store.rglob("*")):
        place = path.relative_to(store)
        if not path.is_file() or any(part.startswith(".tmp-") for part in place.parts) or place.parts[0] == "costs":
            continue
        raw = path.read_bytes()
        found[str(place)] = timeless(path, raw) if path.suffix == ".json" else raw
    return found


def timeless(path: Path, raw: bytes) -> object:
    try:
        value = json.loads(raw)
    except ValueError:  # a test broke it
        return raw
    if path.name == intact.DIGESTS:
        value["files"].pop("training.json", None)
    return {k: v for k, v in value.items() if k not in (*TIMES, "checksum")} if isinstance(value, dict) else value


def check_whole(store: Path) -> None:
    """Whatever stands under its own name is whole, whenever one looks. Raises UserError."""
    here = Store(store)
    for path in store.rglob("*"):
        place = path.relative_to(store)
        if any(part.startswith(".tmp-") for part in place.parts):
            continue
        if path.name.startswith("part-"):
            here.read_part(str(path))
        elif path.suffix == ".json" and place.parts[0] not in ("models", "vectors"):
            here.read_json(str(path))
        elif path.is_dir() and len(place.parts) == 2 and place.parts[0] in ("models", "vectors"):
            assert (path / intact.DIGESTS).is_file()
            intact.check(path, in_store=True)
