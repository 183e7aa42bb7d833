"""The store: whole or absent, refused when changed, safe names, full disks said plainly."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdpipe.errors import UserError
from kdpipe.store import Store, full_disk_said_plainly, safe_name
from kdpipe.types import row_ids


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "a store")


def table(n: int = 3) -> pa.Table:
    texts = pa.array([f"text {i}" for i in range(n)])
    return pa.table({"id": row_ids(texts), "text": texts})


def test_a_part_comes_back_as_it_was_written(store):
    folder = store.transfer("k")
    store.write_part(folder, table(), {"by": "me"})
    back = store.read(folder)
    assert back.to_pydict() == table().to_pydict()
    assert back.schema.metadata[b"by"] == b"me"


def test_a_file_is_no_store(tmp_path):
    """Said before a teacher is trained for it, not after."""
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="file is a file; give a folder"):
            Store(place)


def test_the_same_content_is_the_same_part(store):
    assert store.write_part(store.transfer("k"), table()) == store.write_part(store.transfer("k"), table())
    assert len(store.parts(store.transfer("k"))) == 1


def test_no_scratch_file_is_left(store):
    store.write_part(store.transfer("k"), table())
    assert [p for p in os.listdir(store.transfer("k")) if not p.startswith("part-")] == []


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "extend"])
def test_a_broken_part_is_refused_by_name(store, harm):
    path = store.write_part(store.transfer("k"), table(50))
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1 if harm == "flip" else 0
    harmed = {"flip": data, "cut": data[:-7], "empty": b"", "extend": bytes(data) + b"x"}[harm]
    Path(path).write_bytes(harmed)
    with pytest.raises(UserError, match=os.path.basename(path)):
        store.read(store.transfer("k"))


def test_swapped_parts_are_refused(store):
    a, b = (store.write_part(store.transfer("k"), table(n)) for n in (3, 4))
    swap = f"{a}.tmp"
    os.rename(a, swap), os.rename(b, a), os.rename(swap, b)
    with pytest.raises(UserError, match="broken part"):
        store.read(store.transfer("k"))


def test_a_finished_set_is_what_its_list_says(store):
    folder = store.transfer("k")
    part = store.write_part(folder, table(3))
    store.finish(folder, [part], {"rows": 3})
    store.write_part(folder, table(4))  # left by a run that was killed before the set was finished
    assert store.complete(folder)["rows"] == 3
    assert len(store.read(folder)) == 3
    os.remove(part)
    with pytest.raises(UserError, match="missing"):
        store.read(folder)


def test_a_model_is_published_whole_or_not_at_all(store):
    with pytest.raises(RuntimeError), store.new_model("m") as folder:
        (folder / "weights").write_text("half")
        raise RuntimeError("killed")
    assert not store.has_model("m")
    assert [p for p in os.listdir(os.path.dirname(store.model("m")))] == []
    with store.new_model("m") as folder:
        (folder / "weights").write_text("whole")
    assert (store.local_model("m") / "weights").read_text() == "whole"


def test_the_first_of_two_writers_wins(store):
    with store.new_model("m") as one, store.new_model("m") as two:
        (one / "weights").write_text("same")
        (two / "weights").write_text("same")
    assert (store.local_model("m") / "weights").read_text() == "same"


def test_work_of_many_at_once_adds_up(store):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: store.add_cost("teach", "k", 0.25, i), range(40)))
    assert store.read_cost("teach", "k") == {"seconds": 10.0, "rows": sum(range(40))}


def test_leftovers_of_killed_writers_are_removed_when_they_are_old(store):
    store.write_part(store.tags("t"), pa.table({"x": [1]}))
    folder = Path(store.tags("t"))
    for name in (".tmp-old", ".tmp-new"):
        (folder / name).write_bytes(b"half a part")
        (folder / f"{name}-model" / "deep").mkdir(parents=True)
        (folder / f"{name}-model" / "deep" / "x").write_bytes(b"half a model")
    for path in [p for p in folder.rglob("*") if ".tmp-old" in str(p)]:
        os.utime(path, (0, 0))
    assert [Path(p).name for p in store.remove_leftovers()] == [".tmp-old", ".tmp-old-model"]
    assert sorted(p.name for p in folder.iterdir() if p.name.startswith(".tmp-")) == [".tmp-new", ".tmp-new-model"]
    assert store.read(store.tags("t"))["x"].to_pylist() == [1]


def test_leftovers_are_looked_for_where_the_store_writes_alone(store, tmp_path, monkeypatch):
    other, link = Path(store.path) / "mine" / ".tmp-x", Path(store.path) / "runs" / ".tmp-link"
    for path in (other, link.parent):
        path.mkdir(parents=True)
    link.symlink_to(tmp_path)
    monkeypatch.setattr("kdpipe.store._age", lambda path: 1e9)
    assert store.remove_leftovers() == [str(link)] and not link.is_symlink()
    assert other.is_dir() and tmp_path.is_dir()


def test_a_lack_of_memory_is_no_broken_part(store, monkeypatch):
    """Or `kdpipe cache repair` would set a whole part aside."""
    path = store.write_part(store.transfer("k"), table())

    def read(*_, **__):
        raise pa.lib.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr("pyarrow.parquet.ParquetFile.read", read)
    with pytest.raises(pa.lib.ArrowMemoryError):
        store.read_part(path)


def test_costs_add_up(store):
    store.add_cost("teach", "k", 1.5, 10)
    store.add_cost("teach", "k", 0.5, 5)
    assert store.read_cost("teach", "k") == {"seconds": 2.0, "rows": 15}


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A store that is not on this machine's disk, and a cache folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Store(f"memory://{tmp_path.name}")


def test_half_an_upload_is_no_model(remote):
    remote.fs.pipe_file(f"{remote.model('m')}/weights", b"half")  # killed before the rest
    assert not remote.has_model("m") and not remote.local_model("m").exists()
    with remote.new_model("m") as scratch:
        (scratch / "weights").write_text("whole")
    assert remote.has_model("m") and (remote.local_model("m") / "weights").read_text() == "whole"


def test_half_a_download_is_no_model(remote, monkeypatch):
    with remote.new_model("m") as scratch:
        (scratch / "weights").write_text("whole")

    def cut_off(source, target, recursive):
        Path(target).mkdir()
        (Path(target) / "weights").write_text("half")
        raise ConnectionError("gone")

    with monkeypatch.context() as broken, pytest.raises(ConnectionError):
        broken.setattr(remote.fs, "get", cut_off)
        remote.local_model("m")
    assert (remote.local_model("m") / "weights").read_text() == "whole"


def test_any_fsspec_url_will_do(remote):
    store = remote
    folder = store.transfer("k")
    store.finish(folder, [store.write_part(folder, table())], {})
    assert store.read(folder).to_pydict() == table().to_pydict()
    with store.new_model("m") as scratch:
        (scratch / "weights").write_text("whole")
    assert store.has_model("m")
    assert (store.local_model("m") / "weights").read_text() == "whole"


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\x00b", "x" * 300])
def test_names_cannot_leave_their_folder(name):
    with pytest.raises(UserError, match="letters, digits"):
        safe_name(name, "recipe")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_refused_writes_are_said_plainly(code):
    with pytest.raises(UserError, match="nothing stored was changed"), full_disk_said_plainly("here"):
        raise OSError(code, os.strerror(code))


def test_a_device_that_is_really_full():
    with pytest.raises(UserError, match="disk is full"), full_disk_said_plainly("/dev/full"):
        Path("/dev/full").write_bytes(b"x")


@given(st.lists(st.tuples(st.text(), st.none() | st.text()), max_size=20))
def test_ids_depend_on_the_exact_texts_alone(rows):
    first, second = pa.array([a for a, _ in rows], pa.string()), pa.array([b for _, b in rows], pa.string())
    ids = row_ids(first, second).to_pylist()
    assert ids == [row_ids(first[i : i + 1], second[i : i + 1])[0].as_py() for i in range(len(rows))]
    assert len(set(ids)) == len(set(rows))


def test_a_pair_is_not_its_concatenation():
    def pair(a, b):
        return row_ids(pa.array([a]), pa.array([b], pa.string()))[0]

    assert len({pair("ab", "c"), pair("a", "bc"), pair("abc", ""), pair("abc", None), pair("", "abc")}) == 5


def test_rows_that_were_read_may_be_written_elsewhere(store):
    """A part's metadata names its folder: the folder that it is written to now, not the one that it was read from."""
    store.write_part(store.transfer("one"), table(3))
    store.write_part(store.transfer("two"), store.read(store.transfer("one")))
    assert store.read(store.transfer("two")).equals(store.read(store.transfer("one")))
