"""Imports go downwards only, and light commands load nothing heavy."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("augment", "embeddings", "models", "objectives", "tasks", "vocab")
# From the ground up. A unit imports only what stands on a line above its own, and inside a room the room itself.
LAYERS = (
    ("draws", "errors", "progress", "resources", "types"),
    ("catalog", "growing", "idset", "intact", "perturb", "pruning", "schedules", "workers"),
    ("leaks",),
    ROOMS,
    ("batches", "calibration", "optim", "readonly", "render", "runs", "settings", "significance", "sources", "store"),
    ("modelfolder", "neighbours", "plain", "tags", "train", "warehouse"),
    ("answerer", "contrast", "making", "predictions", "predictor", "signals"),
    ("transfer",),
    ("probing", "robustness", "schema"),
    ("binding",),
    ("checks",),
    ("recipe",),
    ("job",),
    ("asking", "care"),
    ("evaluation", "training"),
    ("phases",),
    ("bench", "compare", "plan", "up"),
    ("ladder", "report"),
    ("sizes",),
    ("explore",),
    ("cli_options",),
    ("cli_cache", "cli_compare", "cli_look"),
    ("cli", "flows"),
)
HEIGHT = {unit: height for height, layer in enumerate(LAYERS) for unit in layer}
assert len(HEIGHT) == sum(map(len, LAYERS)), "a unit stands on two lines"
HEAVY = ("torch", "transformers", "spacy", "sklearn", "scipy", "prefect", "nltk", "sentence_transformers")


def unit_of(path: Path) -> str:
    """kdpipe/augment/mask.py -> "augment"; kdpipe/store.py -> "store"; flows/distill.py -> "flows"."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "flows" else parts[1]


def sources() -> list[Path]:
    return [p for p in sorted([*ROOT.glob("kdpipe/**/*.py"), *ROOT.glob("flows/*.py")])
            if p != ROOT / "kdpipe" / "__init__.py"]


def imported(tree: ast.AST) -> Iterator[str]:
    """Units of this project that a module imports anywhere, but not those that it names for its types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "kdpipe":
            yield from (alias.name for alias in node.names if not alias.name.startswith("__"))
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from project_unit(node.module)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from project_unit(alias.name)
        yield from imported(node)


def project_unit(module: str) -> list[str]:
    root, *inner = module.split(".")
    return ["flows"] if root == "flows" else inner[:1] if root == "kdpipe" else []


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downwards_only(path):
    unit = unit_of(path)
    assert unit in HEIGHT, f"{unit} has no place in LAYERS yet"
    for other in set(imported(ast.parse(path.read_text("utf-8")))) - {unit}:
        assert other in HEIGHT, f"{path} imports kdpipe.{other}, which has no place in LAYERS"
        assert HEIGHT[other] < HEIGHT[unit], f"{path}: {unit} may not import {other}"


def test_only_flows_and_up_know_prefect():
    knowing = {unit_of(p) for p in sources() if "prefect" in outside(ast.parse(p.read_text("utf-8")))}
    assert knowing == {"flows", "up"}


def test_only_the_warehouse_knows_duckdb():
    """readonly.py is its guard."""
    knowing = {unit_of(p) for p in sources() if "duckdb" in outside(ast.parse(p.read_text("utf-8")))}
    assert knowing <= {"readonly", "warehouse"}


def outside(tree: ast.AST) -> set[str]:
    """First names of all modules that are imported anywhere."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
    return found


def test_a_light_command_loads_nothing_heavy():
    light = ("types", "errors", "store", "resources", "progress", "tasks.load", "warehouse", "recipe", "cli", "up",
             "care.teachers", "care.compact", "care.drop", "care.carry", "care.verify", "care.repair")
    code = "import sys\n" + "".join(f"import kdpipe.{name}\n" for name in light)
    code += f"print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_recipe_is_checked_without_transformers():
    code = ("import sys; from kdpipe import recipe; recipe.load('tang2019', 'support');"
            "print([name for name in ('transformers', 'spacy', 'scipy', 'prefect') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
