"""Fixtures that many tests share."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The folder of public datasets: $KDPIPE_DATASETS, by default ../shared/datasets beside the checkout."""
    folder = Path(os.environ.get("KDPIPE_DATASETS", ROOT.parent / "shared" / "datasets"))
    assert folder.is_dir(), f"{folder} is missing: set KDPIPE_DATASETS to the folder of datasets"
    return folder
