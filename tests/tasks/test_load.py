"""Task folders, task files and data files -> tasks; what is refused, with which words."""

import gzip
import json
import logging
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdpipe.errors import UserError
from kdpipe.tasks.load import available, describe, load, overlap, read_unlabelled
from kdpipe.types import ROWS, row_ids
from tests.tasks.conftest import TASK


def refused(ref, **arguments) -> list[str]:
    with pytest.raises(UserError) as caught:
        load(ref, **arguments)
    return list(caught.value.faults)


# ---- what comes out


def test_a_small_task_in_full(task_folder):
    folder = task_folder(TASK + '[names]\n0 = "negative"\n1 = "positive"\n')
    task = load(folder)
    assert (task.name, task.kind, task.labels, task.metrics, task.pair, task.outputs) == (
        "films",
        "classification",
        ("negative", "positive"),
        ("accuracy",),
        False,
        2,
    )
    assert all(table.schema == ROWS for table in task.splits.values())
    assert task.splits["train"].to_pylist() == [
        {"id": row_ids(pa.array(["good"]))[0].as_py(), "text_a": "good", "text_b": None, "label": 1.0},
        {"id": row_ids(pa.array(["bad"]))[0].as_py(), "text_a": "bad", "text_b": None, "label": 0.0},
    ]
    assert load(folder / "task.toml").key() == task.key()


def test_a_pair_with_scores(task_folder):
    folder = task_folder(
        TASK.replace("classification", "regression"),
        train="text_a\ttext_b\tscore\na\tb\t2.50\nb\tc\t5\n",
        dev="text_a\ttext_b\tscore\na\tc\t1e-1\n",
    )
    task = load(folder)
    assert task.pair and task.outputs == 1 and task.labels == () and task.metrics == ("pearson", "spearman")
    assert task.splits["train"]["label"].to_pylist() == [2.5, 5.0]
    assert task.splits["dev"]["label"].to_pylist() == [0.1]
    assert task.splits["dev"]["id"].to_pylist() == row_ids(pa.array(["a"]), pa.array(["c"])).to_pylist()


def test_numbers_are_sorted_by_value_and_words_by_code_point(task_folder):
    train = "text\tlabel\n" + "".join(f"t{label}\t{label}\n" for label in (10, 9, -1, 2))
    assert load(task_folder(train=train, dev="text\tlabel\nx\t9\n")).labels == ("-1", "2", "9", "10")
    train = "text\tlabel\n" + "".join(f"t{label}\t{label}\n" for label in ("b", "10", "a", "9"))
    assert load(task_folder(train=train, dev="text\tlabel\nx\tb\n")).labels == ("10", "9", "a", "b")


def test_listed_labels_give_the_order_and_may_be_unseen(task_folder):
    task = load(task_folder(TASK + "labels = [1, 0, 7]\n", dev="text\tlabel\nx\t7\n"))
    assert task.labels == ("1", "0", "7")
    assert task.splits["train"]["label"].to_pylist() == [0.0, 1.0]
    assert task.splits["dev"]["label"].to_pylist() == [2.0]


def test_labels_are_trimmed_and_texts_are_not(task_folder):
    task = load(task_folder(train="text\tlabel\n good \t 1\nbad\t0 \n"))
    assert task.splits["train"]["text_a"].to_pylist() == [" good ", "bad"]
    assert task.labels == ("0", "1")


def test_a_test_split_may_lack_labels(task_folder):
    folder = task_folder(TASK + 'test = "test.tsv"\n', test="text\nunknown\n")
    task = load(folder)
    assert task.splits["test"]["label"].to_pylist() == [None]
    assert describe(task)["splits"]["test"]["majority"] is None
    folder = task_folder(TASK + 'test = "test.tsv"\n', test="text\tlabel\na\t\nb\t1\n")
    assert load(folder).splits["test"]["label"].to_pylist() == [None, 1.0]


def test_duplicates_are_kept_and_overlap_is_counted(task_folder):
    task = load(
        task_folder(train="text\tlabel\ngood\t1\ngood\t1\nbad\t0\n", dev="text\tlabel\ngood\t0\nfine\t1\ngood\t1\n")
    )
    assert len(task.splits["train"]) == 3
    assert overlap(task) == {"dev": 2}


def test_describe(task_folder):
    about = describe(load(task_folder(train="text\tlabel\none two three\t1\nfour\t0\n", dev="text\tlabel\nfour\t1\n")))
    assert about == {
        "name": "films",
        "kind": "classification",
        "pair": False,
        "labels": ["0", "1"],
        "metrics": ["accuracy"],
        "splits": {
            "train": {
                "rows": 2,
                "labelled": 2,
                "majority": 0.5,
                "distinct": 2,
                "mean_words": 2.0,
                "max_words": 3,
                "also_in_train": None,
            },
            "dev": {
                "rows": 1,
                "labelled": 1,
                "majority": 1.0,
                "distinct": 1,
                "mean_words": 1.0,
                "max_words": 1,
                "also_in_train": 1,
            },
        },
    }
    assert json.loads(json.dumps(about)) == about


def test_limit_is_the_same_for_any_order_and_grows(task_folder):
    lines = [f"text {i}\t{i % 2}\n" for i in range(50)]
    some = load(task_folder(train="text\tlabel\n" + "".join(lines)), limit={"train": 10}).splits["train"]
    turned = load(task_folder(train="text\tlabel\n" + "".join(reversed(lines))), limit={"train": 10}).splits["train"]
    more = load(task_folder(train="text\tlabel\n" + "".join(lines)), limit={"train": 20, "dev": 9}).splits["train"]
    assert some["text_a"].to_pylist() == turned["text_a"].to_pylist()[::-1]
    assert set(some["id"].to_pylist()) < set(more["id"].to_pylist()) and len(more) == 20
    assert refused(task_folder(), limit={"trian": 5, "dev": 0}) == [
        "limit: no split 'trian'; did you mean 'train'?",
        "limit: found 0 for dev; at least 1 row is needed",
    ]


# ---- data files


def write_csv(path, n=300, label="label"):
    path.write_text(f"sentence,{label}\n" + "".join(f'"text, number {i}",{i % 3}\n' for i in range(n)))


def test_a_data_file_is_split_by_the_hash_of_its_texts(tmp_path):
    write_csv(tmp_path / "my data.csv")
    task = load(tmp_path / "my data.csv")
    assert (task.name, task.kind, task.labels) == ("my-data", "classification", ("0", "1", "2"))
    sizes = {split: len(table) for split, table in task.splits.items()}
    assert sum(sizes.values()) == 300 and 15 <= sizes["dev"] <= 45 and 15 <= sizes["test"] <= 45
    assert overlap(task) == {"dev": 0, "test": 0}
    for split, table in task.splits.items():
        tenths = {int.from_bytes(key[:8], "big") % 10 for key in table["id"].to_pylist()}
        assert tenths == {"train": set(range(2, 10)), "dev": {0}, "test": {1}}[split]


def test_the_same_rows_in_any_format_make_the_same_task(tmp_path):
    texts, scores = [f"text {i}" for i in range(100)], [i / 4 for i in range(100)]
    pq.write_table(pa.table({"text": texts, "score": scores}), tmp_path / "t.parquet")
    lines = [f"{t}\t{s}" for t, s in zip(texts, scores, strict=True)]
    with gzip.open(tmp_path / "t.tsv.gz", "wt") as out:
        out.write("\n".join(["text\tscore", *lines]))
    (tmp_path / "t.jsonl").write_text(
        "".join(json.dumps({"text": t, "score": s}) + "\n" for t, s in zip(texts, scores, strict=True))
    )
    tasks = [load(tmp_path / name) for name in ("t.parquet", "t.tsv.gz", "t.jsonl")]
    assert len({task.key() for task in tasks}) == 1
    assert tasks[0].kind == "regression" and tasks[0].name == "t"


def test_data_files_that_cannot_be_split_or_read(tmp_path):
    write_csv(tmp_path / "few.csv", 3)
    assert refused(tmp_path / "few.csv") == [
        f"{tmp_path}/few.csv: 3 rows, too few to split off dev and test; "
        "bring more rows, or name train and dev files in a task file"
    ]
    write_csv(tmp_path / "other.csv", 3, label="stars")
    assert refused(tmp_path / "other.csv") == [
        f"{tmp_path}/other.csv: no column 'label' or 'score'; columns found: 'sentence', 'stars'; "
        "if the first line is a row, name the columns in a task file: columns = [...]"
    ]
    (tmp_path / "grades.csv").write_text("text,label\na,1\nb,2.5\n")
    assert refused(tmp_path / "grades.csv") == [
        f"{tmp_path}/grades.csv: the labels are numbers with fractions; call the column score for a regression"
    ]
    (tmp_path / "rows.xlsx").write_text("")
    assert refused(tmp_path / "rows.xlsx") == [
        f"{tmp_path}/rows.xlsx: neither a task file (.toml) nor a data file (.csv, .tsv, .jsonl, .parquet, also .gz)"
    ]
    (tmp_path / "bad.csv").write_text("text,label\n,1\nx\n")
    assert refused(tmp_path / "bad.csv") == [
        f"{tmp_path}/bad.csv: 1 row with a wrong number of fields (2 columns): line 3 (1 field); mend or delete them",
        f"{tmp_path}/bad.csv: 1 row with an empty text: line 2; mend or delete them",
    ]


# ---- names


def test_names_of_tasks():
    assert {"sst2", "trec-fine", "probing-bigram_shift"} <= set(available())
    [fault] = refused("sst3")
    assert fault == (
        "no task 'sst3'; did you mean 'sst5'?; a task file, a folder with task.toml or a data file "
        "(.csv, .tsv, .jsonl, .parquet) will do as well"
    )


def test_paths_that_are_not_there(tmp_path):
    assert refused(tmp_path / "no.csv") == [f"{tmp_path}/no.csv: no such file"]
    assert refused(tmp_path) == [f"{tmp_path}: no task.toml in this folder"]


# ---- rows


def test_bad_rows_of_all_files_are_told_together(task_folder):
    folder = task_folder(
        train="text\tlabel\ngood\t1\n \t1\nbad\nfine\t\n\u3000\t0\n" + "\t1\n" * 5, dev="text\tlabel\n\t0\n"
    )
    remedy = f'; mend or delete them, or set bad_rows = "drop" in {folder}/task.toml'
    assert refused(folder) == [
        f"{folder}/train.tsv: 1 row with a wrong number of fields (2 columns): line 4 (1 field){remedy}",
        f"{folder}/train.tsv: 7 rows with an empty text: line 3, line 6, line 7, line 8, line 9, and 2 more{remedy}",
        f"{folder}/train.tsv: 1 row with no label: line 5{remedy}",
        f"{folder}/dev.tsv: 1 row with an empty text: line 2{remedy}",
    ]


def test_bad_rows_are_dropped_and_counted_when_the_task_file_says_so(task_folder, caplog):
    folder = task_folder(TASK + 'bad_rows = "drop"\n', train="text\tlabel\ngood\t1\n \t1\nbad\nbad\t0\n")
    with caplog.at_level(logging.WARNING):
        assert load(folder).splits["train"]["text_a"].to_pylist() == ["good", "bad"]
    assert caplog.messages == [
        f"{folder}/train.tsv: 1 row with a wrong number of fields (2 columns): line 4 (1 field): left out",
        f"{folder}/train.tsv: 1 row with an empty text: line 3: left out",
    ]


def test_training_rows_near_held_out_ones_are_left_out_where_the_task_file_says_so(task_folder, caplog):
    train = "text\tlabel\na warm and funny film\t1\nA warm and funny film!\t1\na dull film\t0\na slow one\t1\n"
    dev = "text\tlabel\na warm and funny film .\t1\n"
    assert len(load(task_folder(TASK, train=train, dev=dev)).splits["train"]) == 4
    folder = task_folder(TASK + "near = 0.8\n", train=train, dev=dev)
    with caplog.at_level(logging.WARNING):
        assert load(folder).splits["train"]["text_a"].to_pylist() == ["a dull film", "a slow one"]
    assert caplog.messages == [
        f"{folder}/train.tsv: left out, copies of dev or test rows or near one (near = 0.8): 2 rows"]
    folder = task_folder(TASK + "near = 1\n", train=train + "!!!\t1\n?\t1\n", dev="text\tlabel\n!!!\t1\n")
    assert load(folder).splits["train"]["text_a"].to_pylist()[3:] == ["a slow one", "?"]  # no words, yet the same
    folder = task_folder(TASK + "near = 0.5\n", train="text\tlabel\na film\t1\nA film\t0\n", dev=train)
    assert len(load(folder).splits["train"]) == 2  # no row of dev shares half of its words and pairs
    folder = task_folder(TASK + "near = 0.8\n", train="text\tlabel\na dull film\t1\nA dull film\t0\n", dev=train)
    assert refused(folder) == [
        f"{folder}/task.toml -> near: all training rows are copies of dev or test rows, or near one"]


def test_a_pair_needs_both_texts(task_folder):
    folder = task_folder(TASK, train="text_a\ttext_b\tlabel\na\tb\t1\na\t\t0\n", dev="text_a\ttext_b\tlabel\na\tb\t1\n")
    assert refused(folder)[0].startswith(f"{folder}/train.tsv: 1 row with an empty text: line 3")


def test_labels_that_train_lacks(task_folder, caplog):
    dev = "text\tlabel\na\t7\nb\t1\nc\t7\nd\tx y\n"
    folder = task_folder(dev=dev)
    found = (
        f"{folder}/dev.tsv: 2 labels that train lacks: '7' (2 rows, first on line 2), 'x y' (1 row, first on line 5)"
    )
    assert refused(folder) == [f'{found}; list them in labels, or set unknown_labels = "drop" in {folder}/task.toml']
    with caplog.at_level(logging.WARNING):
        task = load(task_folder(TASK + 'unknown_labels = "drop"\n', dev=dev))
    assert task.splits["dev"]["text_a"].to_pylist() == ["b"]
    assert caplog.messages == [f"{found}: left out"]
    listed = task_folder(TASK + 'labels = ["0", "7"]\n')
    assert refused(listed)[0].startswith(
        f"{folder}/train.tsv: 1 label that labels does not list: '1' (1 row, first on line 2)"
    )


def test_scores_that_are_none(task_folder):
    folder = task_folder(
        TASK.replace("classification", "regression"),
        train="text\tscore\na\t1\nb\tnan\nc\tinf\nd\tgood\ne\t1_0\nf\t\ng\t3,5\n",
        dev="text\tscore\na\t1\n",
    )
    remedy = f'; mend or delete them, or set bad_rows = "drop" in {folder}/task.toml'
    assert refused(folder) == [
        f"{folder}/train.tsv: 1 row with no label: line 7{remedy}",
        f"{folder}/train.tsv: 5 rows with a score that is no finite number: "
        f"line 3 ('nan'), line 4 ('inf'), line 5 ('good'), line 6 ('1_0'), line 8 ('3,5'){remedy}",
    ]


@pytest.mark.parametrize(
    ("toml", "train", "fault"),
    [
        ("", "text\tlabel\na\t1\n", "{}: the only label is 1; a classification has at least 2"),
        (
            'labels = ["0", "1"]',
            "text\tlabel\na\t1\n",
            "{}: all training rows have one label; a classification needs at least 2",
        ),
        (
            'metrics = ["f1"]',
            "text\tlabel\na\t0\nb\t1\nc\t2\n",
            "{} -> metrics: 'f1' is defined for 2 classes, the task has 3; take 'macro_f1'",
        ),
        (
            "names = { 0 = 'no', 1 = 'yes', yess = 'x' }",
            "text\tlabel\na\t0\nb\t1\n",
            "{} -> names: no label 'yess'; allowed: 0, 1",
        ),
        (
            "names = { 0 = 'yes', 1 = 'yes' }",
            "text\tlabel\na\t0\nb\t1\n",
            "{} -> names: two labels are called 'yes'; give each its own name",
        ),
    ],
)
def test_labels_that_make_no_classification(task_folder, toml, train, fault):
    folder = task_folder(f"{TASK}{toml}\n", train=train)
    assert refused(folder) == [fault.format(folder / "task.toml")]


def test_files_without_rows(task_folder):
    folder = task_folder(train="text\tlabel\n", dev="")
    assert refused(folder) == [f"{folder}/train.tsv: no rows", f"{folder}/dev.tsv: the file is empty"]


def test_a_headerless_file_with_named_columns(task_folder):
    folder = task_folder(TASK + 'columns = ["label", "text"]\n', train="1\tgood\n0\tbad\n", dev="1\tfine\n")
    assert load(folder).splits["train"]["text_a"].to_pylist() == ["good", "bad"]


# ---- unlabelled text


@pytest.mark.parametrize("name", ["plain.txt", "packed.txt.gz"])
def test_unlabelled_text(tmp_path, name, caplog):
    data = 'one , two\r\n\n say "hi\ttab\n\u2003\na\u2028b\x85\n\n'.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with caplog.at_level(logging.WARNING):
        rows = read_unlabelled(tmp_path / name)
    assert rows.schema == ROWS
    assert rows["text_a"].to_pylist() == ["one , two", ' say "hi\ttab', "a\u2028b\x85"]
    assert rows["text_b"].null_count == rows["label"].null_count == 3
    assert rows["id"].to_pylist() == row_ids(rows["text_a"]).to_pylist()
    assert caplog.messages == [f"{tmp_path}/{name}: 2 blank lines skipped"]


def test_unlabelled_text_without_a_sentence(tmp_path):
    (tmp_path / "blank.txt").write_text(" \n\n")
    with pytest.raises(UserError, match="no sentences; one sentence a line is needed"):
        read_unlabelled(tmp_path / "blank.txt")


def test_unlabelled_real_text(datasets):
    rows = read_unlabelled(datasets / "unlabelled" / "sentences.txt.gz")
    assert len(rows) == 171_084
    assert len(rows["id"].unique()) == 171_084


def test_loading_needs_none_of_the_heavy_libraries():
    code = (
        "import sys, kdpipe.tasks.load, kdpipe.tasks.metrics;"
        "print([m for m in ('torch', 'transformers', 'spacy', 'sklearn', 'scipy', 'prefect') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


SENTEVAL = "te\tPAST\tit was so .\nva\tPRES\tit is so .\ntr\tPAST\the saw it .\ntr\tPRES\the sees it .\n"


def test_a_file_of_senteval_is_a_task_of_three_parts(tmp_path):
    (tmp_path / "past_present.txt").write_text(SENTEVAL, encoding="utf-8")
    whole = "".join(f'{split} = "past_present.txt"\n' for split in ("train", "dev", "test"))
    (tmp_path / "tense.toml").write_text(f'name = "tense"\nkind = "classification"\nformat = "senteval"\n{whole}')
    for ref, name in ((tmp_path / "past_present.txt", "past_present"), (tmp_path / "tense.toml", "tense")):
        task = load(ref)
        assert (task.name, task.labels, task.pair) == (name, ("PAST", "PRES"), False)
        assert {split: rows["text_a"].to_pylist() for split, rows in task.splits.items()} == {
            "train": ["he saw it .", "he sees it ."], "dev": ["it is so ."], "test": ["it was so ."]}
        assert task.splits["test"]["label"].to_pylist() == [0.0]


def test_a_row_of_no_part_is_named_once(tmp_path):
    (tmp_path / "tense.txt").write_text(SENTEVAL + "dev\tPAST\tit went .\n", encoding="utf-8")
    with pytest.raises(UserError) as e:
        load(tmp_path / "tense.txt")
    [fault] = e.value.faults
    assert "1 row with a part that is not tr, va or te: line 5 ('dev')" in fault
