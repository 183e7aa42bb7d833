"""Every shipped task file reads the real data it names: rows, classes and metrics as its sources state them."""

import pytest

from kdpipe.resources import folder
from kdpipe.tasks.load import load, overlap

# name: train rows, dev rows, classes (0: a score), first metric
SETS = {
    "atis": (4_478, 499, 21, "accuracy"),  # 500 less the row whose label train lacks
    "clinc150": (15_100, 3_100, 151, "accuracy"),
    "cola": (8_551, 527, 2, "matthews"),
    "fb-multilingual-en": (30_521, 4_181, 12, "accuracy"),
    "mnli-small": (800, 200, 3, "accuracy"),
    "mrpc": (3_668, 408, 2, "accuracy"),
    "probing-bigram_shift": (9_673, 1_000, 2, "accuracy"),
    "probing-coordination_inversion": (869, 114, 2, "accuracy"),
    "probing-obj_number": (2_093, 295, 2, "accuracy"),
    "probing-odd_word_out": (9_459, 1_000, 2, "accuracy"),
    "probing-past_present": (6_325, 946, 2, "accuracy"),
    "probing-sentence_length": (9_714, 1_000, 6, "accuracy"),
    "probing-subj_number": (1_492, 188, 2, "accuracy"),
    "probing-top_dependents": (2_278, 330, 20, "accuracy"),
    "probing-tree_depth": (9_714, 1_000, 7, "accuracy"),
    "probing-word_content": (2_903, 432, 50, "accuracy"),
    "qnli": (4_000, 700, 2, "accuracy"),
    "qqp": (19_996, 1_500, 2, "accuracy"),
    "rte": (2_490, 277, 2, "accuracy"),
    "sara": (3_601, 455, 62, "accuracy"),
    "scicite": (7_320, 916, 3, "macro_f1"),
    "sick": (4_439, 495, 3, "accuracy"),
    "sick-relatedness": (4_439, 495, 0, "pearson"),
    "snips": (12_877, 700, 7, "accuracy"),
    "sst2": (67_349, 872, 2, "accuracy"),
    "sst2-sentences": (6_920, 872, 2, "accuracy"),
    "sst5": (8_544, 1_101, 5, "accuracy"),
    "stsb": (5_749, 1_500, 0, "pearson"),
    "topv2-en": (2_993, 1_387, 58, "accuracy"),  # 1,390 less the three rows whose labels train lacks
    "trec": (4_952, 500, 6, "accuracy"),
    "trec-fine": (4_952, 500, 50, "accuracy"),
    "wnli": (635, 71, 2, "accuracy"),
}


def test_every_task_file_is_listed_here():
    assert {path.stem for path in (folder("data") / "tasks").glob("*.toml")} == set(SETS)


@pytest.mark.parametrize("name", SETS)
def test_shipped_task(name, datasets, monkeypatch):
    monkeypatch.setenv("KDPIPE_DATASETS", str(datasets))
    task = load(name)
    train, dev, classes, metric = SETS[name]
    assert task.name == name and {split: len(rows) for split, rows in task.splits.items()} == {
        "train": train,
        "dev": dev,
    }
    assert len(task.labels) == classes and task.metrics[0] == metric
    assert all(rows["label"].null_count == 0 for rows in task.splits.values())
    assert task.pair == (
        name in {"mnli-small", "mrpc", "qnli", "qqp", "rte", "sick", "sick-relatedness", "stsb", "wnli"}
    )


def test_label_names_and_texts_of_real_rows(datasets, monkeypatch):
    monkeypatch.setenv("KDPIPE_DATASETS", str(datasets))
    sst2 = load("sst2")
    first = sst2.splits["train"].slice(0, 1).to_pylist()[0]
    assert first["text_a"] == "hide new secretions from the parental units "  # with the space of the source
    assert sst2.labels[int(first["label"])] == "negative"
    mrpc = load("mrpc").splits["train"].slice(0, 1).to_pylist()[0]
    assert mrpc["text_a"].startswith('Amrozi accused his brother, whom he called "the witness", of')
    assert load("stsb").splits["train"]["label"].to_pylist()[:2] == [5.0, 3.8]


def test_overlap_of_real_sets(datasets, monkeypatch):
    monkeypatch.setenv("KDPIPE_DATASETS", str(datasets))
    assert overlap(load("snips")) == {"dev": 0}
    assert overlap(load("fb-multilingual-en"))["dev"] > 1_000
