"""The folder is the registry: the part "pkd" of the room "objectives" is the class in kdpipe/objectives/pkd.py."""

import importlib
import inspect
import pkgutil
from functools import cache

from kdpipe.errors import UserError, did_you_mean


@cache
def names(room: str) -> tuple[str, ...]:
    """All parts of a room, by file name. A file is a part unless its name begins with an underscore."""
    package = importlib.import_module(f"kdpipe.{room}")
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if _is_part(package, m.name)))


def _is_part(package, name: str) -> bool:
    return not name.startswith("_") and name not in getattr(package, "NOT_PARTS", ())


@cache
def find(room: str, name: str) -> type:
    """The class of a part. Raises UserError with the nearest name where there is no such part."""
    if name not in names(room):
        raise UserError(f"no {room.rstrip('s')} '{name}'{did_you_mean(name, names(room))}")
    package = importlib.import_module(f"kdpipe.{room}")
    module = importlib.import_module(f"kdpipe.{room}.{name}")
    parts = [
        c
        for c in vars(module).values()
        if inspect.isclass(c) and issubclass(c, package.PART) and c.__module__ == module.__name__
    ]
    if len(parts) != 1:
        raise TypeError(f"kdpipe/{room}/{name}.py must define exactly one {package.PART.__name__}, has {len(parts)}")
    return parts[0]


def arguments(part: type, given_by_pipeline: frozenset[str] = frozenset()) -> dict[str, inspect.Parameter]:
    """What a recipe may say of a part: its constructor's arguments less those that the pipeline gives."""
    parameters = list(inspect.signature(part.__init__).parameters.values())[1:]
    spread = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {p.name: p for p in parameters if p.name not in given_by_pipeline and p.kind not in spread}
