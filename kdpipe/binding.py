"""A phase's networks as shapes, and its loss terms bound to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kdpipe import catalog, modelfolder
from kdpipe.errors import UserError
from kdpipe.schedules import as_schedule
from kdpipe.schema import Part, Phase, Recipe
from kdpipe.types import Shape

if TYPE_CHECKING:
    from kdpipe.train import Term

_SOME = 3  # tokens of a vocabulary that is not there yet: no shape depends on how many there are


def shape_of(recipe: Recipe, phase: Phase) -> Shape:
    """What is known of a phase's network before it is there. Raises UserError for arguments that cannot be."""
    if phase.checkpoint is not None:
        return modelfolder.shape(modelfolder.find(phase.checkpoint), recipe.task.outputs)
    part = recipe.model_part(phase)
    return _shape(recipe, part.name, part.arguments)


def _shape(recipe: Recipe, name: str, arguments: Mapping[str, Any]) -> Shape:
    part, outputs = catalog.find("models", name), recipe.task.outputs
    if "from" in arguments:
        first = shape_of(recipe, recipe.named(arguments["from"]))
        return part.started(first, outputs, **{k: v for k, v in arguments.items() if k != "from"})
    return part.shape_for(vocab_size=_SOME, outputs=outputs, **found(arguments))


def found(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments with every checkpoint, an encoder's too, as a folder of this machine."""
    return {
        k: str(modelfolder.find(v)) if k == "checkpoint" and v else found(v) if isinstance(v, dict) else v
        for k, v in arguments.items()
    }


def teacher_shape(recipe: Recipe, phase: Phase) -> Shape | None:
    """The shape of the one teacher; several can say logits alone together."""
    shapes = [shape_of(recipe, recipe.named(name)) for name in phase.asks]
    if len(shapes) > 1:
        return replace(shapes[0], gives=frozenset({"logits"}), outputs=min(shape.outputs for shape in shapes))
    return shapes[0] if shapes else None


def bind(recipe: Recipe, phase: Phase, only: Collection[int] | None = None) -> list[Term]:
    """The loss terms of a phase, ready for its networks; only: the places of those that are wanted, None for all.

    Raises UserError with every fault.
    """
    from kdpipe.train import Term

    student, teacher = shape_of(recipe, phase), teacher_shape(recipe, phase)
    terms, faults = [], []
    for i, part in enumerate(phase.loss):
        if only is not None and i not in only:
            continue
        try:
            objective = catalog.find("objectives", part.name)(**part.without("weight").arguments)
            if unfit := _unfit(recipe, phase, part, objective, student, teacher):
                raise UserError(unfit)
            objective.bind(student, teacher)
            terms.append(Term(objective, as_schedule(part.arguments.get("weight", 1.0))))
        except UserError as e:
            faults += [f"loss[{i}]: {fault}" for fault in e.faults]
    if faults:
        raise UserError(faults)
    return terms


def _unfit(recipe: Recipe, phase: Phase, part: Part, objective: Any, student: Shape, teacher: Shape | None
           ) -> list[str]:
    """Why two networks cannot be held against each other by an objective, before any layer is named."""
    faults = []
    if lacking := objective.reads - student.gives:
        faults.append(f"'{part.name}' reads the student's {', '.join(sorted(lacking))}; "
                      f"'{recipe.model_part(phase).name}' says {', '.join(sorted(student.gives))}")
    gives = frozenset() if teacher is None else teacher.gives | (_SLOPES if "vectors" in teacher.gives else frozenset())
    if teacher is not None and not teacher.outputs and "logits" in objective.needs:
        headless = [name for name in phase.asks if not shape_of(recipe, recipe.named(name)).outputs]
        faults.append(f"'{part.name}' reads the teacher's logits, and {headless[0]} has no classification head; "
                      'fine-tune it first: give that phase model = { name = "bert", checkpoint = "..." } instead of '
                      "checkpoint")
    elif teacher is not None and (lacking := objective.needs - gives):
        faults.append(f"'{part.name}' reads the teacher's {', '.join(sorted(lacking))}; "
                      f"{' and '.join(phase.asks)} say{'s' if len(phase.asks) == 1 else ''} "
                      f"{', '.join(sorted(gives - {'vectors'}))}")
    if _SLOPES & objective.needs and any(recipe.named(name).compute == "int8" for name in phase.asks):
        faults.append(f"'{part.name}' reads the slope of the teacher's answer, which int8 has not; take "
                      'compute = "fp32"')
    if objective.aligned and teacher is not None:
        faults += [f"'{part.name}' holds token against token: {fault}" for fault in _not_aligned(recipe, phase)]
    return faults


_SLOPES = frozenset({"gradient", "saliency"})


def _not_aligned(recipe: Recipe, phase: Phase) -> list[str]:
    """Why a student's tokens are not its teacher's, as far as a recipe says it."""
    part, asked = recipe.model_part(phase), recipe.named(phase.asks[0])
    kind, its = (_kind_of_tokens(p) for p in (phase, asked))
    take, faults = f'take vocab = {{ name = "wordpieces", from = "{asked.name}" }}', []
    if catalog.find("models", part.name).segments > 1:
        faults.append(f"'{part.name}' reads the texts of a pair apart, the teacher both in one; take model 'bert'")
    if its != "wordpieces":
        faults.append(f"the teacher's '{its}' are its own; take vocab = {{ name = \"wordpieces\" }} for "
                      f"{asked.name}, too")
    if kind != "wordpieces":
        faults.append(f"'{kind}' are not the teacher's tokens; {take}")
    elif its == kind and (_tokens_of(recipe, phase) is None) != (_tokens_of(recipe, asked) is None):
        faults.append(f"one vocabulary is built from text, the other comes with a checkpoint; {take}")
    if phase.max_length != asked.max_length and not asked.checkpoint:
        faults.append(f"max_length = {phase.max_length}, of {asked.name} {asked.max_length}; make them equal")
    return faults


def tokens_of(recipe: Recipe, phase: Phase) -> str:
    """What a phase's network reads, in words: two that read the same tokens have the same words."""
    kind, source = _kind_of_tokens(phase), _tokens_of(recipe, phase)
    said = phase.vocab.without("from").arguments if phase.vocab else {}
    return " ".join([f"'{kind}'", *(f"{k} = {v!r}" for k, v in sorted(said.items())),
                     f"of {source}" if source else "built from text"])


def _kind_of_tokens(phase: Phase) -> str:
    if phase.checkpoint is not None:
        return "wordpieces"  # as far as a recipe says it
    return phase.vocab.name if phase.vocab else catalog.find("models", phase.model.name).reads[0]


def _tokens_of(recipe: Recipe, phase: Phase) -> str | None:
    """The checkpoint that a phase's tokens come with; None where they are built from text."""
    if phase.checkpoint is not None:
        return phase.checkpoint
    said = phase.vocab.arguments if phase.vocab else phase.model.arguments
    if "from" in said:
        return _tokens_of(recipe, recipe.named(said["from"]))
    return None if phase.vocab else said.get("checkpoint")
