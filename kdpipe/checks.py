"""What a recipe's types cannot know: names, references, arguments of parts, what fits together. All faults at once."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import fields
from itertools import chain
from typing import Any

from kdpipe import catalog, transfer
from kdpipe.binding import bind, shape_of, tokens_of
from kdpipe.errors import UserError, did_you_mean
from kdpipe.resources import is_file
from kdpipe.schema import Part, Phase, Recipe, transfer_settings
from kdpipe.signals import combine
from kdpipe.store import safe_name


def faults_of(recipe: Recipe, known_task: bool) -> list[str]:
    """Everything that is wrong with a recipe. known_task: its task was found."""
    faults, earlier, whole = [], [], set()  # whole: phases whose network is known
    for phase in recipe.phase:
        where = f"{recipe.name} -> {phase.name}"
        found = [*_check_references(where, recipe, phase, earlier),
                 *_check_parts(where, recipe, phase, earlier, known_task)]
        going_on = _check_going_on(where, recipe, phase, earlier)
        terms = [_check_term(f"{where} -> loss[{i}]", recipe, phase, part, known_task)
                 for i, part in enumerate(phase.loss)]
        faults += [*found, *chain.from_iterable(terms), *_check_targets(where, phase), *_check_settings(where, phase),
                   *going_on]
        if known_task and not found and not going_on and whole.issuperset(_leans_on(phase)):
            unfit = _try(where, lambda phase=phase: shape_of(recipe, phase))
            whole |= set() if unfit else {phase.name}
            sound = [i for i, wrong in enumerate(terms) if not wrong]
            faults += unfit or _too_long(where, recipe, phase)
            if not unfit and phase.checkpoint is None and not phase.members:
                faults += _bound(where, recipe, phase, sound)
        for key, usual in (("compute", "auto"), ("states", "fp16")):
            if getattr(phase, key) != usual and not any(phase.name in later.asks for later in recipe.phase):
                faults.append(f"{where} -> {key}: '{getattr(phase, key)}' is for a phase that another one asks as its "
                              "teacher")
        earlier.append(phase.name)
    if known_task and recipe.final.checkpoint and recipe.final.name in whole and not shape_of(
            recipe, recipe.final).outputs:
        faults.append(f"{recipe.name} -> {recipe.final.name}: the last phase is what is evaluated, and this checkpoint "
                      "has no classification head")
    if len(set(earlier)) < len(earlier):
        faults.append(f"{recipe.name}: two phases have one name: {', '.join(earlier)}")
    if len(set(recipe.seeds)) < len(recipe.seeds):
        faults.append(f"{recipe.name} -> seeds: {list(recipe.seeds)} says one seed twice")
    if recipe.final.seed is not None and len(recipe.seeds) > 1:
        faults.append(f"{recipe.name} -> {recipe.final.name} -> seed: the last phase takes its seeds from 'seeds'")
    return faults


def _check_references(where: str, recipe: Recipe, phase: Phase, earlier: list[str]) -> list[str]:
    faults = []
    try:
        safe_name(phase.name, "phase")
    except UserError as e:
        faults += e.faults
    named = [("teacher", phase.teacher), ("start", phase.start)]
    named += [(f"{key} -> from", (getattr(phase, key) or Part(name="")).arguments.get("from"))
              for key in ("embeddings", "model")]
    named += [(f"{key}[{i}]", name) for key in ("teachers", "members") for i, name in enumerate(getattr(phase, key))]
    for key, name in named:
        if name is not None and name == phase.name:
            faults.append(f"{where} -> {key}: '{name}' names itself; an earlier phase is allowed: "
                          f"{', '.join(earlier) or 'there is none'}")
        elif name is not None and name not in earlier:
            faults.append(f"{where} -> {key}: no earlier phase '{name}'{did_you_mean(str(name), earlier)}")
    if phase.embeddings is not None and phase.embeddings.name in catalog.names("embeddings"):
        source = recipe.embeddings_from(phase)
        if source is not None and not earlier:
            faults.append(f"{where} -> embeddings: '{phase.embeddings.name}' takes vectors from an earlier phase")
        if source in earlier:
            its = recipe.named(source).model
            if its is not None and its.name in catalog.names("models") and not catalog.find("models", its.name).half:
                faults.append(f"{where} -> embeddings: vectors are read from a transformer's states, and '{source}' is "
                              f"a '{its.name}'; name another: embeddings = {{ name = \"{phase.embeddings.name}\", "
                              'from = "..." }')
        path = phase.embeddings.arguments.get("path")
        if path is not None and not is_file(str(path)):
            faults.append(f"{where} -> embeddings -> path: no file {path}")
    if phase.checkpoint is None and phase.model is None and not phase.start and not phase.members:
        faults.append(f"{where}: needs a model (to train), a start (to go on with) or a checkpoint (to bring)")
    if phase.checkpoint is not None and (phase.model or phase.asks or phase.augment or phase.start):
        faults.append(f"{where}: a brought checkpoint is not trained; take model, start, teacher and augment away")
    if phase.label_names and phase.checkpoint is None:
        faults.append(f"{where} -> label_names: is for a checkpoint that is brought; this one learns the task's")
    if phase.asks and (phase.augment or phase.unlabelled) and not _reads_teachers(phase):
        faults.append(f"{where} -> loss: made and unlabelled rows have no label, and no term reads what "
                      f"{' and '.join(phase.asks)} says of them; add one (kd, logit_mse, ...), or take them away")
    if not phase.asks and (phase.augment or phase.unlabelled):
        faults.append(f"{where}: made and unlabelled rows need a teacher to label them")
    if phase.teacher and phase.teachers:
        faults.append(f"{where}: says teacher and teachers; take one of them away")
    if len(phase.teachers) == 1:
        faults.append(f'{where} -> teachers: one teacher is said as teacher = "{phase.teachers[0]}"')
    if len(phase.teachers) < 2 and phase.combine != Part(name="mean"):
        faults.append(f"{where} -> combine: is for several teachers; name them: teachers = [...]")
    for key in ("teachers", "members"):
        if len(set(getattr(phase, key))) < len(getattr(phase, key)):
            faults.append(f"{where} -> {key}: {list(getattr(phase, key))} names one phase twice")
    return faults


def _reads_teachers(phase: Phase) -> bool:
    """Whether a term reads a teacher; one that is not known may."""
    return any(part.name not in catalog.names("objectives") or _needs(part) for part in phase.loss)


def _needs(part: Part) -> frozenset[str]:
    """What a term reads of a teacher; of one that cannot be made, what its kind reads."""
    objective = catalog.find("objectives", part.name)
    try:
        return objective(**part.without("weight").arguments).needs
    except (UserError, TypeError, ValueError):  # said by _check_part
        return objective.needs


def _check_going_on(where: str, recipe: Recipe, phase: Phase, earlier: list[str]) -> list[str]:
    """A phase that goes on with a trained model brings none of its own; an ensemble is made of trained ones."""
    faults = []
    if phase.start in earlier:
        first = recipe.named(phase.start)
        if first.model is None or first.members:
            faults.append(f"{where} -> start: '{phase.start}' is not trained here; take model = {{ name = \"bert\", "
                          f"from = \"{phase.start}\" }}")
        elif phase.model != first.model or phase.vocab != first.vocab or phase.embeddings is not None:
            faults.append(f"{where} -> start: goes on with the model of '{phase.start}'; take model, vocab and "
                          "embeddings away")
    if phase.seed is not None:
        faults += [f"{where} -> seed: is shared by all seeds, but needs the model of '{name}', which is not"
                   for name in earlier if name in _leans_on(phase)
                   and recipe.named(name).seed is None and recipe.named(name).checkpoint is None]
    if phase.members:
        faults += [f"{where} -> members: '{m}' is brought, not trained here" for m in phase.members
                   if m in earlier and recipe.named(m).checkpoint]
        lengths = {m: recipe.named(m).max_length for m in phase.members if m in earlier}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{n} of {m}" for m, n in lengths.items())
            faults.append(f"{where} -> members: max_length = {said}; make them equal")
        kinds = {m: tokens_of(recipe, recipe.named(m)) for m in phase.members if m in earlier}
        if len(set(kinds.values())) > 1:
            said = ", ".join(f"{m} reads {kind}" for m, kind in kinds.items())
            faults.append(f"{where} -> members: {said}; give them one vocabulary: "
                          'vocab = { name = "wordpieces", from = "..." }')
        first = recipe.named(phase.members[0]) if phase.members[0] in earlier else phase
        if phase.vocab != first.vocab or phase.max_length != first.max_length or phase.embeddings is not None:
            faults.append(f"{where} -> members: an ensemble reads what its members read; take vocab, max_length and "
                          "embeddings away")
        if len(phase.members) == 1:
            faults.append(f"{where} -> members: an ensemble needs two or more")
        if phase.asks or phase.start or phase.augment or phase.train:
            faults.append(f"{where}: an ensemble is not trained; take teacher, start, augment and train away")
    if len(phase.teachers) > 1:
        faults += _try(f"{where} -> combine", lambda: combine.way(
            phase.combine.name, phase.combine.arguments, len(phase.teachers), recipe.task.kind))
    return faults


def _too_long(where: str, recipe: Recipe, phase: Phase) -> list[str]:
    """Rows longer than a network can read; where nobody said a number, rows are taken as they come."""
    most = shape_of(recipe, phase).positions
    if most is None or "max_length" not in phase.model_fields_set or phase.max_length <= most:
        return []
    return [f"{where} -> max_length: {phase.max_length}, and the model reads at most {most} tokens of a row; take "
            f"max_length = {most} or less"]


def _leans_on(phase: Phase) -> set[str]:
    """The phases whose model must be there before this one is trained."""
    taken = (part.arguments.get("from") for part in (phase.model, phase.vocab, phase.embeddings) if part)
    return {name for name in (*phase.asks, *phase.members, phase.start, *taken) if isinstance(name, str)}


def _bound(where: str, recipe: Recipe, phase: Phase, sound: list[int]) -> list[str]:
    """Why terms of a phase, those that can be made, do not fit its networks."""
    import torch

    try:
        with torch.device("meta"):
            bind(recipe, phase, sound)
    except UserError as e:
        return [f"{where} -> {fault}" for fault in e.faults]  # each says of which term it is
    return []


def _check_targets(where: str, phase: Phase) -> list[str]:
    faults: list[str] = []
    drawn: dict[str, str] = {}
    for part in phase.loss:
        target = catalog.find("objectives", part.name).target if part.name in catalog.names("objectives") else None
        if target is not None and drawn.setdefault(target, part.name) != part.name:
            faults.append(f"{where} -> loss: '{drawn[target]}' and '{part.name}' draw the {target} to two different "
                          "values; take one of them")
    return faults


def _check_parts(where: str, recipe: Recipe, phase: Phase, earlier: list[str], known_task: bool) -> list[str]:
    faults = []
    if phase.model is not None:
        faults += _check_model(f"{where} -> model", recipe, phase.model, known_task)
    if phase.vocab is not None:
        faults += _check_vocab(f"{where} -> vocab", phase, earlier)
        if known_task and not faults and not phase.start:
            faults += _foreign_tokens(f"{where} -> vocab", recipe, phase)
    if phase.embeddings is not None:
        faults += _check_part(f"{where} -> embeddings", "embeddings", phase.embeddings, extra={"from"}, make=True)
        if phase.model is not None and phase.embeddings.name != "random" and _begins_elsewhere(phase.model.arguments):
            faults.append(f"{where} -> embeddings: the model begins with the token vectors of its checkpoint or phase; "
                          "take embeddings away")
    for i, part in enumerate(phase.augment):
        faults += _check_part(f"{where} -> augment[{i}]", "augment", part, make=True)
    if known_task and not faults and (phase.augment or phase.unlabelled):
        faults += _try(where, lambda: transfer.key(recipe.task, **transfer_settings(phase)))
    return faults


def _check_model(where: str, recipe: Recipe, part: Part, known_task: bool) -> list[str]:
    """Names and values of arguments; what a checkpoint says is read when the loss is bound to it."""
    faults = _check_part(where, "models", part, extra={"from"})
    faults += [f"{where} -> {key}: {part.arguments[key]!r}; allowed: text" for key in ("checkpoint", "from")
               if not isinstance(part.arguments.get(key, ""), str)]
    if faults or not known_task:
        return faults
    found = catalog.find("models", part.name)
    if found.segments > 1 and not recipe.task.pair:
        faults.append(f"{where}: '{part.name}' reads the two texts of a pair; a row of '{recipe.task.name}' has one")
    if _begins_elsewhere(part.arguments):
        return faults
    return faults + _try(where, lambda: found.shape_for(vocab_size=3, outputs=recipe.task.outputs, **part.arguments))


def _begins_elsewhere(arguments: Mapping[str, Any]) -> bool:
    """Whether a model, or the encoder inside it, starts from a checkpoint or another phase's model."""
    encoder = arguments.get("encoder")
    inside = isinstance(encoder, Mapping) and _begins_elsewhere(encoder)
    return inside or any(arguments.get(key) for key in ("checkpoint", "from"))


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


def _check_term(where: str, recipe: Recipe, phase: Phase, part: Part, known_task: bool) -> list[str]:
    faults = _check_part(where, "objectives", part, extra={"weight"}, make=True)
    faults += _try(f"{where} -> weight", lambda: _check_weight(part.arguments.get("weight", 1.0)))
    if part.name not in catalog.names("objectives"):
        return faults
    objective, needs = catalog.find("objectives", part.name), _needs(part)
    if needs and not phase.asks:
        faults.append(
            f"{where}: '{part.name}' reads a teacher's {', '.join(sorted(needs))}; name one: teacher = \"...\""
        )
    if known_task and recipe.task.kind not in objective.kinds:
        faults.append(f"{where}: '{part.name}' is not defined for {recipe.task.kind} (task '{recipe.task.name}')")
    return faults


def _foreign_tokens(where: str, recipe: Recipe, phase: Phase) -> list[str]:
    """Tokens that are not those of the vectors that a model begins with."""
    name = phase.model.arguments.get("from")
    if not _begins_elsewhere(phase.model.arguments) or (name and name not in [p.name for p in recipe.phase]):
        return []
    own, said = tokens_of(recipe, phase.model_copy(update={"vocab": None})), tokens_of(recipe, phase)
    return [] if own == said else [f"{where}: the model begins with vectors of {own}, and this is {said}; take vocab "
                                   "away"]


def _check_weight(said: object) -> None:
    from kdpipe.schedules import as_schedule, extremes

    least, most = extremes(as_schedule(said))
    if least < 0 or not most:
        raise UserError(f"{said!r} {'falls below 0' if least < 0 else 'is 0 throughout'}; allowed: 0 or more, and more "
                        "than 0 somewhere")


def _check_settings(where: str, phase: Phase) -> list[str]:
    from kdpipe.settings import Settings

    known = {f.name for f in fields(Settings)}
    said = {key: value for key, value in phase.train.items() if key in known}
    unknown = [key for key in phase.train if key not in known]
    return [*(f"{where} -> train: unknown key '{key}'{did_you_mean(key, known)}" for key in unknown),
            *_try(f"{where} -> train", lambda: Settings(**said))]


def _try(where: str, make: Any) -> list[str]:
    try:
        make()
    except UserError as e:
        return [f"{where}: {fault}" for fault in e.faults]
    except (TypeError, ValueError) as e:
        return [f"{where}: {e}"]
    return []
