"""Where the files that come along with the package lie: shipped tasks, recipes, flows, SQL."""

from pathlib import Path
from typing import Literal

Name = Literal["data", "recipes", "flows", "warehouse"]

_BESIDE = {"data": "data", "recipes": "flows/recipes", "flows": "flows", "warehouse": "warehouse"}
_INSIDE = {**_BESIDE, "warehouse": "warehouse_sql"}  # kdpipe/warehouse is a module
_PACKAGE = Path(__file__).resolve().parent


def folder(name: Name) -> Path:
    """In an installed wheel the folder inside the package; in a checkout the one beside it."""
    inside = _PACKAGE / _INSIDE[name]
    return inside if inside.is_dir() else _PACKAGE.parent / _BESIDE[name]
