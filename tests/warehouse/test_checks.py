"""Every check holds on a sound store and speaks up on a store that is spoilt in one way."""

import shutil
from pathlib import Path

import pytest

from kdpipe.errors import UserError
from kdpipe.resources import folder
from kdpipe.store import Store
from kdpipe.warehouse import query, run_checks
from tests.warehouse.small import (
    GOOD_FILM,
    LOVELY,
    NOT_GOOD,
    add_perturbed,
    add_probe,
    add_run,
    add_set,
    classified,
    learned,
    record,
    said,
)


def a_prediction_without_a_run(store):
    store.write_part(store.predictions("ghost", "dev"), classified((LOVELY, "good", "good", 0.9, 0)))


def two_answers_to_one_text(store):
    store.write_part(store.predictions("tang-s0", "dev"), classified((LOVELY, "good", "good", 0.9, 0)))


def an_answer_beside_its_logits(store):
    rows = classified((LOVELY, "good", "bad", 0.9, 0))
    rows = rows.set_column(rows.column_names.index("score"), "score", [[1.0]])
    add_run(store, "odd", rows)


def infinite_logits(store):
    store.write_part(store.signals("fp", "logits"), said(("endless", "good", 1 - 1e-16)).take([0]).set_column(
        1, "values", [[[float("inf"), 0.0]]]))  # fmt: skip


def a_score_above_one(store):
    add_run(store, "odd", dev_score=1.5)


def a_record_under_another_name(store):
    store.write_json(store.run("other"), record("tang-s0"))


def a_lost_teacher(store):
    Path(store.run("teacher")).unlink()


def a_lost_transfer_set(store):
    add_run(store, "odd", transfer="gone")


def a_made_row_with_a_label(store):
    add_set(store, "odd", learned((GOOD_FILM, 1.0, GOOD_FILM, "gold", 0), ("good", 1.0, GOOD_FILM, "mask", 0)))


def a_made_row_that_is_a_dev_text(store):
    add_set(store, "odd", learned((GOOD_FILM, 1.0, GOOD_FILM, "gold", 0), (NOT_GOOD, None, GOOD_FILM, "mask", 0)))
    add_run(store, "odd", transfer="odd")


def a_made_row_from_nowhere(store):
    add_set(store, "odd", learned(("good", None, GOOD_FILM, "mask", 0)))


def a_row_that_the_teacher_was_not_asked(store):
    add_set(store, "odd", learned((LOVELY, 1.0, LOVELY, "gold", 0)))
    add_run(store, "odd", transfer="odd")


def a_probe_without_its_twin(store):
    add_probe(store, "w1", "length", {"embeddings": 0.5})


def a_share_of_rows_that_are_not_there(store):
    add_probe(store, "w1", "length", {"embeddings": 0.505})


def a_perturbed_text_from_nowhere(store):
    add_perturbed(store, "tang-s1", {"upper": [("unheard of", "UNHEARD OF", "good", 0.9)]}, 0.5, 0.5)


SPOILT = {
    "probes_have_their_twin": a_probe_without_its_twin,
    "probes_are_in_range": a_share_of_rows_that_are_not_there,
    "perturbed_texts_are_of_the_split": a_perturbed_text_from_nowhere,
    "predictions_have_a_run": a_prediction_without_a_run,
    "predictions_answer_once": two_answers_to_one_text,
    "predictions_are_whole": two_answers_to_one_text,
    "predictions_follow_their_logits": an_answer_beside_its_logits,
    "teacher_logits_are_finite": infinite_logits,
    "scores_are_in_range": a_score_above_one,
    "records_agree_with_themselves": a_record_under_another_name,
    "students_have_their_teacher": a_lost_teacher,
    "students_have_their_transfer_set": a_lost_transfer_set,
    "made_rows_have_no_label": a_made_row_with_a_label,
    "made_rows_are_not_asked_about": a_made_row_that_is_a_dev_text,
    "made_rows_have_their_source": a_made_row_from_nowhere,
    "transfer_rows_have_logits": a_row_that_the_teacher_was_not_asked,
}


@pytest.fixture
def store(small_store, tmp_path):
    shutil.copytree(small_store, tmp_path / "copy")
    return Store(tmp_path / "copy")


def test_a_sound_store_passes(small_store):
    assert run_checks(small_store) == []


def test_every_check_has_its_spoilt_store():
    assert {p.stem for p in (folder("warehouse") / "checks").glob("*.sql")} == set(SPOILT)


@pytest.mark.parametrize("check", SPOILT)
def test_a_spoilt_store_is_found(store, check):
    SPOILT[check](store)
    found = {line.split(":")[0]: line for line in run_checks(store)}
    assert check in found
    assert "found, the first: {" in found[check]


def test_a_broken_part_is_named(store):
    [part] = Path(store.predictions("tang-s0", "dev")).iterdir()
    data = bytearray(part.read_bytes())
    data[40] ^= 1
    part.write_bytes(data)
    assert [line for line in run_checks(store) if part.name in line and "broken part" in line]


def test_a_part_cut_short_is_named_by_queries_too(store):
    [part] = Path(store.predictions("tang-s0", "dev")).iterdir()
    part.write_bytes(part.read_bytes()[:-50])
    assert part.name in run_checks(store)[0]
    with pytest.raises(UserError, match=part.name):
        query(store, "select count(logits[1]) from stg_predictions")


def test_a_broken_record_is_named(store):
    Path(store.run("tang-s0")).write_text('{"run": ')
    with pytest.raises(UserError, match=r"tang-s0\.json: broken record"):
        query(store, "leaderboard")
    assert "tang-s0.json: broken record" in run_checks(store)[0]


@pytest.mark.parametrize("sql", ["select id from raw . {}", 'select id from "raw"."{}"', "select id from RAW.{}",
                                 "with x as (from raw.{}) select id from x"])
def test_a_changed_part_is_named_however_the_sql_spells_its_source(store, sql):
    [part] = Path(store.signals("fp", "logits")).iterdir()
    data = bytearray(part.read_bytes())
    data[40] ^= 1
    part.write_bytes(data)
    with pytest.raises(UserError, match=part.name):
        query(store, sql.format("signals"))


def test_a_part_that_a_finished_set_lists_and_that_is_gone_is_named(store):
    [part] = (p for p in Path(store.transfer("set1")).iterdir() if p.suffix == ".parquet")
    query(store, "select count(*) from stg_transfer")
    part.unlink()
    assert part.name in run_checks(store)[0]
    with pytest.raises(UserError, match=f"{part.name}: this part is listed but missing"):
        query(store, "select count(*) from stg_transfer")


def test_a_folder_in_the_place_of_a_part_or_record_is_named(store):
    for path in (store.run("x"), f"{store.predictions('tang-s0', 'dev')}/part-{'1' * 32}.parquet"):
        Path(path).mkdir()
    with pytest.raises(UserError, match=r"x\.json: cannot be read \(Is a directory\)"):
        query(store, "leaderboard")
    assert sum("cannot be read" in line for line in run_checks(store)) == 2


def test_a_set_that_is_not_finished_and_parts_that_it_does_not_list_are_left_out(store):
    before = query(store, "select count(*) as n from stg_transfer").to_pylist()
    unlisted = learned(("good film", None, GOOD_FILM, "mask", 0))
    store.write_part(store.transfer("set1"), unlisted)
    store.write_part(store.transfer("unfinished"), unlisted)
    assert query(store, "select count(*) as n from stg_transfer").to_pylist() == before
