"""Every mart over the small store (small.py), against rows worked out by hand."""

import math
import shutil

import numpy as np
import pytest

from kdpipe.settings import Settings
from kdpipe.store import Store
from kdpipe.warehouse import named, query
from tests.warehouse.small import (
    AWFUL,
    FAMILY,
    LOVELY,
    NEVER,
    NOT_GOOD,
    add_probe,
    add_probed,
    add_run,
    add_share,
    classified,
    row_id,
)

MARTS = [name for name, _ in named() if not name.startswith("stg_")]


def rows(store, sql, *parameters):
    return query(store, sql, parameters).to_pylist()


def test_leaderboard_counts_seeds_of_the_newest_settings(small_store):
    found = rows(small_store, "select * from leaderboard where task = 'mood'")
    assert [(r["recipe"], r["seeds"]) for r in found] == [("teacher", 1), ("tang2019", 2), ("labels_only", 2)]
    teacher, tang, labels = found
    assert (teacher["role"], teacher["student"], teacher["dev_mean"], teacher["dev_sd"]) == (
        "teacher", "bert", 0.75, None,
    )  # fmt: skip
    assert tang["dev_mean"] == (0.5 + 0.75) / 2
    assert tang["dev_sd"] == pytest.approx(0.25 / math.sqrt(2))
    assert tang["test_mean"] == (0.5 + 1.0) / 2
    assert tang["test_sd"] == pytest.approx(0.5 / math.sqrt(2))
    assert (tang["parameters"], tang["non_embedding_parameters"]) == (30, 10)
    assert (tang["rows_per_second_at_1"], tang["rows_per_second_at_64"]) == (150.0, 1000.0)
    assert tang["train_seconds"] == (3.0 + 5.0) / 2
    assert tang["operators"] == "mask+pos_swap+ngram"
    assert labels["dev_mean"] == 0.375
    assert rows(small_store, "select run from stg_runs where task = 'mood' and not is_latest") == [{"run": "tang-old"}]


def test_distillation_gain(small_store):
    [tang] = rows(small_store, "select * from distillation_gain where task = 'mood'")
    assert (tang["recipe"], tang["seeds"]) == ("tang2019", 2)
    assert (tang["dev_mean"], tang["dev_labels_only"], tang["dev_gain"]) == (0.625, 0.375, 0.25)
    assert (tang["test_mean"], tang["test_labels_only"], tang["test_gain"]) == (0.75, 0.5, 0.25)


def test_gap_closed(small_store):
    [tang] = rows(small_store, "gap_closed")
    assert (tang["dev_labels_only"], tang["dev_student"], tang["dev_teacher"]) == (0.375, 0.625, 0.75)
    assert tang["dev_gap_closed"] == pytest.approx(0.25 / 0.375)
    assert tang["test_gap_closed"] == pytest.approx((0.75 - 0.5) / (1.0 - 0.5))


def test_error_cases(small_store):
    found = rows(small_store, "select * from error_cases where run = 'tang-s0' order by split, text_a desc")
    assert [(r["split"], r["text_a"]) for r in found] == [("dev", NOT_GOOD), ("dev", LOVELY), ("test", AWFUL)]
    first = found[0]
    assert first["id"] == row_id(NOT_GOOD)
    assert (first["label"], first["teacher_answer"], first["student_answer"]) == ("bad", "bad", "good")
    assert first["teacher_confidence"] == pytest.approx(0.9)
    assert first["student_confidence"] == pytest.approx(0.99)
    assert first["made_rows"] == [
        {"rank": 1, "operator": "ngram", "copy": 1, "text": "good", "teacher_answer": "bad"},
        {"rank": 1, "operator": "pos_swap", "copy": 0, "text": "a good day", "teacher_answer": "good"},
        {"rank": 2, "operator": "mask", "copy": 0, "text": "a [MASK] film", "teacher_answer": "good"},
    ]
    assert found[1]["teacher_answer"] == "bad" and found[1]["made_rows"] == []


def test_error_cases_of_a_regression_are_its_largest_errors(small_store):
    found = rows(small_store, "select * from error_cases where run = 'close-s0' order by error desc")
    assert [(r["label"], r["teacher_answer"], r["student_answer"], r["error"]) for r in found] == [
        ("4.0", "4.5", "2.0", 2.0),
        ("1.0", "1.0", "1.5", 0.5),
    ]
    assert (found[0]["text_a"], found[0]["text_b"]) == ("a dog", "the dog")


def test_teacher_right_student_wrong(small_store):
    found = rows(small_store, "select * from teacher_right_student_wrong order by run, text_a")
    assert [(r["run"], r["text_a"], r["label"], r["student_answer"]) for r in found] == [
        ("tang-s0", AWFUL, "bad", "good"),
        ("tang-s0", NOT_GOOD, "bad", "good"),
    ]
    assert found[1]["teacher_confidence"] == pytest.approx(0.9)


def test_confident_mistakes(small_store):
    found = rows(small_store, "select run, text_a, answer from confident_mistakes order by run")
    assert found == [
        {"run": "tang-s0", "text_a": NOT_GOOD, "answer": "good"},
        {"run": "tang-s1", "text_a": LOVELY, "answer": "bad"},
    ]


def test_disagreement_of_two_runs(small_store):
    sql = "select text_a, answer_1, answer_2 from disagreement where run_1 = ? and run_2 = ? order by text_a"
    assert rows(small_store, sql, "tang-s0", "tang-s1") == [
        {"text_a": AWFUL, "answer_1": "good", "answer_2": "bad"},
        {"text_a": NOT_GOOD, "answer_1": "good", "answer_2": "bad"},
    ]
    [one, two] = rows(small_store, "select * from disagreement where run_1 = 'close-s0' order by difference")
    assert (one["difference"], one["answer_1"], one["answer_2"]) == (0.5, "1.5", "1.0")
    assert two["difference"] == 2.5


def test_confusion(small_store):
    sql = "select label, answer, n, share_of_label from confusion where run = 'tang-s0' and split = 'dev' order by all"
    assert [tuple(r.values()) for r in rows(small_store, sql)] == [
        ("bad", "bad", 1, 0.5),
        ("bad", "good", 1, 0.5),
        ("good", "bad", 1, 0.5),
        ("good", "good", 1, 0.5),
    ]
    assert rows(small_store, "select * from confusion where task = 'close'") == []


def test_slices(small_store):
    """Of "not a good film", "a fine day ...", "never again", "lovely" the run gets the second and the third right."""
    sql = "select slice, value, n, accuracy from slices where run = 'tang-s0' and split = 'dev' order by all"
    assert [tuple(r.values()) for r in rows(small_store, sql)] == [
        ("label", "bad", 2, 0.5),
        ("label", "good", 2, 0.5),
        ("length", "00-05 words", 3, 1 / 3),
        ("length", "06-10 words", 1, 1.0),
        ("negation", "no", 2, 0.5),
        ("negation", "yes", 2, 0.5),
        ("unknown words", "0", 2, 0.5),
        ("unknown words", "1", 1, 0.0),
        ("unknown words", "2 or more", 1, 1.0),
    ]
    [length] = rows(small_store, "select * from slices where run = 'close-s0' and slice = 'length'")
    assert (length["n"], length["accuracy"], length["mean_absolute_error"]) == (2, None, (0.5 + 2.0) / 2)


def test_operator_contribution(small_store):
    found = {r["operator"]: r for r in rows(small_store, "operator_contribution")}
    assert {name: (r["rows"], r["label_kept"]) for name, r in found.items()} == {
        "gold": (2, 1.0),
        "mask": (1, 0.0),
        "pos_swap": (1, 1.0),
        "ngram": (1, 0.0),
        "unlabelled": (1, None),
    }
    gold = found["gold"]
    assert gold["share"] == pytest.approx(2 / 6)
    assert gold["teacher_confidence"] == pytest.approx(0.9)
    assert (gold["runs"], gold["dev_mean"], gold["dev_gain"]) == (2, 0.625, 0.25)
    assert (gold["test_mean"], gold["test_gain"]) == (0.75, 0.25)


def test_stage_costs(small_store):
    sql = "select run, stage, seconds, seconds_paid, shared_by, seconds_shared from stage_costs "
    sql += "where task = 'mood' order by run, stage"
    assert [tuple(r.values()) for r in rows(small_store, sql)] == [
        ("tang-s0", "augment", 4.0, 4.0, 2, 2.0),
        ("tang-s0", "teach", 8.0, 8.0, 2, 4.0),
        ("tang-s0", "train", 3.0, 3.0, 1, 3.0),
        ("tang-s1", "augment", 4.0, 0.0, 2, 2.0),
        ("tang-s1", "teach", 8.0, 0.0, 2, 4.0),
        ("tang-s1", "train", 5.0, 5.0, 1, 5.0),
    ]


def test_agreement(small_store):
    """tang-s0 answers three of four dev rows as the teacher does; of the three that the teacher has right, two."""
    [dev] = rows(small_store, "select * from agreement where run = 'tang-s0' and split = 'dev'")
    assert (dev["n"], dev["agreement"]) == (4, 0.75)
    assert dev["agreement_where_teacher_right"] == pytest.approx(2 / 3)
    assert dev["agreement_where_teacher_wrong"] == 1.0
    [close] = rows(small_store, "select * from agreement where run = 'close-s0'")
    assert close["agreement"] is None and close["correlation"] == pytest.approx(1.0)


def test_learning_curves(small_store):
    sql = "select epoch, loss, dev_score, seconds, is_best from learning_curves where run = 'tang-s0' order by epoch"
    assert [tuple(r.values()) for r in rows(small_store, sql)] == [(1, 0.9, 0.4, 2.0, False), (2, 0.5, 0.5, 5.0, True)]


def test_a_text_that_a_split_holds_twice_is_one_error_case(tmp_path):
    store = Store(tmp_path)
    twice = [(LOVELY, "good", "bad", 0.75, 0)] * 2
    add_run(store, "teacher", classified(*twice), role="teacher", teacher_run=None, teacher=None, transfer=None)
    add_run(store, "student", classified(*twice))
    assert len(rows(store, "select * from error_cases where run = 'student'")) == 1
    assert rows(store, "select n from agreement") == [{"n": 1}]
    assert rows(store, "select n from confusion where run = 'student'") == [{"n": 2}]


# ---- how sure, and how near the teacher. Of its dev rows tang-s0 has the 2nd (0.9) and 3rd (0.75) right, the 1st
# (0.99) and 4th (0.75) wrong; its teacher has the first three right (0.9, 0.9, 0.75) and the 4th wrong (0.75).

TANG = "where run = 'tang-s0' and split = 'dev'"


def test_per_class(small_store):
    sql = f'select class, n, answered, n_right, "precision", recall, f1 from per_class {TANG} order by class'
    assert [tuple(r.values()) for r in rows(small_store, sql)] == [
        ("bad", 2, 2, 1, 0.5, 0.5, 0.5), ("good", 2, 2, 1, 0.5, 0.5, 0.5)]


def test_reliability(small_store):
    sql = f"select bin_from, n, confidence, accuracy from reliability {TANG} order by bin_from"
    found = [tuple(r.values()) for r in rows(small_store, sql)]
    assert [(start, n, accuracy) for start, n, _, accuracy in found] == [
        (pytest.approx(11 / 15), 2, 0.5), (pytest.approx(13 / 15), 1, 1.0), (pytest.approx(14 / 15), 1, 0.0)]
    assert [confidence for _, _, confidence, _ in found] == pytest.approx([0.75, 0.9, 0.99])


def test_calibration(small_store):
    """Raw: bins of 2, 1 and 1 rows that are 0.25, 0.1 and 0.99 off. Temperature 2 takes the root of all odds."""
    [found] = rows(small_store, f"select * from calibration {TANG}")
    assert found["ece"] == pytest.approx((2 * 0.25 + 0.1 + 0.99) / 4)
    assert found["nll"] == pytest.approx(-math.log(0.01 * 0.9 * 0.75 * 0.25) / 4)
    assert found["brier"] == pytest.approx(2 * (0.99**2 + 0.1**2 + 0.25**2 + 0.75**2) / 4)
    sure = [math.sqrt(p / (1 - p)) / (1 + math.sqrt(p / (1 - p))) for p in (0.99, 0.9, 0.75, 0.75)]
    right = [1 - sure[0], sure[1], sure[2], 1 - sure[3]]
    assert found["nll_scaled"] == pytest.approx(-sum(map(math.log, right)) / 4)
    assert (found["temperature"], found["n"], found["accuracy"]) == (2.0, 4, 0.5)
    assert found["ece_scaled"] == pytest.approx((sure[0] + 1 - sure[1] + abs(1 - sure[2] - sure[3])) / 4)
    assert rows(small_store, "select * from calibration where task = 'close'") == []


def test_fidelity(small_store):
    [found] = rows(small_store, f"select * from fidelity {TANG}")
    assert (found["n"], found["agreement"]) == (4, 0.75)
    assert found["kl"] == pytest.approx((0.9 * math.log(0.9 / 0.01) + 0.1 * math.log(0.1 / 0.99)) / 4)
    assert (found["mistakes"], found["teacher_mistakes"]) == (2, 1)
    assert (found["shared_mistakes"], found["same_mistakes"]) == (1, 1)
    assert found["share_of_mistakes"] == 0.5
    assert found["confidence_correlation"] == pytest.approx(
        np.corrcoef([0.99, 0.9, 0.75, 0.75], [0.9, 0.9, 0.75, 0.75])[0, 1])
    assert found["confidence_difference"] == pytest.approx(0.09 / 4)


def test_confidence_profile(small_store):
    [found] = rows(small_store, f"select * from confidence_profile {TANG}")
    assert (found["hits"], found["mistakes"]) == (2, 2)
    assert (found["confidence_of_hits"], found["confidence_of_mistakes"]) == pytest.approx((0.825, 0.87))


def test_run_pairs(small_store):
    sql = "select * from run_pairs where run_1 = 'tang-s0' and run_2 = 'tang-s1' and split = 'dev'"
    [found] = rows(small_store, sql)
    assert (found["n"], found["hits_of_1_alone"], found["hits_of_2_alone"]) == (4, 0, 1)
    assert (found["mistakes_of_both"], found["same_mistakes"]) == (1, 1)
    assert (found["share_of_mistakes_of_1"], found["share_of_mistakes_of_2"]) == (0.5, 1.0)


def test_telling_predictions(small_store):
    sql = f"select kind, rank, text_a, teacher_answer from telling_predictions {TANG} order by kind, rank"
    assert [tuple(r.values()) for r in rows(small_store, sql)] == [
        ("sure hit", 1, FAMILY, "good"), ("sure hit", 2, NEVER, "bad"),
        ("sure mistake", 1, NOT_GOOD, "bad"), ("sure mistake", 2, LOVELY, "bad"),
        ("unsure hit", 1, NEVER, "bad"), ("unsure hit", 2, FAMILY, "good"),
        ("unsure mistake", 1, LOVELY, "bad"), ("unsure mistake", 2, NOT_GOOD, "bad")]


def test_teacher_sure_student_unsure(tmp_path):
    store = Store(tmp_path)
    add_run(store, "teacher", classified((LOVELY, "good", "good", 0.95, 0), (NEVER, "bad", "bad", 0.8, 0)),
            role="teacher", teacher_run=None, teacher=None, transfer=None)
    add_run(store, "student", classified((LOVELY, "good", "bad", 0.6, 0), (NEVER, "bad", "bad", 0.6, 0)))
    [found] = rows(store, "teacher_sure_student_unsure")
    assert (found["text_a"], found["teacher_answer"], found["student_answer"]) == (LOVELY, "good", "bad")


def test_probing(small_store):
    """tang-s0's layer 1 gets 84 of 100 rows right, 24 more than the majority class, 20 more than its untrained twin."""
    below, layer = rows(small_store, "select * from probing order by place")
    assert (layer["name"], layer["recipe"], layer["layer"]) == ("tang-s0", "tang2019", "layer_1")
    assert (layer["dev_accuracy"], layer["test_accuracy"], layer["split"], layer["n"]) == (0.84, None, "dev", 100)
    assert (layer["accuracy"], layer["majority"], layer["untrained"]) == (0.84, 0.6, 0.64)
    assert layer["gain_over_majority"] == pytest.approx(0.24)
    assert layer["gain_over_untrained"] == pytest.approx(0.2)
    assert layer["standard_error"] == pytest.approx(math.sqrt(0.84 * 0.16 / 100))
    assert below["gain_over_untrained"] == pytest.approx(-0.02)


def test_probing_counts_the_split_that_nothing_was_chosen_on(tmp_path):
    store = Store(tmp_path)
    parts = [{"split": "dev", "rows": 100, "majority": 0.6}, {"split": "test", "rows": 50, "majority": 0.5}]
    layers = [{"layer": "embeddings", "place": 0, "chosen_accuracy": 0.9, "scores": [
        {"split": "dev", "accuracy": 0.9}, {"split": "test", "accuracy": 0.7}]}]
    add_probed(store, "folder", None, "w1", "u1")
    add_probe(store, "w1", "tense", {}, chosen_on="dev", splits=parts, layers=layers)
    [found] = rows(store, "probing")
    assert (found["dev_accuracy"], found["test_accuracy"], found["accuracy"]) == (0.9, 0.7, 0.7)
    assert (found["split"], found["n"], found["majority"], found["untrained"]) == ("test", 50, 0.5, None)


def test_probing_says_which_weights_a_folder_has_now(tmp_path):
    store = Store(tmp_path)
    for weights, day in (("w1", 3), ("w2", 4)):
        add_probed(store, "folder", None, weights, "u1", f"2026-01-0{day}T10:00:00+00:00")
        add_probe(store, weights, "tense", {"layer_1": 0.8})
    assert [(r["weights"], r["is_latest"]) for r in rows(store, "select * from probing order by weights")] == [
        ("w1", False), ("w2", True)]


def test_text_hits(small_store):
    """Both students have FAMILY and NEVER right and LOVELY wrong; NOT_GOOD only the second."""
    sql = "select text_a, students, n_right, right_alone, teacher_right from text_hits where split = 'dev' and " \
          "label is not null and task = 'mood' order by n_right, text_a"
    assert [tuple(r.values()) for r in rows(small_store, sql)] == [
        (LOVELY, 2, 0, None, False), (NOT_GOOD, 2, 1, "tang-s1", True), (FAMILY, 2, 2, None, True),
        (NEVER, 2, 2, None, True)]


def test_slices_by_length(small_store):
    """1, 2, 4 and 9 words: a quartile each."""
    sql = f"select quartile, words_from, words_to, n, accuracy from slices_by_length {TANG} order by quartile"
    assert [tuple(r.values()) for r in rows(small_store, sql)] == [
        (1, 1, 1, 1, 0.0), (2, 2, 2, 1, 1.0), (3, 4, 4, 1, 0.0), (4, 9, 9, 1, 1.0)]
    [close] = rows(small_store, "select * from slices_by_length where run = 'close-s0'")  # both of 4 words
    assert (close["n"], close["quartile"], close["mean_absolute_error"]) == (2, 1, (0.5 + 2.0) / 2)


def test_robustness(small_store):
    """In capitals tang-s0 says "good" of NEVER too: one of two answers flips; its teacher stays with "bad" for both."""
    found = {r["perturbation"]: r for r in rows(small_store, f"select * from robustness {TANG}")}
    upper, negation = found["upper"], found["negation"]
    assert (upper["n"], upper["clean"], upper["perturbed"], upper["drop"]) == (2, 0.5, 0.0, 0.5)
    assert (upper["drop_low"], upper["drop_high"], upper["verdict"]) == (-0.25, 0.75, "cannot tell apart")
    assert (upper["flips"], upper["agreement_clean"], upper["agreement"]) == (0.5, 0.5, 0.0)
    assert (negation["n"], negation["drop"], negation["flips"], negation["agreement"]) == (1, None, 0.0, 1.0)
    [teacher] = rows(small_store, "select * from robustness where run = 'teacher' and perturbation = 'negation'")
    assert (teacher["flips"], teacher["agreement"], teacher["keeps_label"]) == (1.0, None, False)


def test_flipped_answers(small_store):
    found = rows(small_store, "select run, perturbation, text_a, perturbed_a, answer, answer_perturbed, "
                              "teacher_answer, teacher_answer_perturbed from flipped_answers order by run")
    assert [tuple(r.values()) for r in found] == [
        ("tang-s0", "upper", NEVER, "NEVER AGAIN", "bad", "good", "bad", "bad"),
        ("teacher", "negation", NOT_GOOD, "a good film", "bad", "good", None, None)]


def test_every_mart_has_a_worked_example():
    examples = [name for name in globals() if name.startswith("test_")]
    assert [mart for mart in MARTS if not any(name.startswith(f"test_{mart}") for name in examples)] == []


def test_leak_audit_lists_rows_with_what_they_copy(small_store):
    found = rows(small_store, "select * exclude (id, held_out_id) from leak_audit")
    assert [tuple(r.values()) for r in found] == [
        ("ts", "mask", "dev", "copy", 1.0, LOVELY, LOVELY),
        ("ts", "pos_swap", "dev", "near", 0.875, "Not a good film, Joe", NOT_GOOD),
    ]
    assert rows(small_store, "select id, held_out_id from leak_audit")[1] == {
        "id": row_id("Not a good film, Joe"), "held_out_id": row_id(NOT_GOOD)}


def test_size_curves_put_shares_of_a_recipe_together(small_store):
    found = rows(small_store, "select recipe, share, seeds, dev_mean from size_curves")
    assert [tuple(r.values()) for r in found] == [("soft_labels", 0.25, 1, 0.5), ("soft_labels", 1.0, 1, 0.75)]


def test_size_curves_take_the_shares_that_saw_as_many_rows(tmp_path):
    """24 rows each; a newer student of all rows saw 240 and is no point of the curve, though it is the latest."""
    store = Store(tmp_path)
    add_share(store, "soft_labels", 1.0, 3, 0.75)
    add_share(store, "soft_labels-0.25", 0.25, 12, 0.5)
    add_share(store, "soft_labels", 1.0, 30, 0.9, run="longer", started="2026-02-01T10:00:00+00:00")
    seen = rows(store, "select run, rows_seen, is_latest from stg_runs order by run")
    assert [tuple(r.values()) for r in seen] == [
        ("longer", 240, True), ("soft_labels", 24, False), ("soft_labels-0.25", 24, True)]
    found = rows(store, "select share, dev_mean from size_curves")
    assert [tuple(r.values()) for r in found] == [(0.25, 0.5), (1.0, 0.75)]


def test_rows_seen_of_a_recipe_that_names_no_epochs_are_those_of_the_default(tmp_path):
    store = Store(tmp_path)
    add_share(store, "soft_labels", 1.0, None, 0.75)
    assert rows(store, "select rows_seen from stg_runs") == [{"rows_seen": 8 * Settings.epochs}]


def share(part):
    return {"settings": {"phases": [{"name": "student", "share": part}]}}


def test_size_curves_keep_tasks_and_students_apart(tmp_path):
    """One recipe with two students, of one of which a share was tried; and with another task, of which none was."""
    store, trained = Store(tmp_path), [{"stage": "train", "seconds": 1.0, "rows": 6, "reused": False}]
    add_run(store, "small", recipe="tang2019-0.001953125", **share(1 / 512), stages=trained, student="bilstm 10",
            dev_score=0.2)
    add_run(store, "small-whole", stages=trained, student="bilstm 10", dev_score=0.4)
    add_run(store, "large-whole", stages=trained, student="bilstm 20", dev_score=0.8)
    add_run(store, "other-task", stages=trained, student="bilstm 10", task="other", task_key="k9", dev_score=0.9)
    found = rows(store, "select task, student, share, seeds, dev_mean from size_curves")
    assert [tuple(r.values()) for r in found] == [
        ("mood", "bilstm 10", 1 / 512, 1, 0.2), ("mood", "bilstm 10", 1.0, 1, 0.4)]


def test_operator_contribution_leaves_out_students_of_a_share(small_store, tmp_path):
    place = shutil.copytree(small_store, tmp_path / "store")
    add_run(Store(place), "share", recipe="tang2019-0.5", **share(0.5), dev_score=0.0)
    [gold] = rows(place, "select runs, dev_mean from operator_contribution where operator = 'gold'")
    assert (gold["runs"], gold["dev_mean"]) == (2, 0.625)


def test_error_cases_of_a_text_that_stands_twice(small_store, tmp_path):
    """Student and teacher answered NOT_GOOD twice: still one line, with each made row once."""
    [once] = rows(small_store, f"select made_rows from error_cases {TANG} and text_a = '{NOT_GOOD}'")
    place = shutil.copytree(small_store, tmp_path / "store")
    for run, answer in (("tang-s0", ("good", 0.99)), ("teacher", ("bad", 0.9))):
        Store(place).write_part(Store(place).predictions(run, "dev"), classified((NOT_GOOD, "bad", *answer, 0)))
    [twice] = rows(place, f"select made_rows from error_cases {TANG} and text_a = '{NOT_GOOD}'")
    assert twice == once and len(once["made_rows"]) == 3
