"""Real students and their teacher asked again about changed texts."""

import json
import shutil

import numpy as np
import pytest

from kdpipe import modelfolder, phases, recipe, warehouse
from kdpipe.errors import UserError
from kdpipe.job import Job
from kdpipe.perturb import PERTURBATIONS
from kdpipe.robustness import robustness
from kdpipe.store import Store
from kdpipe.train import predict

KEPT = [name for name, how in PERTURBATIONS.items() if how.keeps]
SCORES = """# A test's own recipe
[[phase]]
name  = "student"
model = { name = "static", fc = 4, width = 8 }
train = { epochs = 2, batch_size = 8, lr = 1e-2 }
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory, tiny_recipe, tiny_task):
    """A store with a teacher and one student, both asked, and their runs."""
    store = Store(tmp_path_factory.mktemp("robust") / "store")
    phases.run(Job(recipe.load(tiny_recipe, tiny_task, [0]), store.root, "cpu", workers=1))
    return store, robustness(store)


def found(store, *runs):
    rows = warehouse.query(store, "select * from robustness where list_contains(?, run)", [list(runs)]).to_pylist()
    return {(row["run"], row["perturbation"]): row for row in rows}


def test_students_and_teachers_have_a_row_for_each_perturbation(asked):
    store, runs = asked
    rows = found(store, *runs)
    assert set(rows) == {(run, name) for run in runs for name in PERTURBATIONS}
    assert [rows[run, "upper"]["role"] for run in runs] == ["teacher", "student"]
    assert warehouse.run_checks(store) == []
    for (run, name), row in rows.items():
        assert (row["drop"] is not None) == (name in KEPT and row["n"] > 0)
        assert row["agreement"] is None if run == runs[0] or not row["n"] else 0 <= row["agreement"] <= 1
        if row["drop"] is not None:
            assert row["drop_low"] <= row["drop"] + 1e-9 and row["drop"] <= row["drop_high"] + 1e-9


def test_what_is_stored_is_what_the_model_answers_to_the_changed_text(asked):
    store, runs = asked
    for run in runs:
        kept = store.read(store.perturbed(run, "dev", "typos_30"))
        loaded = modelfolder.load(store.local_model(store.read_json(store.run(run))["model"]), ("bad", "good"))
        logits = predict(loaded.model, loaded.vocab.encode(kept, loaded.max_length))[:, list(loaded.order)]
        np.testing.assert_allclose(np.stack(kept["logits"].to_numpy(zero_copy_only=False)), logits, atol=1e-5)


def test_a_tokenizer_that_knows_no_case_answers_alike(asked):
    """The tiny teacher reads lower case, so that capitals change 10 texts and none of its answers."""
    store, [teacher, _] = asked
    row = found(store, teacher)[teacher, "upper"]
    assert (row["n"], row["drop"], row["flips"], row["verdict"]) == (10, 0.0, 0.0, "cannot tell apart")
    assert found(store, teacher)[teacher, "lower"]["n"] == 0


def test_the_drop_is_that_of_the_stored_answers(asked):
    store, [_, student] = asked
    sql = """
    select avg((c.prediction = c.label)::int) as clean, avg((p.prediction = c.label)::int) as perturbed,
        avg((p.prediction <> c.prediction)::int) as flips
    from stg_perturbed as p join stg_predictions as c using (run, split, id) where run = ? and perturbation = 'title'
    """
    [by_hand] = warehouse.query(store, sql, [student]).to_pylist()
    row = found(store, student)[student, "title"]
    assert {key: row[key] for key in by_hand} == pytest.approx(by_hand)


def test_nothing_is_asked_twice_and_no_model_is_needed_then(asked, tmp_path):
    store, runs = asked
    copy = Store(shutil.copytree(store.root, tmp_path / "copy"))
    shutil.rmtree(tmp_path / "copy" / "models")
    assert robustness(copy, [runs[1]]) == runs
    assert found(copy, *runs) == found(store, *runs)
    shutil.rmtree(copy.perturbed(runs[1], "dev", "upper"))
    with pytest.raises(UserError, match="its model is not in the store any more"):
        robustness(copy, [runs[1]])


@pytest.mark.parametrize(("said", "wrong"), [
    ({"names": ["tny"]}, "no recipe or run 'tny'; did you mean 'tiny'"),
    ({"split": "train"}, "no answers to train; allowed are the splits"),
])
def test_mistakes_are_said(asked, said, wrong):
    with pytest.raises(UserError, match=wrong):
        robustness(asked[0], **said)


def test_scores_of_pairs(tmp_path):
    """A regression on pairs: additions and negations go to the second text, and scores move instead of flipping."""
    rows = [f"A man is running {i}\tThe dogs were not sleeping {i % 7}\t{i % 5}" for i in range(60)]
    (tmp_path / "close.tsv").write_text("text_a\ttext_b\tscore\n" + "\n".join(rows) + "\n")
    (tmp_path / "alone.toml").write_text(SCORES)
    store = Store(tmp_path / "store")
    [run] = phases.run(Job(recipe.load(tmp_path / "alone.toml", tmp_path / "close.tsv"), store.root, "cpu", workers=1))
    assert robustness(store) == [run]
    kept = store.read(store.perturbed(run, "dev", "negation"))
    assert all(" is running " in text for text in kept["text_a"].to_pylist())
    assert all("were sleeping" in text for text in kept["text_b"].to_pylist())
    row = found(store, run)[run, "typo"]
    assert (row["flips"], row["metric"]) == (None, "pearson") and row["mean_move"] > 0
    assert row["drop"] == pytest.approx(row["clean"] - row["perturbed"])


def test_the_command(here, asked):
    store, [_, student] = asked
    said = json.loads(here("robustness", student, "--store", store.root, "--format", "json").stdout)
    assert [row["perturbation"] for row in said if row["run"] == student] == [*sorted(KEPT), "negation"]
