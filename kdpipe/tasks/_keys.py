"""The keys of a task file: which there are, of what type, and what is wrong with those of a user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from kdpipe import catalog
from kdpipe.errors import did_you_mean
from kdpipe.leaks import LEAST
from kdpipe.tasks import Reader
from kdpipe.types import Kind

Policy = Literal["refuse", "drop"]
_COLUMNS = ("text", "text_a", "text_b", "label", "columns")


class _Keys(BaseModel):
    """What a task file may say besides its reader's arguments."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    kind: Kind
    format: str
    folder: str = "."
    train: str
    dev: str
    test: str | None = None
    labels: list[str] | None = None
    names: dict[str, str] = Field(default_factory=dict)
    metrics: list[str] | None = None
    unknown_labels: Policy = "refuse"
    bad_rows: Policy = "refuse"
    near: Annotated[float, Field(ge=LEAST, le=1)] | None = None


class Faults(list[str]):
    """What is wrong with one task file."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def at(self, key: str, *sentences: str) -> None:
        self.extend(f"{self.path} -> {key}: {sentence}" for sentence in sentences)


def arguments(part: type[Reader] | None) -> dict[str, tuple[Any, Any]]:
    """What a task file may say of a reader: name -> (type, default)."""
    if part is None:
        return {}
    hints = get_type_hints(part.__init__)
    return {
        name: (hints[name], ... if p.default is p.empty else p.default) for name, p in catalog.arguments(part).items()
    }


def valid_keys(raw: Mapping[str, Any], part: type[Reader] | None, faults: Faults) -> dict[str, Any]:
    """The keys that are as they should be, with defaults; every other one becomes a fault."""
    extra = {"extra": "forbid" if part else "ignore"}  # without a reader nobody knows which keys are its arguments
    model = create_model("TaskFile", __base__=_Keys, __cls_kwargs__=extra, **arguments(part))
    wrong = set()
    try:
        model.model_validate(raw)
    except ValidationError as e:
        for error in e.errors(include_url=False):
            wrong.add(error["loc"][0])
            faults.at(*_sentence(error, model.model_fields))
    return {
        name: raw[name] if name in raw else f.get_default(call_default_factory=True)
        for name, f in model.model_fields.items()
        if name not in wrong
    }


_NEEDED = {
    "string_type": "a text in quotes is needed",
    "list_type": 'a list is needed, such as ["a", "b"]',
    "greater_than_equal": f"a similarity from {LEAST} to 1 is needed; 1 means copies alone",
    "less_than_equal": f"a similarity from {LEAST} to 1 is needed; 1 means copies alone",
    "dict_type": 'a table is needed, such as { 0 = "negative", 1 = "positive" }',
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-' only, beginning with a letter or digit",
}


def _sentence(error: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[str, str]:
    """A pydantic error as (key, plain sentence)."""
    key = "".join(f"[{part!r}]" if i else str(part) for i, part in enumerate(error["loc"]))
    if error["type"] == "missing":
        return key, "missing; every task file says it"
    if error["type"] == "extra_forbidden" and key in _COLUMNS:
        return key, "this format knows its own columns; take the key away"
    if error["type"] == "extra_forbidden":
        return key, f"no such key{did_you_mean(key, known)}"
    if error["type"] == "literal_error":
        allowed = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
        return key, f"found {error['input']!r}; allowed: {allowed}"
    return key, f"found {error['input']!r}; {_NEEDED.get(error['type'], error['msg'])}"
