"""What the pages ask, as SQL: every question can be shown as a text that `kdpipe sql` takes and that means the same."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode

from kdpipe.errors import UserError, did_you_mean

ROWS = 50  # on a page
PAGES = 100  # of them: DuckDB sorts all rows for later ones; a narrower filter or the SQL reaches further
_LONGEST = 1000  # characters that are searched for
_SHOWN = "run, split, id, text_a, text_b, label, target, prediction, score, confidence, error, is_right"
ORDERS = {
    "surest": ("surest first", "confidence desc nulls last, error desc nulls last, id, run, split"),
    "unsure": ("least sure first", "confidence nulls last, error nulls last, id, run, split"),
    "text": ("by text", "text_a, text_b, id, run, split"),
}
OUTCOMES = {"right": "is_right", "wrong": "not is_right"}
SIDES = {  # of two runs: what is said of the rows, and which they are
    "differ": ("they differ", "one.prediction <> two.prediction or one.score <> two.score"),
    "first": ("only the first is right", "one.is_right and not two.is_right"),
    "second": ("only the second is right", "two.is_right and not one.is_right"),
    "neither": ("both are wrong", "not one.is_right and not two.is_right"),
    "both": ("both are right", "one.is_right and two.is_right"),
}


class NotThere(UserError):
    """What was asked for is not in the store."""


@dataclass(frozen=True)
class Question:
    """A select with $names, and their values."""

    sql: str
    values: Mapping[str, object]

    @property
    def text(self) -> str:
        """The same with the values in their places."""
        return re.sub(r"\$(\w+)", lambda name: _literal(self.values[name[1]]), self.sql)


def _literal(value: object) -> str:
    if isinstance(value, bytes):
        return f"unhex('{value.hex()}')"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    return repr(value)


@dataclass(frozen=True)
class Choices:
    """What the store has to choose from."""

    runs: Mapping[str, Mapping[str, Any]]  # by id
    splits: Collection[str]
    slices: Mapping[str, Collection[str]]  # length, negation, unknown_words, saved -> values

    @property
    def tasks(self) -> list[str]:
        return sorted({run["task"] for run in self.runs.values()})

    @property
    def labels(self) -> list[str]:
        return sorted({label for run in self.runs.values() for label in run["labels"] or ()})

    def run(self, name: str) -> Mapping[str, Any]:
        """Raises NotThere for a run that the store has not."""
        if name not in self.runs:
            raise NotThere(f"no run '{name[:200]}' with predictions; the list of runs says which there are")
        return self.runs[name]


@dataclass(frozen=True)
class Filter:
    """Which predictions; None asks for all."""

    task: str | None = None
    run: str | None = None
    split: str | None = None
    label: str | None = None
    answer: str | None = None
    outcome: str | None = None
    low: float | None = None
    high: float | None = None
    length: str | None = None
    negation: str | None = None
    unknown_words: str | None = None
    saved: str | None = None
    text: str | None = None
    order: str = "surest"
    page: int = 1

    @classmethod
    def read(cls, said: Callable[[str], str], choices: Choices) -> Filter:
        """Of what a form says of each key, empty where it says nothing. Raises UserError for what cannot be."""
        if run := said("run"):
            choices.run(run)
        return cls(
            run=run or None,
            **{key: _one_of(key, said(key), allowed) for key, allowed in (
                ("task", choices.tasks), ("split", choices.splits), ("label", choices.labels),
                ("answer", choices.labels), ("outcome", OUTCOMES), *choices.slices.items())},
            low=_share("low", said("low")),
            high=_share("high", said("high")),
            text=searched(said("text")),
            order=_one_of("order", said("order"), ORDERS) or "surest",
            page=page(said("page")),
        )

    def conditions(self, without: Collection[str] = ()) -> tuple[list[str], dict[str, object]]:
        """SQL of each key that asks for something, and the values in it."""
        sql = {
            "task": "run in (select run from stg_runs where task = $task)",
            "run": "run = $run",
            "split": "split = $split",
            "label": "label = $label",
            "answer": "prediction = $answer",
            "outcome": OUTCOMES.get(self.outcome or "", ""),
            "low": "confidence >= $low::float",
            "high": "confidence <= $high::float",
            "length": "length = $length",
            "negation": "negation = $negation",
            "unknown_words": "unknown_words = $unknown_words",
            "saved": "list_contains(saved, $saved)",
            "text": "id in (select id from stg_texts where contains(text, lower($text)))",
        }
        asked = {key: getattr(self, key) for key in sql if key not in without and getattr(self, key) is not None}
        return [sql[key] for key in asked], {key: value for key, value in asked.items() if key != "outcome"}

    @property
    def query(self) -> str:
        """As it stands in an address."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return urlencode({key: value for key, value in said.items() if value != getattr(Filter, key)})

    def at(self, page: int) -> str:
        """The address of another page of the same rows."""
        return replace(self, page=page).query


def _one_of(key: str, value: str, allowed: Collection[str]) -> str | None:
    if value and value not in allowed:
        raise UserError(f"{key}: no '{value[:200]}'{did_you_mean(value[:200], allowed)}")
    return value or None


def _share(key: str, value: str) -> float | None:
    if not value.strip():
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise UserError(f"{key}: found '{value[:200]}'; a confidence is a number from 0 to 1")
    return number


def searched(value: str) -> str | None:
    """A text to look for. Raises UserError for one that cannot be looked for."""
    if len(value) > _LONGEST or "\0" in value:
        raise UserError(f"text: at most {_LONGEST} characters are searched for, and no null character")
    return value or None


def page(value: str) -> int:
    """Raises UserError for what is no page."""
    if not value:
        return 1
    if not value.isascii() or not value.isdigit() or len(value) > 9 or not 1 <= int(value) <= PAGES:
        raise UserError(f"page: found '{value[:200]}'; pages go from 1 to {PAGES}: narrow the filter, or copy the SQL")
    return int(value)


def row_id(value: str) -> bytes:
    """Raises UserError for what is no row id."""
    if not re.fullmatch(r"[0-9a-f]{32}", value):
        raise UserError(f"id: found '{value[:200]}'; a row id is 32 digits from 0 to f")
    return bytes.fromhex(value)


def _where(conditions: Collection[str]) -> str:
    joined = "\n    and ".join(conditions)
    return f"where {joined}\n" if conditions else ""


# ---- predictions


def predictions(asked: Filter) -> Question:
    """One page of them."""
    conditions, values = asked.conditions()
    end = f"order by {ORDERS[asked.order][1]}\nlimit {ROWS} offset {ROWS * (asked.page - 1)}"
    return Question(f"select {_SHOWN}\nfrom stg_sliced\n{_where(conditions)}{end}", values)


def totals(asked: Filter) -> Question:
    """How many there are, how often they are right and how sure."""
    conditions, values = asked.conditions()
    what = "count(*) as n, avg(is_right::integer) as accuracy, avg(confidence) as confidence, avg(error) as error"
    return Question(f"select {what}\nfrom stg_sliced\n{_where(conditions)}".rstrip(), values)


def texts(asked: Filter, ids: Collection[bytes] = ()) -> Question:
    """Every text of a filter once, or those of them that are named, with where it stands and its label."""
    conditions, values = asked.conditions()
    if ids:
        conditions, values = [*conditions, "list_contains($ids, id)"], values | {"ids": list(ids)}
    what = ", ".join(f"any_value({column}) as {name}" for column, name in (
        ("text_a", "text_a"), ("text_b", "text_b"), ("coalesce(label, target::varchar)", "label")))
    return Question(f"select id, split, {what}\nfrom stg_sliced\n{_where(conditions)}group by id, split\n"
                    "order by split, text_a, id", values)


# ---- two runs


def _once(conditions: Collection[str]) -> str:
    """A run's answers: equal texts with equal labels count once, as in the mart run_pairs."""
    return f"    select distinct on (split, id, label, target) *\n    from stg_sliced\n    {_where(conditions)}"


def _beside(asked: Filter, second: str, what: str, conditions: Collection[str] = ()) -> Question:
    """Of the rows that two runs answered, those that the filter lets through of the first run."""
    of_first, values = asked.conditions(without=("task", "outcome"))
    return Question(
        f"with\n\none as (\n\n{_once(of_first)}\n),\n\ntwo as (\n\n{_once(['run = $second'])}\n)\n\n"
        f"select\n    {what}\nfrom one\ninner join two\n    on one.split = two.split\n    and one.id = two.id\n"
        "    and one.label is not distinct from two.label\n    and one.target is not distinct from two.target\n"
        f"{_where(conditions)}", values | {"second": second})


def beside(asked: Filter, second: str, side: str | None) -> Question:
    """One page of the rows that two runs answered, those of which both are sure first."""
    what = ("one.split, one.id, one.text_a, one.text_b, one.label, one.target,\n    "
            + ",\n    ".join(f"{name}.prediction as answer_{i}, {name}.score as score_{i}, "
                             f"{name}.confidence as confidence_{i}, {name}.is_right as is_right_{i}"
                             for i, name in ((1, "one"), (2, "two"))))
    question = _beside(asked, second, what, [f"({SIDES[side][1]})"] if side else [])
    surest = "one.confidence + two.confidence desc nulls last, abs(one.score - two.score) desc"
    end = (f"order by {surest}, one.id, one.split, one.label, one.target\n"
           f"limit {ROWS} offset {ROWS * (asked.page - 1)}")
    return replace(question, sql=question.sql + end)


def sides(asked: Filter, second: str) -> Question:
    """Of the rows that two runs answered: how many each has right."""
    counts = [f"count(*) filter ({sql}) as {name}" for name, (_, sql) in SIDES.items()]
    question = _beside(asked, second, ",\n    ".join(["count(*) as n", *counts]))
    return replace(question, sql=question.sql.rstrip())


# ---- one row


def answers(run: Mapping[str, Any], split: str, id: bytes) -> Question:
    """What the runs of a run's task answered for one row: it, its teacher, and some hundred others."""
    return Question(
        "select distinct runs.run, runs.recipe, runs.role, runs.student, runs.seed, runs.is_latest,\n"
        "    answers.text_a, answers.text_b, answers.label, answers.target, answers.prediction, answers.score,\n"
        "    answers.confidence, answers.is_right, answers.length, answers.negation, answers.unknown_words,\n"
        "    answers.saved\n"
        "from stg_sliced as answers\ninner join stg_runs as runs\n    on answers.run = runs.run\n"
        "where answers.id = $id\n    and answers.split = $split\n    and runs.task_key = $task_key\n"
        "order by runs.run not in ($run, $teacher), runs.role desc, runs.is_latest desc,\n"
        "    runs.recipe, runs.seed, runs.run\nlimit 100",
        {"id": id, "split": split, "task_key": run["task_key"], "run": run["run"], "teacher": run["teacher_run"] or ""},
    )


def lineage(run: str, id: bytes) -> Question:
    """The training rows nearest to a row, what was made of them, and what the teacher said of each."""
    return Question(LINEAGE, {"run": run, "id": id})


LINEAGE = """
with

asked as (

    select
        runs.kind, runs.labels, runs.teacher, runs.transfer_set,
        near.rank, near.similarity, near.neighbour
    from stg_runs as runs
    inner join stg_neighbours as near
        on runs.task_key = near.task_key
    where runs.run = $run
        and near.id = $id

),

learned as materialized (

    select asked.*, made.id, made.text_a, made.text_b, made.label, made.operator, made.copy, made.round
    from asked
    inner join stg_transfer as made
        on asked.transfer_set = made.transfer_set
        and asked.neighbour = made.source

),

said as (

    select *
    from stg_signals
    where id in (select id from learned)

)

select
    learned.rank,
    learned.similarity,
    learned.operator,
    learned.copy,
    learned.round,
    learned.id,
    learned.text_a,
    learned.text_b,
    case
        when learned.kind = 'classification' then learned.labels[learned.label::integer + 1]
        else round(learned.label, 2)::varchar
    end as label,
    case
        when learned.kind = 'classification' then learned.labels[said.answer_index + 1]
        else round(said.logits[1], 2)::varchar
    end as teacher_answer,
    case when learned.kind = 'classification' then said.confidence end as teacher_confidence
from learned
left join said
    on learned.teacher = said.teacher
    and learned.id = said.id
order by learned.rank, learned.operator <> 'gold', learned.operator, learned.round, learned.copy, learned.id
limit 200
""".strip()
