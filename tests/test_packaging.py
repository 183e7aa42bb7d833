"""A wheel built from the project works in an empty folder outside the checkout, with all that must come along."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = (*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(ROOT))
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    subprocess.run((*PIP, "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)), check=True,
                   capture_output=True)
    return folder


def python(installed: Path, here: Path, *arguments: str) -> str:
    """Standard output of Python, run in a folder outside the checkout with the installed wheel."""
    done = subprocess.run([sys.executable, *arguments], cwd=here, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(installed)})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kdpipe(installed: Path, here: Path, *arguments: str) -> str:
    return python(installed, here, "-m", "kdpipe.cli", *arguments)


def test_all_that_is_shipped_is_in_the_wheel(wheel):
    """Every file of these folders, under the name by which kdpipe.resources looks for it."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    places = {"data": "kdpipe/data", "flows": "kdpipe/flows", "kdpipe/augment/tagger": "kdpipe/augment/tagger",
              "kdpipe/explore": "kdpipe/explore", "kdpipe/report": "kdpipe/report",
              **{f"warehouse/{room}": f"kdpipe/warehouse_sql/{room}" for room in ("staging", "marts", "checks")}}
    for folder, place in places.items():
        files = [p.relative_to(ROOT / folder) for p in (ROOT / folder).rglob("*")
                 if p.is_file() and p.suffix != ".pyc"]
        assert files
        assert {f"{place}/{file}" for file in files} <= inside


def test_nothing_else_is_in_the_wheel(wheel):
    inside = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in inside} == {"kdpipe"}
    assert not [name for name in inside if "/store/" in name or "__pycache__" in name or name.endswith(".duckdb")]


def test_light_commands_find_what_came_along(installed, tmp_path):
    assert {p.stem for p in (ROOT / "flows/recipes").glob("*.toml")} == {
        line.split()[0] for line in kdpipe(installed, tmp_path, "recipes").splitlines()}
    assert {p.stem for p in (ROOT / "warehouse/marts").glob("*.sql")} <= {
        line.split()[0] for line in kdpipe(installed, tmp_path, "sql", "--list").splitlines()}


def test_a_recipe_runs_and_is_asked_about_with_the_wheel_alone(installed, tmp_path, tiny_recipe, tiny_task):
    """Tagger and SQL are the wheel's own; nothing is written beside the store."""
    kdpipe(installed, tmp_path, "run", str(tiny_recipe), "--task", str(tiny_task), "--seeds", "0", "--device", "cpu")
    answer = kdpipe(installed, tmp_path, "sql", "select count(*) as n from leaderboard", "--format", "csv")
    assert answer.split() == ["n", "2"]
    assert [p.name for p in tmp_path.iterdir()] == ["warehouse"]


SHIPPED = """
from prefect.flows import load_flow_from_entrypoint
from kdpipe.recipe import load
from kdpipe.resources import folder
from kdpipe.up import FLOWS

print(folder("flows"))
print(len(load("tang2019", "support").task.splits["train"]))
print([load_flow_from_entrypoint(f"{folder('flows') / name}.py:{name}").name for name in FLOWS])
"""


def test_the_shipped_task_and_the_flows_load_from_the_wheel(installed, tmp_path):
    where, rows, flows = python(installed, tmp_path, "-c", SHIPPED).splitlines()
    assert Path(where) == installed / "kdpipe" / "flows"
    assert rows == "500"
    assert flows == "['augment-and-teach', 'train-students', 'evaluate', 'distill']"


def test_pins_allow_what_the_project_asks_for():
    """constraints.txt names a version of each dependency, without the places that it was taken from."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(line.lower().split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()
                if not line.startswith("#"))
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    assert pins["torch"] == "2.13.0" and f"prefect=={pins['prefect']}" in asked
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(pins[requirement.name]), requirement
