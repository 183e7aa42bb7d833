"""What guards the committed ratios."""

import importlib
import json

import pytest

from tests.benchmarks.check import RATIOS, RESULTS, is_worse, pick


@pytest.mark.parametrize("name", RATIOS)
def test_every_ratio_stands_in_the_committed_results(name):
    importlib.import_module(f"tests.benchmarks.bench_{name}")
    for path in RESULTS.glob(f"{name}-*.json"):
        assert all(pick(json.loads(path.read_text()), key) > 0 for key in RATIOS[name])


def test_a_fifth_less_is_worse():
    assert is_worse(1.59, 2.0) and not is_worse(1.61, 2.0) and not is_worse(3.0, 2.0) and not is_worse(0.1, None)
