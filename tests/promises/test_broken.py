"""Nothing broken is read: whatever byte of whatever file is changed, it is named and refused."""

import os
import random
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest

from kdpipe import modelfolder, warehouse
from kdpipe.errors import UserError
from kdpipe.intact import DIGESTS, check
from kdpipe.store import COMPLETE, Store
from tests.promises.conftest import LONG, contents

FLIPS = 500 if LONG else 12  # positions of each file
CUTS = 100 if LONG else 5
SHARD = 32
VIEWS = ("stg_runs", "stg_transfer", "stg_signals", "stg_predictions", "stg_neighbours")


@pytest.fixture(scope="module")
def whole(forks, undisturbed, tmp_path_factory) -> Path:
    """A store with everything in it, of some things two."""
    store = Path(shutil.copytree(undisturbed[0], tmp_path_factory.mktemp("whole") / "store"))
    for seed in (0, 1):
        done = forks.one(store=str(store), seed=seed, shard=SHARD)
        assert done["status"] == 0, done["said"]
    return store


@pytest.fixture
def store(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "store"))


def files(store: Path) -> list[Path]:
    return sorted(p for p in store.rglob("*") if p.is_file())


def read(store: Path, file: Path) -> None:
    """The door that a file is read by."""
    here, room = Store(str(store)), file.relative_to(store).parts[0]
    if room in ("models", "vectors"):
        folder = store / room / file.relative_to(store).parts[1]
        modelfolder.check_weights(folder, in_store=True) if room == "models" else check(folder, in_store=True)
    elif file.name == COMPLETE:
        here.complete(str(file.parent))
    elif file.suffix == ".json":
        here.read_json(str(file))
    else:
        here.read(str(file.parent))


def refused(store: Path, file: Path, raw: bytes) -> None:
    """With these bytes in its place a file is refused by its name, and nothing else is said."""
    before = file.read_bytes()
    file.write_bytes(raw)
    try:
        with pytest.raises(UserError) as said:
            read(store, file)
        assert file.name in str(said.value) or file.parent.name in str(said.value), said.value
    finally:
        file.write_bytes(before)


def kinds(store: Path) -> set[str]:
    return {p.relative_to(store).parts[0] for p in files(store)}


def test_the_store_has_files_of_every_kind(whole):
    assert kinds(whole) == {"costs", "leaks", "models", "neighbours", "predictions", "runs", "signals", "tags",
                            "transfer", "vectors"}
    assert len(list(whole.glob("signals/*/*/part-*"))) > 2 and len(list(whole.glob("models/*"))) == 3
    for file in files(whole):
        read(whole, file)


@pytest.mark.timeout(3600)
def test_any_flipped_byte_of_any_file_is_refused(store):
    rng = random.Random(1)
    for file in files(store):
        raw = file.read_bytes()
        ends = [0, 1, 3, 18, len(raw) - 1, len(raw) - 2]  # where headers and footers begin and end
        for at in {*ends[:FLIPS], *(rng.randrange(len(raw)) for _ in range(FLIPS - len(ends)))}:
            at %= len(raw)
            refused(store, file, raw[:at] + bytes([raw[at] ^ rng.randrange(1, 256)]) + raw[at + 1:])


@pytest.mark.timeout(3600)
def test_a_cut_empty_or_longer_file_is_refused(store):
    rng = random.Random(2)
    for file in files(store):
        raw = file.read_bytes()
        for at in {0, len(raw) - 1, *(rng.randrange(len(raw)) for _ in range(CUTS))}:
            refused(store, file, raw[:at])
        refused(store, file, raw + b"\0")
        refused(store, file, raw + b"\n")
        refused(store, file, bytes(len(raw)))


@pytest.mark.timeout(3600)
def test_two_swapped_files_are_refused(store):
    """Of each kind and ending, every two of the short form's first few; of all in the long form."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for file in files(store):
        groups.setdefault((file.relative_to(store).parts[0], file.suffix), []).append(file)
    for group in groups.values():
        for one, other in combinations(group if LONG else group[:6], 2):
            bytes_of = one.read_bytes(), other.read_bytes()
            if bytes_of[0] != bytes_of[1]:
                one.write_bytes(bytes_of[1])
                refused(store, other, bytes_of[0])
                one.write_bytes(bytes_of[0])


def test_a_part_below_another_teacher_is_refused(store):
    """Its bytes are those of its name: only its place is wrong."""
    part = next(store.glob("signals/*/*/part-*"))
    there = store / "signals" / "teacher=0123456789" / "signal=logits" / part.name
    there.parent.mkdir(parents=True)
    os.rename(part, there)
    with pytest.raises(UserError, match=f"{part.name}.*it belongs in signals/teacher="):
        read(store, there)


def test_predictions_below_another_run_are_refused(store):
    one, other = sorted(store.glob("predictions/*/split=dev/part-*"))[:2]
    os.rename(one, other.parent / one.name)
    with pytest.raises(UserError, match=f"{one.name}.*it belongs in predictions/"):
        warehouse.query(store, "stg_predictions")


def test_two_swapped_model_folders_are_refused(forks, store):
    one = next(store.glob("models/*/config.json")).parent  # the teacher
    other = next(p for p in store.glob("models/*") if p != one)
    os.rename(one, store / "aside"), os.rename(other, one), os.rename(store / "aside", other)
    for folder in (one, other):
        with pytest.raises(UserError, match="holds what was stored as"):
            modelfolder.check_weights(folder, in_store=True)
    done = forks.one(store=str(store), shard=SHARD)
    assert done["status"] == 2 and "holds what was stored as" in done["said"], done


@pytest.mark.parametrize("name", ["head.safetensors", "adapter_config.json", "tokenizer.model"])
def test_a_file_that_somebody_laid_beside_a_model_is_refused(store, name):
    folder = next(store.glob("models/*"))
    (folder / name).write_bytes(b"{}")
    with pytest.raises(UserError, match=f"{name}.*move it away"):
        modelfolder.check_weights(folder)


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)


def every(pattern: str) -> Callable[[Path], Path]:
    return lambda store: sorted(store.glob(pattern))[-1]


DOORS = {
    "transfer part": (every("transfer/*/part-*"), "run"),
    "transfer list": (every("transfer/*/_complete.json"), "run"),
    "signals": (every("signals/*/*/part-*"), "run"),
    "tags": (every("tags/*/part-*"), "augment"),
    "vectors": (every("vectors/*/*.safetensors"), "run"),
    "vectors' digests": (every(f"vectors/*/{DIGESTS}"), "run"),
    "teacher's weights": (every("models/*/config.json"), "run"),
    "costs": (every("costs/augment-*/*.json"), "run"),
}


@pytest.mark.parametrize("what", DOORS)
def test_the_pipeline_names_what_is_broken_and_makes_nothing_of_it(forks, store, what):
    """Another student is wanted from this store; of the tags, another transfer set."""
    find, door = DOORS[what]
    file = find(store)
    flip(file)
    before = contents(store)
    work = {"seed": 2} if door == "run" else {"stages": ["augment"], "overrides": ["student.augment_seed=3"]}
    done = forks.one(store=str(store), shard=SHARD, **work)
    assert done["status"] == 2, done["said"]
    assert file.name in done["said"] and "Traceback" not in done["said"]
    after = contents(store)
    assert {name: after[name] for name in before} == before
    assert not any("-s2-" in name for name in after if name.startswith("runs")), "no record of it"


@pytest.mark.parametrize("room", ["runs", "transfer", "signals", "predictions", "neighbours"])
def test_sql_names_what_is_broken(store, room):
    """DuckDB itself looks at no checksum: a changed logit or score would be read as it stands."""
    for file in [p for p in files(store / room) if room != "neighbours" or p.suffix == ".parquet"][:3 * (1 + 9 * LONG)]:
        raw = file.read_bytes()
        assert len(warehouse.query(store, f"stg_{room}")) > 0
        flip(file)
        with pytest.raises(UserError, match=file.name):
            warehouse.query(store, f"stg_{room}")
        assert any(file.name in fault for fault in warehouse.run_checks(store))
        file.write_bytes(raw)


def test_a_broken_student_labels_nothing(store):
    from kdpipe.predictor import Predictor

    student = next(p.parent for p in store.glob("models/*/vocab.json") if b'"words"' in p.read_bytes()[:40])
    assert Predictor.load(student)(["a lovely film"])
    for file in files(student):
        raw = file.read_bytes()
        flip(file)
        with pytest.raises(UserError, match=file.name):
            Predictor.load(student)
        file.write_bytes(raw)
