"""What a recipe may say, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field

from kdpipe import catalog
from kdpipe.leaks import LEAST, NEAR
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


Seed = Annotated[int, Field(ge=0, lt=2**63)]
APart = Annotated[Part, BeforeValidator(_part)]


class Phase(BaseModel):
    """One training of one model, or one model that is brought (`checkpoint`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    checkpoint: str | None = None  # a finished model: a folder or a Hugging Face name
    label_names: tuple[str, ...] | None = None  # what the checkpoint's outputs mean, in its own order
    teacher: str | None = None  # the phase that is asked
    teachers: tuple[str, ...] = ()  # several phases that are asked
    combine: APart = Part(name="mean")  # what several teachers say together (kdpipe.signals.combine)
    start: str | None = None  # the phase whose trained model this one goes on with
    members: tuple[str, ...] = ()  # the phases whose models this one is the ensemble of; nothing is trained
    model: APart | None = None
    vocab: APart | None = None
    embeddings: APart | None = None
    augment: tuple[APart, ...] = ()
    unlabelled: tuple[str, ...] = ()
    augment_seed: Seed = 0
    near: Annotated[float, Field(ge=LEAST, le=1)] | Literal[False] = NEAR  # to dev or test: rows that are kept out
    tagger: str = "kdpipe"
    share: Annotated[float, Field(gt=0, le=1)] = 1.0  # of its rows that it learns from; larger shares hold smaller ones
    loss: Annotated[tuple[APart, ...], Field(min_length=1)] = (Part(name="hard"),)
    train: dict[str, Any] = Field(default_factory=dict)
    # a phase with a seed of its own is trained once and shared by all seeds of the recipe
    seed: Seed | None = None
    max_length: Annotated[int, Field(ge=3, le=100_000)] = 128
    compute: Literal["auto", "fp32", "int8"] = "auto"  # what it answers in when it is asked (kdpipe.signals.live)
    states: Literal["fp16", "fp32"] = "fp16"  # what its states are kept in when it is asked

    @property
    def asks(self) -> tuple[str, ...]:
        """The phases that are asked: one teacher, several, or none."""
        return self.teachers or ((self.teacher,) if self.teacher else ())

    def operators(self) -> list[dict[str, Any]]:
        return [part.settings() for part in self.augment]


class Recipe(BaseModel):
    """One published method over one task."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    name: str
    citation: str
    task: Task
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    # the most that a phase may keep of its teacher's hidden states and attention; beyond it, the teacher is asked live
    budget: ByteSize = ByteSize(2 * 2**30)
    phase: Annotated[tuple[Phase, ...], Field(min_length=1)]

    def named(self, name: str) -> Phase:
        return next(p for p in self.phase if p.name == name)

    def model_part(self, phase: Phase) -> Part:
        """The phase's model; on pairs, a model that reads one text is put inside the one that it names for them."""
        part = catalog.find("models", phase.model.name)
        if self.task.pair and part.segments == 1 and not part.packs_pairs:
            head = {k: v for k, v in phase.model.arguments.items() if k in ("fc", "dropout")}
            return Part(name=part.on_pairs, arguments={"encoder": phase.model.settings(), **head})
        return phase.model

    @property
    def final(self) -> Phase:
        """The phase whose model the recipe is about: the last."""
        return self.phase[-1]

    def embeddings_from(self, phase: Phase) -> str | None:
        """The phase whose model gives the token vectors: `from`, else the teacher, else the first phase."""
        if phase.embeddings is None or not catalog.find("embeddings", phase.embeddings.name).needs_teacher:
            return None
        return phase.embeddings.arguments.get("from") or next(iter(phase.asks), self.phase[0].name)


def transfer_settings(phase: Phase) -> dict[str, Any]:
    """A phase's arguments for `transfer.key` and `transfer.build`."""
    return {
        "operators": phase.operators(),
        "unlabelled": [Path(p) for p in phase.unlabelled],
        "seed": phase.augment_seed,
        "where": Round(),
        "tagger": phase.tagger,
        "near": phase.near,
    }
