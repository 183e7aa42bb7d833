"""The transfer set: what is kept, what is dropped and counted, and that nothing but its settings shows in it."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from kdpipe import making, transfer, warehouse
from kdpipe.errors import UserError
from kdpipe.leaks import Audit, in_words
from kdpipe.store import Store
from kdpipe.types import MASK, ROWS, TRANSFER, Round, Task, row_ids

MASK_ALL = {"name": "mask", "p": 1.0}
TANG = {"name": "tang", "copies": 4}


def rows(texts: list[str], second: list[str] | None = None, labels: list[float] | None = None) -> pa.Table:
    a, b = pa.array(texts, pa.string()), pa.array(second if second else [None] * len(texts), pa.string())
    label = pa.array(labels or [0.0] * len(texts), pa.float64())
    return pa.Table.from_arrays([row_ids(a, b), a, b, label], schema=ROWS)


def task(train: pa.Table, **held_out: pa.Table) -> Task:
    return Task("films", "classification", ("bad", "good"), ("accuracy",), {"train": train, **held_out})


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def films(datasets) -> Task:
    """400 real training sentences and 50 of dev."""
    splits = {}
    for split, n in (("train", 400), ("dev", 50)):
        lines = (datasets / "sst2-sentences" / f"{split}.tsv").read_text(encoding="utf-8").split("\n")[1:n + 1]
        texts, labels = zip(*(line.split("\t") for line in lines), strict=True)
        splits[split] = rows(list(texts), labels=[float(label) for label in labels])
    return task(**splits)


def made(store: Store, key: str) -> list[dict]:
    return [row for row in transfer.read(store, key).to_pylist() if row["operator"] not in ("gold", "unlabelled")]


def counts(store: Store, key: str) -> dict:
    return transfer.facts(store, key)["counts"]


# ---- what is kept


def test_without_operators_the_set_is_gold(store):
    gold = rows(["b", "a", "a", "a"], labels=[0, 1, 0, 1])
    key = transfer.build(store, task(gold))
    table = transfer.read(store, key)
    assert table.schema.remove_metadata() == TRANSFER
    assert sorted(zip(table["text_a"].to_pylist(), table["label"].to_pylist(), strict=True)) == [
        ("a", 0), ("a", 1), ("a", 1), ("b", 0)]
    assert set(table["operator"].to_pylist()) == {"gold"} and table["source"].equals(table["id"])
    assert counts(store, key) == {"gold": 4, "unlabelled": 0, "made": {}, "dropped_duplicates": 0, "dropped_leaks": 0,
                                  "dropped_near": 0,
                                  "rows": 4}


def test_made_rows_carry_their_lineage_and_no_label(store, films):
    key = transfer.build(store, films, [TANG], seed=3)
    table = transfer.read(store, key)
    gold = dict(zip(films.splits["train"]["id"].to_pylist(), films.splits["train"]["text_a"].to_pylist(), strict=True))
    assert table.slice(0, 400)["text_a"].to_pylist() == [gold[i] for i in sorted_ids(gold)]
    for row in made(store, key):
        assert row["source"] in gold and row["label"] is None and row["copy"] in range(4) and row["round"] == 0
        assert ("mask" in row["operator"]) == (MASK in row["text_a"])
    by_lineage = Counter(row["operator"] for row in made(store, key))
    assert counts(store, key)["made"] == dict(by_lineage)
    assert counts(store, key)["rows"] == len(table) == 400 + by_lineage.total()
    assert by_lineage.total() + counts(store, key)["dropped_duplicates"] + counts(store, key)["dropped_leaks"] == 1600
    assert table["id"].equals(pa.chunked_array([row_ids(table["text_a"])]))


def sorted_ids(gold: dict[bytes, str]) -> list[bytes]:
    return sorted(gold, key=lambda i: tuple(np.frombuffer(i, "<u8").tolist()))


def test_each_operator_works_on_gold_alone(store, films):
    key = transfer.build(store, films, [{"name": "mask"}, {"name": "pos_swap"}, {"name": "ngram", "p": 1.0}])
    assert set(counts(store, key)["made"]) == {"mask", "pos_swap", "ngram"}


def test_facts_say_what_a_set_was_made_from(store, films):
    found = transfer.facts(store, transfer.build(store, films, [TANG], seed=7))
    assert found["task"] == films.name and found["task_key"] == films.key() and found["seed"] == 7
    assert found["operators"] == [{"name": "tang", "preset": "tang2019", "p_mask": 0.1, "p_pos": 0.1, "p_ng": 0.25,
                                   "max_n": 5, "copies": 4, "target_rows": None}]
    assert found["tagger"]["name"] == "kdpipe" and len(found["tagger"]["fingerprint"]) == 20
    assert json.loads(json.dumps(found)) == found


def test_pairs(store):
    gold = rows(["the cat sat", "a dog ran"], ["it slept", "it barked"])
    key = transfer.build(store, task(gold), [MASK_ALL | {"copies": 3}])
    three, two = " ".join([MASK] * 3), " ".join([MASK] * 2)
    assert sorted((row["text_a"], row["text_b"]) for row in made(store, key)) == sorted([
        (three, "it slept"), (three, "it barked"), ("the cat sat", two), ("a dog ran", two), (three, two)])
    assert counts(store, key)["dropped_duplicates"] == 1
    assert all(row["id"] == row_ids(pa.array([row["text_a"]]), pa.array([row["text_b"]]))[0].as_py()
               for row in made(store, key))


def test_strange_texts_pass_unharmed(store):
    strange = ["a\x00b c", "👩\u200d👩\u200d👧 !", "مرحبا بالعالم", "word " * 10_000, "\u202eabc d"]
    key = transfer.build(store, task(rows(strange)), [{"name": "tang", "copies": 3}, MASK_ALL])
    gold = transfer.read(store, key).slice(0, 5)
    assert sorted(gold["text_a"].to_pylist()) == sorted(strange)
    assert max(row["text_a"].count(MASK) for row in made(store, key)) == 10_000
    assert any("\x00" in row["text_a"] for row in made(store, key))


# ---- what is dropped


def test_equal_made_rows_are_kept_once_and_counted(store):
    key = transfer.build(store, task(rows(["one two", "three four", "five"])), [MASK_ALL])
    assert sorted(row["text_a"] for row in made(store, key)) == [MASK, f"{MASK} {MASK}"]
    assert counts(store, key)["dropped_duplicates"] == 1


def test_rows_in_which_nothing_changed_count_as_duplicates(store):
    key = transfer.build(store, task(rows(["one two", "three"])), [{"name": "mask", "p": 0.0, "copies": 3}])
    assert counts(store, key)["dropped_duplicates"] == 6 and made(store, key) == []


def test_a_made_row_that_is_gold_as_it_stands_or_tokenised_is_dropped(store):
    """Cut out of "It 's so fine", the words "It 's" are the gold row "It's" as its words are written."""
    gold = rows(["It 's so fine", "It's", "fine"])
    key = transfer.build(store, task(gold), [{"name": "ngram", "p": 1.0, "max_n": 2, "copies": 60}])
    assert {row["text_a"] for row in made(store, key)} == {"It", "'s", "so", "'s so", "so fine"}


def test_an_exact_dev_or_test_text_is_never_made_but_counted(store):
    splits = {"dev": rows([f"{MASK} {MASK}"]), "test": rows([MASK])}
    key = transfer.build(store, task(rows(["one two", "three four", "five"]), **splits), [MASK_ALL])
    assert made(store, key) == [] and counts(store, key)["dropped_leaks"] == 3


def test_a_dev_text_is_not_made_in_its_tokenised_form_either(store):
    key = transfer.build(store, task(rows(["It 's so"]), dev=rows(["It's"])),
                         [{"name": "ngram", "p": 1.0, "max_n": 2, "copies": 60}])
    assert "It 's" not in {row["text_a"] for row in made(store, key)}
    assert counts(store, key)["dropped_leaks"] > 0


def test_repeated_gold_rows_weigh_in_the_unigrams_and_are_worked_on_once(store):
    gold = rows(["the dog", "the dog", "the dog", "the cat"], labels=[0, 1, 0, 0])
    key = transfer.build(store, task(gold), [{"name": "pos_swap", "p": 1.0, "copies": 40}, MASK_ALL])
    found = counts(store, key)
    assert found["gold"] == 4 and found["made"] == {"mask": 1}
    assert found["dropped_duplicates"] == 2 * 40 + 1


# ---- unlabelled text


def test_unlabelled_text_joins_without_labels(store, tmp_path):
    lines = tmp_path / "plain.txt"
    lines.write_text("new one\ngold\nkept out\nnew one\r\nnew two\n", encoding="utf-8")
    splits = {"dev": rows(["kept out"])}
    key = transfer.build(store, task(rows(["gold"]), **splits), unlabelled=[lines])
    extra = [row for row in transfer.read(store, key).to_pylist() if row["operator"] == "unlabelled"]
    assert sorted(row["text_a"] for row in extra) == ["new one", "new two"]
    assert all(row["label"] is None and row["source"] == row["id"] for row in extra)
    assert counts(store, key) == {"gold": 1, "unlabelled": 2, "made": {}, "dropped_duplicates": 2, "dropped_leaks": 1,
                                  "dropped_near": 0,
                                  "rows": 3}


def test_a_packed_file_and_a_table_serve_as_well(store, tmp_path):
    packed = tmp_path / "plain.txt.gz"
    packed.write_bytes(gzip.compress(b"one\ntwo\n"))
    key = transfer.build(store, task(rows(["gold"])), unlabelled=[packed, rows(["two", "three"], labels=[1, 1])])
    table = transfer.read(store, key)
    assert sorted(table["text_a"].to_pylist()) == ["gold", "one", "three", "two"] and table["label"].null_count == 3


def test_made_rows_do_not_repeat_unlabelled_ones(store):
    key = transfer.build(store, task(rows(["one"])), [MASK_ALL], [rows([MASK])])
    assert made(store, key) == [] and counts(store, key)["dropped_duplicates"] == 1


def test_single_texts_do_not_join_pairs(store):
    with pytest.raises(UserError, match="1 of 1 rows are single texts, but task 'films' is made of pairs"):
        transfer.build(store, task(rows(["a"], ["b"])), unlabelled=[rows(["c"])])
    with pytest.raises(UserError, match="are pairs, but"):
        transfer.build(store, task(rows(["a"])), unlabelled=[rows(["c"], ["d"])])


# ---- the same, whatever the order and the workers


def files(store: Store, key: str) -> dict[str, bytes]:
    return {Path(path).name: Path(path).read_bytes() for path in store.parts(store.transfer(key))}


def test_order_of_rows_and_number_of_workers_leave_no_trace(films, tmp_path):
    shuffled = {name: part.take(np.random.default_rng(0).permutation(len(part))) for name, part in films.splits.items()}
    other = Task("films", "classification", films.labels, ("accuracy",), shuffled)
    unlabelled = rows(["plain one", "plain two"])
    one, two, three = (Store(tmp_path / name) for name in ("one", "two", "three"))
    first = transfer.build(one, films, [TANG, {"name": "mask"}], [unlabelled], seed=1, workers=1)
    assert transfer.build(two, films, [TANG, {"name": "mask"}], [unlabelled], seed=1, workers=2) == first
    third = transfer.build(three, other, [TANG, {"name": "mask"}], [unlabelled.take([1, 0])], seed=1)
    assert files(one, first) == files(two, first)
    assert transfer.read(three, third).equals(transfer.read(one, first))  # a part names its set, whose key is another
    assert transfer.facts(one, first) == transfer.facts(two, first)
    assert counts(one, first) == counts(three, third)


def test_seed_and_round_change_what_is_made(store, films):
    keys = [transfer.build(store, films, [TANG], **other)
            for other in ({}, {"seed": 1}, {"where": Round(index=1)})]
    texts = [{row["text_a"] for row in made(store, key)} for key in keys]
    assert len(set(keys)) == 3 and all(len(a & b) < len(a) / 2 for a, b in zip(texts, texts[1:], strict=False))


def test_without_operators_seed_and_tagger_do_not_matter(films):
    assert transfer.key(films, seed=1, tagger="no_such_tagger") == transfer.key(films)


def test_a_finished_set_is_not_made_again_and_an_unfinished_one_is_the_same_again(store, films):
    key = transfer.build(store, films, [TANG])
    folder = Path(store.transfer(key))
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert transfer.build(store, films, [TANG]) == key
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    contents = {path: path.read_bytes() for path in before}
    (folder / "_complete.json").unlink()
    next(folder.glob("part-*")).unlink()
    transfer.build(store, films, [TANG])
    assert {path: path.read_bytes() for path in folder.iterdir()} == contents


def test_each_text_is_tagged_once_ever(store, films):
    tags = Path(store.path) / "tags"
    few = Task("few", "classification", films.labels, ("accuracy",), {"train": films.splits["train"].slice(100, 200)})
    transfer.build(store, few, [TANG])
    first = {path: path.stat().st_mtime_ns for path in tags.rglob("part-*")}
    transfer.build(store, films, [TANG])
    second = {path: path.stat().st_mtime_ns for path in tags.rglob("part-*")}
    transfer.build(store, films, [TANG], seed=1)
    assert first.items() < second.items() == {p: p.stat().st_mtime_ns for p in tags.rglob("part-*")}.items()
    ids = [i for path in second for i in store.read_part(str(path))["id"].to_pylist()]
    assert len(ids) == len(set(ids)) == 400


# ---- how much is made


def test_it_stops_at_exactly_the_target(store, films):
    key = transfer.build(store, films, [{"name": "tang", "preset": "tang_lin_tsmp", "target_rows": 1000}])
    assert len(made(store, key)) == 1000
    assert {row["copy"] for row in made(store, key)} == {0, 1, 2}
    assert not any("ngram" in row["operator"] for row in made(store, key))


def test_beyond_the_target_nothing_is_remembered(store, films):
    """Both operators make the same rows: the second one makes those for which the first had no room left."""
    first = {"name": "mask", "p": 1.0}
    tang = {"name": "tang", "p_mask": 1.0, "p_pos": 0.0, "p_ng": 0.0, "copies": 1}
    alone = transfer.build(store, films, [first])
    both = transfer.build(store, films, [tang | {"target_rows": 5}, first])
    assert {row["text_a"] for row in made(store, alone)} == {row["text_a"] for row in made(store, both)}


def test_it_stops_when_copies_add_nothing_new(store):
    """Two words can be masked in three ways."""
    spec = {"name": "tang", "preset": "tang_lin_tsmp", "p_mask": 0.5, "p_pos": 0.0}
    key = transfer.build(store, task(rows(["one two"] * 2)), [spec])
    assert 1 <= len(made(store, key)) <= 3


def test_parts_hold_at_most_so_many_rows(store):
    intake = making.Intake(store, store.transfer("x"), Audit({}))
    n = making.PART_ROWS + 10
    table = transfer.read(store, transfer.build(store, task(rows([f"t {i}" for i in range(n)]))))
    intake.write(table)
    intake.take(table)
    intake.close()
    assert [len(store.read_part(part)) for part in intake.parts] == [making.PART_ROWS, making.PART_ROWS, 20]


# ---- leaks

LONG = "this is one of the very best films that i have seen in all of the last ten years"


def test_near_copies_of_dev_rows_are_dropped_counted_and_listed(store, tmp_path):
    near = "This is one of the very best films that I have seen in all of the last ten YEARS!"
    lines = tmp_path / "more.txt"
    lines.write_text(f"{near}\n{LONG.replace('ten', 'two')}\n{LONG}\nthis is quite another text\n")
    films = task(rows(["a gold row", LONG.replace("best", "worst")]), dev=rows([LONG]), test=rows(["a gold, row"]))
    key = transfer.build(store, films, unlabelled=[lines])
    assert transfer.read(store, key)["text_a"].to_pylist()[2:] == ["this is quite another text"]
    assert (counts(store, key)["dropped_leaks"], counts(store, key)["dropped_near"]) == (2, 1)
    found = warehouse.query(store, "select learned_from, split, kind, held_out from leak_audit")
    assert {tuple(r.values()) for r in found.to_pylist()} == {
        (LONG, "dev", "copy", LONG), (near, "dev", "copy", LONG), (LONG.replace("ten", "two"), "dev", "near", LONG),
    }
    gold = in_words([transfer.gold_leaks(films)]).select(["learned_from", "split", "kind", "dropped"])
    assert [tuple(row.values()) for row in gold.to_pylist()] == [
        ("a gold row", "test", "copy", False), (LONG.replace("best", "worst"), "dev", "near", False)]
    assert len(transfer.gold_leaks(films, False)) == 0 and in_words([]).num_columns == 7
    asked = "select similarity from leak_audit where learned_from like '%two%'"
    [two] = warehouse.query(store, asked)["similarity"].to_pylist()
    assert two == pytest.approx((16 + 15) / (18 + 19))  # of 17 words and 17 pairs one and two are others
    all_in = transfer.read(store, transfer.build(store, films, unlabelled=[lines], near=False))
    assert len(all_in) == 5 and LONG not in all_in["text_a"].to_pylist()


# ---- mistakes


@pytest.mark.parametrize("operators, settings, faults", [
    ([{"name": "mosk"}], {}, ["augment[0]: no augment 'mosk'; did you mean 'mask'?"]),
    ([{"name": "mask", "q": 1}, {"name": "tang", "preset": "x"}, {"name": "ngram", "p": 7, "max_n": 0}], {},
     ["augment[0]: 'mask' has no argument 'q'", "augment[1]: tang: no preset 'x'", "augment[2]: ngram: p = 7",
      "augment[2]: ngram: max_n = 0"]),
    ([MASK_ALL], {"tagger": "xx_no_web"}, ["python -m spacy download xx_no_web"]),
    ([], {"unlabelled": ["a/none.txt", "b/none.txt"]}, ["a/none.txt: cannot be read", "b/none.txt"]),
])
def test_mistakes_are_told_together_and_nothing_is_written(store, operators, settings, faults):
    with pytest.raises(UserError) as e:
        transfer.build(store, task(rows(["one two"])), operators, **settings)
    assert len(e.value.faults) == len(faults)
    assert all(expected in found for expected, found in zip(faults, e.value.faults, strict=True))
    assert not Path(store.path).exists()


def test_a_set_that_is_not_there(store):
    with pytest.raises(UserError, match="no finished transfer set"):
        transfer.read(store, "0" * 20)


def test_a_key_costs_no_spacy(tmp_path):
    code = ("import sys, pyarrow as pa; from kdpipe import transfer; from kdpipe.types import *\n"
            "a = pa.array(['one']); nothing = pa.nulls(1, pa.string())\n"
            "rows = pa.Table.from_arrays([row_ids(a), a, nothing, pa.array([0.0])], schema=ROWS)\n"
            "task = Task('t', 'classification', ('a', 'b'), ('accuracy',), {'train': rows})\n"
            "transfer.key(task, [{'name': 'tang'}])\n"
            "print([name for name in ('spacy', 'torch', 'nltk', 'sklearn', 'joblib') if name in sys.modules])")
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
