"""Where the files that come along with the package lie, and looks at what a user names, which may be anything."""

import tomllib
from pathlib import Path
from typing import Any, Literal

STORE = "warehouse/store"  # where nobody named another
Name = Literal["data", "recipes", "flows", "warehouse"]

_BESIDE = {"data": "data", "recipes": "flows/recipes", "flows": "flows", "warehouse": "warehouse"}
_INSIDE = {**_BESIDE, "warehouse": "warehouse_sql"}  # kdpipe/warehouse is a module
_PACKAGE = Path(__file__).resolve().parent


def folder(name: Name) -> Path:
    """In an installed wheel the folder inside the package; in a checkout the one beside it."""
    inside = _PACKAGE / _INSIDE[name]
    return inside if inside.is_dir() else _PACKAGE.parent / _BESIDE[name]


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; a name that no file can have (too long, say) is none."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def is_folder(path: str | Path) -> bool:
    """Whether there is such a folder. Raises PermissionError where nobody may look."""
    try:
        return Path(path).is_dir()
    except PermissionError:
        raise
    except OSError:
        return False


def toml(text: str) -> dict[str, Any]:
    """What TOML says. Raises ValueError, also for numbers and depths that Python's parser does not read."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("too many brackets inside each other") from None
