"""TOML -> checked frozen recipe. Every fault is reported at once, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kdpipe import catalog, modelfolder
from kdpipe.checks import faults_of
from kdpipe.errors import UserError, did_you_mean
from kdpipe.resources import folder, is_file, is_folder, toml
from kdpipe.schema import Part, Phase, Recipe
from kdpipe.store import safe_name
from kdpipe.types import Task


def available() -> dict[str, str]:
    """Shipped recipes: name -> citation."""
    return {p.stem: _citation(p.read_text()) for p in sorted(folder("recipes").glob("*.toml"))}


def load(
    ref: str | Path,
    task: str | Path | None = None,
    seeds: Iterable[int] | None = None,
    overrides: Iterable[str] = (),
    teacher: str | None = None,
) -> Recipe:
    """A shipped recipe by name, or any TOML file, over a task.

    overrides: "student.train.epochs=3": phase, then keys, then a TOML value.
    teacher: a checkpoint that takes the place of the phase that is asked.
    Raises UserError with every fault that was found.
    """
    from kdpipe.tasks.load import load as load_task

    path = _find(ref)
    text, raw = _read(path)
    faults: list[str] = []
    for override in overrides:
        faults += _override(raw, override)
    if seeds is not None:
        raw["seeds"] = list(seeds)
    if teacher is not None:
        faults += _replace_teacher(raw, teacher)
    ref_task = task if task is not None else raw.get("task")
    if ref_task is not None and not isinstance(ref_task, str | Path):
        faults.append(f"{path.name} -> task: found {ref_task!r}; allowed: the name of a shipped task or a file")
        ref_task = None
    elif ref_task is None:
        faults.append(f'{path.name} -> task: missing; say task = "support" in the recipe or --task')
    faults += [f"{path.name}: unknown key '{key}'; it comes with {source}" for key, source in _NOT_SAID.items()
               if key in raw]
    try:
        loaded = load_task(ref_task) if ref_task is not None else None
    except UserError as e:
        loaded, faults = None, [*faults, *e.faults]
    said = {**raw, "name": safe_name(path.stem, "recipe"), "citation": _citation(text), "task": loaded or _NO_TASK}
    try:
        recipe = Recipe(**said)
    except ValidationError as e:
        wrong = [error for error in e.errors() if error["type"] != "too_short" or not error["input"]]
        faults += [_sentence(path, raw, error) for error in wrong]
        if any(error["type"] != "extra_forbidden" or len(error["loc"]) not in (1, 3) for error in wrong):
            raise UserError(faults) from None
        recipe = Recipe(**_without(said, [error["loc"] for error in wrong]))  # so that the other faults are told, too
    if loaded is not None:
        recipe = _filled(recipe)
    faults += faults_of(recipe, known_task=loaded is not None)
    if faults:
        raise UserError(list(dict.fromkeys(faults)))
    return recipe


def _filled(recipe: Recipe) -> Recipe:
    """The same recipe where a phase that goes on with another has its model, and an ensemble its members'."""
    phases: list[Phase] = []
    for phase in recipe.phase:
        earlier = {p.name: p for p in phases}
        if phase.start in earlier and phase.model is None:
            first = earlier[phase.start]
            said = {"model": first.model, "vocab": first.vocab}
            if "max_length" not in phase.model_fields_set and phase.max_length != first.max_length:
                said["max_length"] = first.max_length
            phase = phase.model_copy(update=said)
        elif phase.members and phase.model is None and all(m in earlier and earlier[m].model for m in phase.members):
            first = earlier[phase.members[0]]
            models = [recipe.model_part(earlier[m]).settings() for m in phase.members]
            inherited = {key: getattr(first, key) for key in ("vocab", "max_length")
                         if key not in phase.model_fields_set}
            phase = phase.model_copy(update={"model": Part(name="ensemble", arguments={"members": models}),
                                             **inherited})
        if phase.model is not None:
            phase = phase.model_copy(update={"model": _with_inherited(phase.model, earlier)})
        phases.append(phase)
    return recipe.model_copy(update={"phase": tuple(phases)})


def _with_inherited(model: Part, earlier: Mapping[str, Phase]) -> Part:
    """The same model with what it leaves unsaid of the arguments that it takes over from the phase it starts from."""
    name = model.arguments.get("from")
    first = earlier.get(name) if isinstance(name, str) else None
    if first is None or model.name not in catalog.names("models"):
        return model
    said = first.model.arguments if first.model else _of_folder(first.checkpoint)
    taken = {k: said[k] for k in catalog.find("models", model.name).inherits if k in said}
    return Part(name=model.name, arguments={**taken, **model.arguments})


def _of_folder(checkpoint: str | None) -> Mapping[str, Any]:
    """What the card of a brought model says of it; nothing where it has none or cannot be read, which others say."""
    try:
        return modelfolder.read_card(modelfolder.find(checkpoint)).model
    except (UserError, OSError):
        return {}


_NOT_SAID = {"name": "the file's name", "citation": "the file's first line"}
_NO_TASK = Task("?", "classification", ("a", "b"), ("accuracy",), {})


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        raw = toml(text)
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: not UTF-8 at byte {e.start}") from None
    except ValueError as e:
        raise UserError(f"{path}: not TOML: {e}") from None
    phases = raw.get("phase", [])
    if not isinstance(phases, list) or not all(isinstance(p, dict) for p in phases):
        raise UserError(f"{path}: 'phase' must be a list of tables; write [[phase]] with two brackets")
    return text, raw


def _find(ref: str | Path) -> Path:
    path = Path(ref)
    if path.suffix == ".toml" or is_file(path) or is_folder(path):
        if not is_file(path):
            raise UserError(f"{path}: no such recipe file")
        return path
    shipped = folder("recipes") / f"{ref}.toml"
    if "/" in str(ref) or not is_file(shipped):
        raise UserError(f"no recipe '{ref}'{did_you_mean(str(ref), available())}")
    return shipped


def _citation(text: str) -> str:
    first = text.split("\n", 1)[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _override(raw: dict, override: str) -> list[str]:
    """Apply "phase.key.key=value" to the raw recipe; faults."""
    dotted, equals, value = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        return [f"override '{override}': say phase.key=value, for example student.train.epochs=3"]
    try:
        parsed = toml(f"v = {value}")["v"]
    except ValueError:
        parsed = value
    phases = {str(p.get("name")): p for p in raw.get("phase", []) if isinstance(p, dict)}
    if keys == ["phase"]:
        return [f"override '{override}': a phase is changed by its name: {next(iter(phases), 'student')}.key=value"]
    if len(keys) == 1:
        raw[keys[0]] = parsed
        return []
    if keys[0] not in phases:
        return [f"override '{override}': no phase '{keys[0]}'{did_you_mean(keys[0], phases)}"]
    here = phases[keys[0]]
    for key in keys[1:-1]:
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            return [f"override '{override}': '{key}' holds a value, not a table"]
    here[keys[-1]] = parsed
    return []


def _replace_teacher(raw: dict[str, Any], checkpoint: str) -> list[str]:
    """Bring a checkpoint in the place of every phase that is asked, for answers, vectors or tokens, and that neither
    another taught nor gave layers, tokens or vectors: assistants, generations and small teachers stay; faults."""
    phases = raw.get("phase", [])
    parts = [p.get(key) for p in phases for key in ("embeddings", "vocab", "model")]
    asked = {name for p in phases for name in (p.get("teacher"), *_listed(p.get("teachers")))}
    asked |= {p.get("from") for p in parts if isinstance(p, dict)} - {None}
    names = {p.get("name") for p in phases if not any(p.get(key) for key in ("teacher", "teachers", "members"))
             and not any(isinstance(p.get(k), dict) and p[k].get("from") for k in ("model", "vocab", "embeddings"))}
    names &= asked
    if not names:
        return [f"--teacher {checkpoint}: no phase of this recipe asks a teacher"]
    kept = ("name", "label_names", "max_length", "compute", "states")
    raw["phase"] = [
        {**{k: p[k] for k in kept if k in p}, "checkpoint": checkpoint} if p.get("name") in names else p for p in phases
    ]
    return []


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _without(raw: dict[str, Any], keys: Iterable[tuple[str | int, ...]]) -> dict[str, Any]:
    """A copy that lacks some keys, each by the way to it."""
    copied = {**raw, "phase": deepcopy(raw["phase"])}
    for *way, last in keys:
        here = copied
        for key in way:
            here = here[key]
        here.pop(last, None)
    return copied


def _sentence(path: Path, raw: dict, error: Any) -> str:
    """One pydantic error as "tang2019.toml -> student -> augment[0]: ..."."""
    where, here = [path.name], raw
    for key in error["loc"]:
        here = _step(here, key)
        if isinstance(key, int):
            name = here.get("name") if isinstance(here, dict) and where[-1] == "phase" else None
            where[-1] = str(name) if name else f"{where[-1]}[{key}]"
        else:
            where.append(str(key))
    found = "" if error["type"] == "missing" else f"found {error['input']!r}; "
    hint = ""
    if error["type"] == "extra_forbidden":
        known = Phase.model_fields if len(where) > 2 else Recipe.model_fields
        hint = did_you_mean(str(error["loc"][-1]), set(known) - {"citation"})
        return f"{' -> '.join(where[:-1])}: unknown key '{error['loc'][-1]}'{hint}"
    said = _PLAINLY.get(error["type"]) or error["msg"][0].lower() + error["msg"][1:]
    return f"{' -> '.join(where)}: {found}{said}"


_PLAINLY = {  # pydantic's kind of fault -> what is allowed
    "tuple_type": "allowed: a list, with square brackets",
    "model_type": 'allowed: a name, or a table such as { name = "hard" }',
    "too_short": "allowed: one or more",
    "byte_size": 'allowed: a number of bytes, or text such as "2 GiB"',
    "byte_size_unit": 'allowed: a number of bytes, or text such as "2 GiB"',
}


def _step(here: Any, key: Any) -> Any:
    try:
        return here[key]
    except (KeyError, IndexError, TypeError):
        return None
