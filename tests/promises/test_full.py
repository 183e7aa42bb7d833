"""Disk full, read-only, quota, memory: one clear message, the store whole, and the next run goes on."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.promises.conftest import LONG, check_whole, contents
from tests.promises.forks import STAGES

NOBODY = 65534


def said_plainly(done: dict, *words: str) -> None:
    assert done["status"] == 2, done["said"]
    assert "Traceback" not in done["said"]
    assert any(word in done["said"] for word in words), done["said"]


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this user may not mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def store_on_a_disk(folder: Path, whole: Path) -> Iterator[tuple[Path, Path]]:
    """A tmpfs of 64 MiB with a copy of a store on it: the disk and the store."""
    with mounted(folder / "disk", "-t", "tmpfs", "-o", "size=64m", "tmpfs") as disk:
        yield disk, Path(shutil.copytree(whole, disk / "store"))


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def used(folder: Path) -> int:
    about = os.statvfs(folder)
    return (about.f_blocks - about.f_bavail) * about.f_frsize


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_fills_up_during_a_stage(forks, undisturbed, tmp_path, stage):
    """A tmpfs with the store on it and a little room more; then with enough."""
    i = STAGES.index(stage)
    with store_on_a_disk(tmp_path, undisturbed[i]) as (disk, store):
        has = used(disk)
        shutil.copytree(undisturbed[i + 1], disk / "trial")
        needs = used(disk) - 2 * has
        shutil.rmtree(disk / "trial")
        for share in [n / 10 for n in range(10)] if LONG else (0.5,):
            remount(disk, f"size={max(has + int(needs * share), 4096) // 4096 * 4096}")
            done = forks.one(store=str(store), stages=[stage])
            if share > 0.5 and done["status"] == 0:  # what the tries before had kept left room enough
                break
            said_plainly(done, "the disk is full", "No space left")
            check_whole(store)
            assert not [p for p in store.rglob(".tmp-*")], "what was begun is taken away"
        remount(disk, "size=64m")
        done = forks.one(store=str(store), stages=[stage])
        assert done["status"] == 0, done["said"]
        assert contents(store) == contents(undisturbed[i + 1])


@pytest.mark.parametrize("stage", STAGES)
def test_a_read_only_file_system(forks, undisturbed, tmp_path, stage):
    i = STAGES.index(stage)
    with store_on_a_disk(tmp_path, undisturbed[i]) as (disk, store):
        remount(disk, "ro")
        said_plainly(forks.one(store=str(store), stages=[stage]), "the file system is read-only")
        assert contents(store) == contents(undisturbed[i])


def test_a_finished_store_is_read_from_a_read_only_file_system(forks, undisturbed, tmp_path):
    """Nothing is to be made, so nothing need be written: not by the stages, and not by SQL."""
    from kdpipe import warehouse

    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=64m", "tmpfs") as disk:
        shutil.copytree(undisturbed[-1], disk / "store")
        remount(disk, "ro")
        done = forks.one(store=str(disk / "store"))
        assert done["status"] == 0, done["said"]
        assert len(warehouse.query(disk / "store", "leaderboard")) == 2


@pytest.fixture
def visible(tiny_checkpoint) -> Iterator[None]:
    """pytest keeps its folders to itself; here another user may walk through them to the checkpoint."""
    closed = [p for p in tiny_checkpoint.parents if p.stat().st_mode & 0o001 == 0]
    modes = [p.stat().st_mode for p in closed]
    for folder in closed:
        folder.chmod(0o755)
    weights = tiny_checkpoint / "model.safetensors"
    weights.chmod(0o644)
    yield
    weights.chmod(0o600)
    for folder, mode in zip(closed, modes, strict=True):
        folder.chmod(mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("stage", STAGES)
def test_a_folder_that_another_user_owns(forks, undisturbed, tmp_path, visible, stage):
    i = STAGES.index(stage)
    store = Path(shutil.copytree(undisturbed[i], tmp_path / "store"))
    for path in (tmp_path, store, *store.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    said_plainly(forks.one(store=str(store), stages=[stage], user=NOBODY), "this user may not write there")
    assert contents(store) == contents(undisturbed[i])


@pytest.mark.skipif(os.geteuid() != 0, reason="root reads everything: another user is needed")
def test_a_checkpoint_that_this_user_may_not_read(forks, undisturbed, tmp_path):
    done = forks.one(store=str(tmp_path / "store"), stages=["teachers"], user=NOBODY)
    said_plainly(done, "this user may not read it")


@pytest.mark.parametrize("stage", ["teachers", "train"])
def test_files_that_may_not_grow(forks, undisturbed, tmp_path, stage):
    """ulimit -f: smaller than the weights."""
    i = STAGES.index(stage)
    store = shutil.copytree(undisturbed[i], tmp_path / "store")
    largest = max(p.stat().st_size for p in undisturbed[i + 1].rglob("*.safetensors") if not
                  (undisturbed[i] / p.relative_to(undisturbed[i + 1])).exists())
    said_plainly(forks.one(store=str(store), stages=[stage], file_size=largest // 2), "no file of this size",
                 "File too large")
    check_whole(store)
    assert not list(store.rglob(".tmp-*"))
    assert forks.one(store=str(store), stages=[stage])["status"] == 0
    assert contents(store) == contents(undisturbed[i + 1])


def set_quota(disk: Path, device: str, user: int, blocks: int) -> None:
    """quotactl(Q_SETQUOTA): a hard limit in blocks of 1 KiB."""
    class Limits(ctypes.Structure):
        _fields_ = [(name, ctypes.c_uint64) for name in
                    ("hard", "soft", "space", "inode_hard", "inode_soft", "inodes", "block_time", "inode_time")]
        _fields_ += [("valid", ctypes.c_uint32)]

    limits = Limits(hard=blocks, soft=blocks, valid=1)
    libc = ctypes.CDLL(None, use_errno=True)
    command = ctypes.c_int((0x800008 << 8) & 0xFFFFFFFF)  # QCMD(Q_SETQUOTA, USRQUOTA)
    if libc.quotactl(command, device.encode(), user, ctypes.byref(limits)):
        pytest.skip(f"no quota on this system: {os.strerror(ctypes.get_errno())}")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mkfs.ext4"), reason="needs root and mkfs.ext4")
def test_a_quota_that_is_used_up(forks, tmp_path, visible):
    """A real one, where the kernel has quotas: ext4 on a loop device, written by another user."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(48 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "quota", "-E", "quotatype=usrquota", str(image)], check=True)
    tmp_path.chmod(0o755)
    with mounted(tmp_path / "disk", "-o", "loop,usrquota", str(image)) as disk:
        device = subprocess.run(["findmnt", "-no", "SOURCE", str(disk)], capture_output=True, text=True).stdout
        set_quota(disk, device.strip(), NOBODY, 512)
        (disk / "mine").mkdir()
        os.chown(disk / "mine", NOBODY, NOBODY)
        done = forks.one(store=str(disk / "mine" / "store"), stages=["teachers"], user=NOBODY)
        said_plainly(done, "the disk quota is used up", "quota exceeded")
        check_whole(disk / "mine" / "store")


@pytest.mark.parametrize(("stage", "error"), [(stage, error) for i, stage in enumerate(STAGES)
                                              for j, error in enumerate(("EDQUOT", "EIO")) if LONG or i % 2 == j])
def test_a_write_that_the_system_refuses_when_it_is_flushed(forks, undisturbed, tmp_path, stage, error):
    """How a quota on a network disk, or a dying disk, is told. Where no real one can be had, the call answers so."""
    i = STAGES.index(stage)
    store = Path(shutil.copytree(undisturbed[i], tmp_path / "store"))
    for point in (1, 2, 5, 8) if LONG else (2,):
        done = forks.one(store=str(store), stages=[stage], point=point, error=error)
        said_plainly(done, "the disk quota is used up" if error == "EDQUOT" else "the disk fails")
        check_whole(store)
        assert not list(store.rglob(".tmp-*"))
    assert forks.one(store=str(store), stages=[stage])["status"] == 0
    assert contents(store) == contents(undisturbed[i + 1])


@pytest.mark.parametrize("stage", STAGES)
def test_memory_that_runs_out(forks, undisturbed, tmp_path, stage):
    """From little to nearly enough: one message or success, never a traceback, and the store whole.

    Not from nothing: Python's Thread.start waits for ever for a thread that finds no memory for its first line.
    """
    i, refused = STAGES.index(stage), 0
    store = Path(shutil.copytree(undisturbed[i], tmp_path / "store"))
    work = {"store": str(store), "stages": [stage]}
    for megabytes in (2, 4, 6, 8, 12, 16, 24, 32, 48, 64) if LONG else (2, 8):
        done = forks.one(**work, memory=megabytes << 20)
        check_whole(store)
        if done["status"] == 0:
            break
        said_plainly(done, "out of memory")
        refused += 1
    assert refused or stage == "augment"  # so few rows fit into what the process has
    done = forks.one(**work)
    assert done["status"] == 0, done["said"]
    assert contents(store) == contents(undisturbed[i + 1])
