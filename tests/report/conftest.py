"""The page of the marts' small store, made once for all that look at it."""

import pytest

from kdpipe.report import build
from kdpipe.store import Store
from tests.warehouse.small import fill


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """The marts' small store, whose runs without predictions are given some."""
    store = fill(Store(tmp_path_factory.mktemp("report") / "store"))
    for run in ("labels-s0", "labels-s1"):
        rows = store.read_part(store.parts(store.predictions("tang-s1", "dev"))[0])
        store.write_part(store.predictions(run, "dev"), rows)
    return store


@pytest.fixture(scope="session")
def page(store):
    return build(store)
