"""Stores to ask."""

from pathlib import Path

import pytest

from kdpipe.store import Store
from tests.warehouse.small import fill


@pytest.fixture(scope="session")
def small_store(tmp_path_factory) -> Path:
    """Read-only for tests: those that change it copy it first. Its path needs quoting."""
    return Path(fill(Store(tmp_path_factory.mktemp("store") / "it's a [new] store")).root)


@pytest.fixture
def empty_store(tmp_path) -> Path:
    return tmp_path
