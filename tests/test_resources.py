"""The folders that come along with the package are there, in a checkout and in a wheel's layout."""

import shutil
import subprocess
import sys

import pytest

import kdpipe.resources
from kdpipe.resources import folder


@pytest.mark.parametrize("name", ["data", "recipes", "flows", "warehouse"])
def test_folders_of_a_checkout(name):
    assert folder(name).is_dir()


def test_folders_of_a_wheel(tmp_path):
    """A package folder somewhere else: what lies inside it comes first."""
    package = tmp_path / "kdpipe"
    for inside in ("data", "flows/recipes", "warehouse_sql"):
        (package / inside).mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(kdpipe.resources.__file__, package)
    code = "from kdpipe.resources import folder; print(*map(folder, ('data', 'recipes', 'flows', 'warehouse')))"
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    expected = [package / "data", package / "flows" / "recipes", package / "flows", package / "warehouse_sql"]
    assert said.split() == [str(path.resolve()) for path in expected]
