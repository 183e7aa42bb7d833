"""TOML -> checked frozen recipe. Every fault is reported at once, before anything runs."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from kdpipe import catalog, transfer
from kdpipe.errors import UserError, did_you_mean
from kdpipe.resources import folder
from kdpipe.store import safe_name
from kdpipe.types import Round, Task


class Part(BaseModel):
    """`{ name = "mask", p = 0.1 }`: a file of a room and its constructor's arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, **self.arguments}

    def without(self, key: str) -> Part:
        """The same part less an argument that the pipeline reads itself."""
        return Part(name=self.name, arguments={k: v for k, v in self.arguments.items() if k != key})


def _part(value: object) -> object:
    if isinstance(value, str):
        return Part(name=value)
    if isinstance(value, Mapping) and "name" in value:
        return {"name": value["name"], "arguments": {k: v for k, v in value.items() if k != "name"}}
    return value


APart = Annotated[Part, BeforeValidator(_part)]


class Phase(BaseModel):
    """One training of one model, or one model that is brought (`checkpoint`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    checkpoint: str | None = None  # a finished model: a folder or a Hugging Face name
    label_names: tuple[str, ...] | None = None  # what the checkpoint's outputs mean, in its own order
    teacher: str | None = None  # the phase that is asked
    model: APart | None = None
    vocab: APart | None = None
    embeddings: APart | None = None
    augment: tuple[APart, ...] = ()
    unlabelled: tuple[str, ...] = ()
    augment_seed: Annotated[int, Field(ge=0)] = 0
    tagger: str = "kdpipe"
    loss: Annotated[tuple[APart, ...], Field(min_length=1)] = (Part(name="hard"),)
    train: dict[str, Any] = Field(default_factory=dict)
    # a phase with a seed of its own is trained once and shared by all seeds of the recipe
    seed: Annotated[int, Field(ge=0)] | None = None
    max_length: Annotated[int, Field(ge=3, le=100_000)] = 128
    compute: Literal["auto", "fp32", "int8"] = "auto"  # what it answers in when it is asked (kdpipe.signals.live)

    def operators(self) -> list[dict[str, Any]]:
        return [part.settings() for part in self.augment]


class Recipe(BaseModel):
    """One published method over one task."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    name: str
    citation: str
    task: Task
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    phase: Annotated[tuple[Phase, ...], Field(min_length=1)]

    def named(self, name: str) -> Phase:
        return next(p for p in self.phase if p.name == name)

    @property
    def final(self) -> Phase:
        """The phase whose model the recipe is about: the last."""
        return self.phase[-1]

    def embeddings_from(self, phase: Phase) -> str | None:
        """The phase whose model gives the token vectors: `from`, else the teacher, else the first phase."""
        if phase.embeddings is None or not catalog.find("embeddings", phase.embeddings.name).needs_teacher:
            return None
        return phase.embeddings.arguments.get("from") or phase.teacher or self.phase[0].name


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
    try:
        loaded = load_task(ref_task) if ref_task is not None else None
        if loaded is None:
            faults.append(f'{path.name} -> task: missing; say task = "support" in the recipe or --task')
    except UserError as e:
        loaded, faults = None, [*faults, *e.faults]
    try:
        recipe = Recipe(
            **{**raw, "name": safe_name(path.stem, "recipe"), "citation": _citation(text), "task": loaded or _NO_TASK}
        )
    except ValidationError as e:
        raise UserError([*faults, *(_sentence(path, raw, error) for error in e.errors())]) from None
    faults += _check(recipe, known_task=loaded is not None)
    if faults:
        raise UserError(list(dict.fromkeys(faults)))
    return recipe


_NO_TASK = Task("?", "classification", ("a", "b"), ("accuracy",), {})


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: not UTF-8 at byte {e.start}") from None
    except tomllib.TOMLDecodeError as e:
        raise UserError(f"{path}: not TOML: {e}") from None
    phases = raw.get("phase", [])
    if not isinstance(phases, list) or not all(isinstance(p, dict) for p in phases):
        raise UserError(f"{path}: 'phase' must be a list of tables; write [[phase]] with two brackets")
    return text, raw


def _find(ref: str | Path) -> Path:
    path = Path(ref)
    if path.suffix == ".toml" or path.exists():
        if not path.is_file():
            raise UserError(f"{path}: no such recipe file")
        return path
    shipped = folder("recipes") / f"{ref}.toml"
    if "/" in str(ref) or not shipped.is_file():
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
        parsed = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        parsed = value
    phases = {p.get("name"): p for p in raw.get("phase", []) if isinstance(p, dict)}
    if len(keys) == 1:
        raw[keys[0]] = parsed
        return []
    if keys[0] not in phases:
        return [f"override '{override}': no phase '{keys[0]}'{did_you_mean(keys[0], [str(k) for k in phases])}"]
    here = phases[keys[0]]
    for key in keys[1:-1]:
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            return [f"override '{override}': '{key}' holds a value, not a table"]
    here[keys[-1]] = parsed
    return []


def _replace_teacher(raw: dict[str, Any], checkpoint: str) -> list[str]:
    """Bring a checkpoint in the place of every phase that is asked, for answers, vectors or tokens; faults."""
    phases = raw.get("phase", [])
    parts = [p.get(key) for p in phases for key in ("embeddings", "vocab")]
    asked = {p.get("teacher") for p in phases} | {p.get("from") for p in parts if isinstance(p, dict)} - {None}
    names = {p.get("name") for p in phases} & asked
    if not names:
        return [f"--teacher {checkpoint}: no phase of this recipe asks a teacher"]
    kept = ("name", "label_names", "max_length", "compute")
    raw["phase"] = [
        {**{k: p[k] for k in kept if k in p}, "checkpoint": checkpoint} if p.get("name") in names else p for p in phases
    ]
    return []


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
    return f"{' -> '.join(where)}: {found}{error['msg'][0].lower()}{error['msg'][1:]}"


def _step(here: Any, key: Any) -> Any:
    try:
        return here[key]
    except (KeyError, IndexError, TypeError):
        return None


def transfer_settings(phase: Phase) -> dict[str, Any]:
    """A phase's arguments for `transfer.key` and `transfer.build`."""
    return {
        "operators": phase.operators(),
        "unlabelled": [Path(p) for p in phase.unlabelled],
        "seed": phase.augment_seed,
        "where": Round(),
        "tagger": phase.tagger,
    }


# ---- what pydantic cannot know: names, references, arguments of parts


def _check(recipe: Recipe, known_task: bool) -> list[str]:
    faults, earlier = [], []
    for phase in recipe.phase:
        where = f"{recipe.name} -> {phase.name}"
        faults += _check_references(where, phase, earlier)
        faults += _check_parts(where, recipe, phase, earlier, known_task)
        faults += _check_settings(where, phase)
        if phase.compute != "auto" and phase.name not in {later.teacher for later in recipe.phase}:
            faults.append(f"{where} -> compute: '{phase.compute}' is for a phase that another one asks as its teacher")
        earlier.append(phase.name)
    if len(set(earlier)) < len(earlier):
        faults.append(f"{recipe.name}: two phases have one name: {', '.join(earlier)}")
    if len(set(recipe.seeds)) < len(recipe.seeds):
        faults.append(f"{recipe.name} -> seeds: {list(recipe.seeds)} says one seed twice")
    if recipe.final.seed is not None and len(recipe.seeds) > 1:
        faults.append(f"{recipe.name} -> {recipe.final.name} -> seed: the last phase takes its seeds from 'seeds'")
    return faults


def _check_references(where: str, phase: Phase, earlier: list[str]) -> list[str]:
    faults = []
    try:
        safe_name(phase.name, "phase")
    except UserError as e:
        faults += e.faults
    named = {"teacher": phase.teacher, "embeddings -> from": (phase.embeddings or Part(name="")).arguments.get("from")}
    for key, name in named.items():
        if name is not None and name not in earlier:
            faults.append(f"{where} -> {key}: no earlier phase '{name}'{did_you_mean(str(name), earlier)}")
    if phase.embeddings is not None and phase.embeddings.name in catalog.names("embeddings"):
        if catalog.find("embeddings", phase.embeddings.name).needs_teacher and not earlier:
            faults.append(f"{where} -> embeddings: '{phase.embeddings.name}' takes vectors from an earlier phase")
        path = phase.embeddings.arguments.get("path")
        if path is not None and not Path(str(path)).is_file():
            faults.append(f"{where} -> embeddings -> path: no file {path}")
    if phase.checkpoint is None and phase.model is None:
        faults.append(f"{where}: needs a model (to train) or a checkpoint (to bring)")
    if phase.checkpoint is not None and (phase.model or phase.teacher or phase.augment):
        faults.append(f"{where}: a brought checkpoint is not trained; take model, teacher and augment away")
    if phase.teacher is None and (phase.augment or phase.unlabelled):
        faults.append(f"{where}: made and unlabelled rows need a teacher to label them")
    return faults


def _check_parts(where: str, recipe: Recipe, phase: Phase, earlier: list[str], known_task: bool) -> list[str]:
    faults = []
    if phase.model is not None:
        faults += _check_model(f"{where} -> model", recipe, phase.model, known_task)
    if phase.vocab is not None:
        faults += _check_vocab(f"{where} -> vocab", phase, earlier)
    if phase.embeddings is not None:
        faults += _check_part(f"{where} -> embeddings", "embeddings", phase.embeddings, extra={"from"}, make=True)
    for i, part in enumerate(phase.augment):
        faults += _check_part(f"{where} -> augment[{i}]", "augment", part, make=True)
    if known_task and not faults and (phase.augment or phase.unlabelled):
        faults += _try(where, lambda: transfer.key(recipe.task, **transfer_settings(phase)))
    for i, part in enumerate(phase.loss):
        here = f"{where} -> loss[{i}]"
        faults += _check_part(here, "objectives", part, extra={"weight"}, make=True)
        faults += _check_loss(here, recipe, phase, part, known_task)
    return faults


def _check_model(where: str, recipe: Recipe, part: Part, known_task: bool) -> list[str]:
    """Names of arguments, and their values by building the network without memory; a checkpoint is read by the run."""
    faults = _check_part(where, "models", part)
    if faults or not known_task or "checkpoint" in str(part.arguments):
        return faults
    import torch

    found = catalog.find("models", part.name)
    with torch.device("meta"):
        return _try(where, lambda: found(vocab_size=3, outputs=recipe.task.outputs, vectors=None, **part.arguments))


def _check_part(where: str, room: str, part: Part, extra: Iterable[str] = (), make: bool = False) -> list[str]:
    try:
        found = catalog.find(room, part.name)
    except UserError as e:
        return [f"{where}: {fault}" for fault in e.faults]
    given_by_pipeline = getattr(__import__(f"kdpipe.{room}", fromlist=["PIPELINE"]), "PIPELINE", frozenset())
    allowed = catalog.arguments(found, given_by_pipeline)
    given = {k: v for k, v in part.arguments.items() if k not in extra}
    faults = [
        f"{where}: '{part.name}' has no argument '{k}'{did_you_mean(k, allowed)}" for k in given if k not in allowed
    ]
    faults += [
        f"{where}: '{part.name}' needs the argument '{name}'"
        for name, p in allowed.items()
        if p.default is p.empty and p.kind is not p.VAR_POSITIONAL and name not in given
    ]
    if make and not faults:
        faults += _try(where, lambda: found(**given))
    return faults


def _check_vocab(where: str, phase: Phase, earlier: list[str]) -> list[str]:
    part = phase.vocab
    if part.name not in catalog.names("vocab"):
        return [f"{where}: no vocabulary '{part.name}'{did_you_mean(part.name, catalog.names('vocab'))}"]
    found = catalog.find("vocab", part.name)
    allowed = {*inspect.signature(found.build).parameters, "from"} - {"texts", "packed"}
    faults = [
        f"{where}: '{part.name}' has no argument '{k}'{did_you_mean(k, allowed)}"
        for k in part.arguments
        if k not in allowed
    ]
    asked = part.arguments.get("from")
    if asked is not None and len(part.arguments) > 1:
        faults.append(f"{where}: the tokens come from '{asked}'; take {', '.join(set(part.arguments) - {'from'})} away")
    if asked is not None and asked not in earlier:
        faults.append(f"{where} -> from: no earlier phase '{asked}'{did_you_mean(str(asked), earlier)}")
    elif asked is not None and not hasattr(found, "from_checkpoint"):
        faults.append(f"{where} -> from: '{part.name}' is built from text; a teacher gives 'wordpieces'")
    if phase.model is not None and phase.model.name in catalog.names("models"):
        reads = catalog.find("models", phase.model.name).reads
        if part.name not in reads:
            faults.append(f"{where}: '{phase.model.name}' cannot read '{part.name}'; it reads {', '.join(reads)}")
    return faults


def _check_loss(where: str, recipe: Recipe, phase: Phase, part: Part, known_task: bool) -> list[str]:
    from kdpipe.schedules import as_schedule

    faults = _try(f"{where} -> weight", lambda: as_schedule(part.arguments.get("weight", 1.0)))
    if part.name not in catalog.names("objectives"):
        return faults
    objective = catalog.find("objectives", part.name)
    try:
        needs = objective(**part.without("weight").arguments).needs
    except (UserError, TypeError, ValueError):  # said by _check_part
        needs = objective.needs
    if needs and phase.teacher is None:
        faults.append(
            f"{where}: '{part.name}' reads a teacher's {', '.join(sorted(needs))}; name one: teacher = \"...\""
        )
    if known_task and recipe.task.kind not in objective.kinds:
        faults.append(f"{where}: '{part.name}' is not defined for {recipe.task.kind} (task '{recipe.task.name}')")
    return faults


def _check_settings(where: str, phase: Phase) -> list[str]:
    from kdpipe.settings import Settings

    known = {f.name for f in fields(Settings)}
    unknown = [k for k in phase.train if k not in known]
    if unknown:
        return [f"{where} -> train: unknown key '{k}'{did_you_mean(k, known)}" for k in unknown]
    return _try(f"{where} -> train", lambda: Settings(**phase.train))


def _try(where: str, make: Any) -> list[str]:
    try:
        make()
    except UserError as e:
        return [f"{where}: {fault}" for fault in e.faults]
    except (TypeError, ValueError) as e:
        return [f"{where}: {e}"]
    return []
