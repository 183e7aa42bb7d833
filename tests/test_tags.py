"""Tags in the store: every text once, whatever was there before."""

from pathlib import Path

import pyarrow as pa
import pytest

from kdpipe.augment._spacy import fingerprint
from kdpipe.augment._tokens import Tokenised
from kdpipe.errors import UserError
from kdpipe.idset import halves, order
from kdpipe.store import Store
from kdpipe.tags import TAGS, split_rows, tagged_rows
from kdpipe.types import ROWS, row_ids


def rows(texts: list[str], second: list[str] | None = None) -> pa.Table:
    a, b = pa.array(texts), pa.array(second or [None] * len(texts), pa.string())
    ids = row_ids(a, b)
    table = pa.Table.from_arrays([ids, a, b, pa.nulls(len(a), pa.float64())], schema=ROWS)
    return table.take(pa.array(order(halves(ids))))


def shown(tokens: Tokenised) -> list[list[tuple[str, str]]]:
    """Words and tags of every row, first texts first."""
    words, found = tokens.lexicon.words.to_pylist(), []
    for text, tags in zip(tokens.segments, tokens.tags, strict=True):
        pairs = [(words[w], tokens.lexicon.tags[t]) for w, t in zip(text.flat, tags, strict=True)]
        found += [pairs[a:b] for a, b in zip(text.offsets, text.offsets[1:], strict=False)]
    return found


def parts(store: Store) -> list[str]:
    return store.parts(store.tags(fingerprint("kdpipe")))


def test_words_and_tags_come_in_the_order_of_the_rows(tmp_path):
    table = rows(["The cat sat .", "Dogs bark", ""])
    tokens = tagged_rows(Store(tmp_path), table, "kdpipe")
    assert tokens.texts()[0].to_pylist() == table["text_a"].to_pylist()
    assert split_rows(table, "kdpipe").texts() == tokens.texts()
    assert [("The", "DT"), ("cat", "NN"), ("sat", "VBD"), (".", ".")] in shown(tokens)


def test_pairs_lie_segment_by_segment(tmp_path):
    store, table = Store(tmp_path), rows(["The cat", "A dog"], ["it sat", "it ran"])
    tokens = tagged_rows(store, table, "kdpipe")
    assert [t.to_pylist() for t in tokens.texts()] == [table["text_a"].to_pylist(), table["text_b"].to_pylist()]
    kept = store.read(store.tags(fingerprint("kdpipe")))
    assert kept.schema.remove_metadata() == TAGS and kept["segment"].to_pylist() == [0, 0, 1, 1]


def test_only_texts_that_lack_tags_are_tagged(tmp_path):
    store = Store(tmp_path)
    tagged_rows(store, rows(["The cat", "A dog"]), "kdpipe")
    before = parts(store)
    tokens = tagged_rows(store, rows(["The cat", "A fox", "My owl"]), "kdpipe")
    new, = set(parts(store)) - set(before)
    assert sorted(" ".join(words) for words in store.read_part(new)["words"].to_pylist()) == ["A fox", "My owl"]
    assert len(tokens) == 3


def test_two_workers_tag_as_one_does_and_a_lost_shard_is_tagged_again(tmp_path):
    """4,097 rows are two shards."""
    table = rows([f"the {i}" for i in range(4097)])
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    tokens = shown(tagged_rows(one, table, "kdpipe", workers=1))
    assert shown(tagged_rows(two, table, "kdpipe", workers=2)) == tokens
    names = [Path(p).name for p in parts(one)]
    assert names == [Path(p).name for p in parts(two)] and len(names) == 2
    Path(parts(two)[0]).unlink()
    assert shown(tagged_rows(two, table, "kdpipe")) == tokens
    assert [Path(p).name for p in parts(two)] == names


def test_rows_that_two_processes_tagged_count_once(tmp_path):
    store, table = Store(tmp_path), rows(["The cat", "A dog", "My owl"])
    first = shown(tagged_rows(store, table, "kdpipe"))
    tagged = store.read(store.tags(fingerprint("kdpipe")))
    store.write_part(store.tags(fingerprint("kdpipe")), tagged.slice(1, 2), {"kdpipe.tagger": "another process"})
    assert shown(tagged_rows(store, table, "kdpipe")) == first


def test_a_broken_part_is_refused_by_name(tmp_path):
    store, table = Store(tmp_path), rows(["The cat"])
    tagged_rows(store, table, "kdpipe")
    path = Path(parts(store)[0])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=path.name):
        tagged_rows(store, table, "kdpipe")
