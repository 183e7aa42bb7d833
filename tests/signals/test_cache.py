"""The cache asks once, joins by id, survives what is missing and refuses what is not finite."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdpipe.errors import UserError
from kdpipe.signals.cache import Cache
from kdpipe.store import Store
from kdpipe.types import row_ids


@dataclass
class Lengths:
    """A source whose answer a reader can redo: (number of characters, 1)."""

    fingerprint: str = "lengths"
    asked: list[str] = field(default_factory=list)
    poison: str | None = None

    def prepare(self, rows):
        return rows["text_a"].to_pylist()

    def compute(self, signals, texts):
        self.asked += texts
        values = np.array([[np.nan if t == self.poison else len(t), 1] for t in texts], np.float32)
        return dict.fromkeys(signals, values)


def rows(texts: list[str]) -> pa.Table:
    column = pa.chunked_array([pa.array(texts, pa.string())])
    return pa.table({"id": row_ids(column), "text_a": column, "text_b": pa.nulls(len(texts), pa.string())})


def cache(store: Store, source: Lengths, shard: int = 4) -> Cache:
    return Cache(store, source.fingerprint, lambda: source, 2, {}, shard)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


def test_values_come_in_the_order_of_the_rows(store):
    texts = ["aaa", "b", "cc", "b", "dddd", "aaa"]
    assert cache(store, Lengths()).ask("logits", rows(texts))[:, 0].tolist() == [3, 1, 2, 1, 4, 3]


def test_a_row_is_asked_once_ever(store):
    first, second = Lengths(), Lengths()
    cache(store, first).ask("logits", rows(["a", "bb", "a"]))
    cache(store, second).ask("logits", rows(["bb", "ccc", "a"]))
    assert sorted(first.asked) == ["a", "bb"]
    assert second.asked == ["ccc"]


def test_no_source_is_opened_when_nothing_is_missing(store):
    cache(store, Lengths()).ask("logits", rows(["a", "bb"]))

    def open_source():
        raise AssertionError("opened for nothing")

    warm = Cache(store, "lengths", open_source, 2, {})
    assert warm.fill("logits", [rows(["bb", "a"])]) == 0
    assert warm.ask("logits", rows(["bb"])).tolist() == [[2, 1]]


def test_another_fingerprint_sees_nothing(store):
    cache(store, Lengths()).ask("logits", rows(["a"]))
    other = Lengths("another")
    cache(store, other).ask("logits", rows(["a"]))
    assert other.asked == ["a"]


def test_what_was_computed_before_a_stop_is_kept(store):
    """Three shards of four rows; the third is poisoned: two are stored, and only the third is asked again."""
    texts = [f"{i}" for i in range(12)]
    with pytest.raises(UserError, match="'9'"):
        cache(store, Lengths(poison="9")).fill("logits", [rows(texts)])
    again = Lengths()
    assert cache(store, again).fill("logits", [rows(texts)]) == 4
    assert again.asked == texts[8:]


def test_not_finite_names_the_rows_and_stores_nothing_of_the_shard(store):
    with pytest.raises(UserError, match="NaN or infinite for 1 rows: .*'bad'"):
        cache(store, Lengths(poison="bad")).ask("logits", rows(["good", "bad"]))
    assert len(cache(store, Lengths()).stored("logits")[0]) == 0


def test_rows_that_nobody_asked_for_are_said(store):
    warm = cache(store, Lengths())
    with pytest.raises(UserError, match="said nothing yet"):
        warm.read("logits", rows(["a"])["id"])
    warm.ask("logits", rows(["a"]))
    with pytest.raises(UserError, match="1 of 2 rows"):
        warm.read("logits", rows(["a", "b"])["id"])


def test_another_number_of_classes_is_refused(store):
    cache(store, Lengths()).ask("logits", rows(["a"]))
    wider = Cache(store, "lengths", Lengths, 3, {})
    with pytest.raises(UserError, match="2 values, 3 are needed"):
        wider.read("logits", rows(["a"])["id"])


def test_a_row_written_twice_is_served_once(store):
    """Two processes that taught the same rows at the same time leave two parts."""
    folder = store.signals("lengths", "logits")
    one = rows(["a", "bb"])
    for order in ([0, 1], [1, 0]):
        ids = one.take(order)["id"]
        values = np.array([[len(t), 1] for t in one.take(order)["text_a"].to_pylist()], np.float32)
        store.write_part(
            folder, pa.table({"id": ids, "values": pa.FixedSizeListArray.from_arrays(values.reshape(-1), 2)})
        )
    assert cache(store, Lengths()).ask("logits", one)[:, 0].tolist() == [1, 2]


@settings(max_examples=30)
@given(
    batches=st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=10), min_size=1, max_size=5),
    shard=st.integers(1, 7),
)
def test_however_it_is_cut_each_row_is_asked_once(tmp_path_factory, batches, shard):
    source, store = Lengths(), Store(tmp_path_factory.mktemp("store"))
    for texts in batches:
        values = cache(store, source, shard).ask("logits", rows(texts))
        assert values[:, 0].tolist() == [len(t) for t in texts]
    assert sorted(source.asked) == sorted({t for texts in batches for t in texts})
