"""Peers whose losses are held against ours."""

import importlib
import importlib.util
import sys
from types import ModuleType

import pytest


@pytest.fixture(scope="package")
def textbrewer_losses():
    """textbrewer/losses.py without the package around it, whose import opens TensorBoard."""
    found = importlib.util.find_spec("textbrewer")
    assert found, "textbrewer is not installed: pip install --no-deps textbrewer==0.2.1.post1"
    package = ModuleType("bare_textbrewer")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules[package.__name__] = package
    yield importlib.import_module("bare_textbrewer.losses")
    for name in [name for name in sys.modules if name.split(".")[0] == package.__name__]:
        del sys.modules[name]
