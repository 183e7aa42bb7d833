"""Learning curves on a tiny task."""

import numpy as np
import pytest

from kdpipe import recipe, transfer, warehouse
from kdpipe.compare import compare
from kdpipe.errors import UserError
from kdpipe.job import Job, transfer_key
from kdpipe.settings import Settings
from kdpipe.sizes import steps, table
from tests import tiny
from tests.contracts.test_recipes import reduced

SHARES = (0.5, 1.0, 0.25)


@pytest.fixture(scope="module")
def job(tmp_path_factory, tiny_task):
    home = tmp_path_factory.mktemp("sizes")
    checkpoint = tiny.bert(home / "two", width=24, layers=2, positions=64, heads=2)
    said = recipe.load(reduced("soft_labels", checkpoint, home), tiny_task, [0, 1])
    return Job(said, str(home / "store"), "cpu", workers=1)


def test_larger_shares_hold_smaller_ones(job):
    steps(job)
    rows = transfer.read_rows(job.place, transfer_key(job, job.recipe.final))
    found = {share: rows.some(share) for share in (0.125, 0.5, 1.0)}
    ids = {share: [bytes(i.as_py()) for i in some.ids] for share, some in found.items()}
    assert set(ids[0.125]) < set(ids[0.5]) < set(ids[1.0])
    for share, some in found.items():
        again = [bytes(i.as_py()) for part in some.parts for i in part["id"]]
        assert again == ids[share] and len(some.labels) == len(some)
    assert len(found[0.5]) == pytest.approx(len(rows) / 2, abs=4 * np.sqrt(len(rows)) / 2)


def test_every_share_sees_as_many_rows_and_the_teacher_is_asked_once(job):
    jobs = steps(job, SHARES)
    assert [j.recipe.name for j in jobs] == [f"{job.recipe.name}-0.25", f"{job.recipe.name}-0.5", job.recipe.name]
    epochs = [Settings(**j.recipe.final.train).epochs for j in jobs]
    assert epochs[0] == 2 * epochs[1] == 4 * epochs[2]
    found = compare(jobs)
    assert not found.failed
    shown = table(jobs, found).to_pylist()
    whole = len(transfer.read_rows(job.place, transfer_key(job, job.recipe.final)))
    assert [row["share"] for row in shown] == [0.25, 0.5, 1.0] and shown[-1]["rows"] == whole
    assert shown[0]["rows"] < shown[1]["rows"] < whole and shown[-1]["than_all"] == "all rows"
    assert all(row["low"] <= row["dev"] <= row["high"] and row["seeds"] == 2 for row in shown)
    asked = warehouse.query(job.place, "select sum(teacher_rows_asked)::bigint as n from stg_runs")
    assert asked["n"].to_pylist() == [whole]
    curve = warehouse.query(job.place, "size_curves").to_pylist()
    assert [(r["recipe"], r["share"], r["seeds"]) for r in curve] == [(job.recipe.name, s, 2) for s in (0.25, 0.5, 1.0)]
    assert [r["dev_mean"] for r in curve] == pytest.approx([row["dev"] for row in shown], abs=1e-4)


@pytest.mark.parametrize("shares", [(), (0.0,), (1.5,), (float("nan"),)])
def test_shares_that_are_none_are_refused(job, shares):
    with pytest.raises(UserError, match="--shares"):
        steps(job, shares)


def test_a_share_without_rows_is_refused(job):
    with pytest.raises(UserError, match=r"-1e-06: so small a share leaves none of \d+ rows; take a larger one"):
        steps(job, [1e-6, 1.0])
