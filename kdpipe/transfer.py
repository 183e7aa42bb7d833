"""The transfer set: gold rows, unlabelled rows and the rows that operators make, each with its lineage.

A set is written in one pass, in an order that depends on ids alone: gold rows, then unlabelled rows, sorted by id;
then operator after operator, copy after copy, made rows sorted by the id of their source. So it is the same, bit by
bit, for any order of the rows that go in and for any number of worker processes. Operators work on gold rows, each
on its own; what several shall do to one text is one operator (`tang`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import xxhash

from kdpipe import catalog
from kdpipe.augment import PIPELINE, Operator
from kdpipe.augment._spacy import SHIPPED, fingerprint
from kdpipe.augment._tokens import Tokenised
from kdpipe.errors import UserError, did_you_mean
from kdpipe.idset import halves
from kdpipe.leaks import LEAST, NEAR, Audit
from kdpipe.making import Intake, goal, make_all
from kdpipe.progress import bar
from kdpipe.store import Store
from kdpipe.tags import split_rows, tagged_rows
from kdpipe.tasks.load import read_unlabelled
from kdpipe.types import ROWS, TRANSFER, Round, Task, content_key, row_ids
from kdpipe.workers import cores

FORMAT = 1  # raised when the same settings no longer make the same rows
_MANY = 2_000_000  # made rows from which worker processes are worth starting

FIRST = Round()
_TEXTS = ["id", "text_a", "text_b"]

Specs = Sequence[Mapping[str, object]]  # operators as a recipe names them: {"name": "tang", "preset": "tang2019"}
Source = pa.Table | str | PathLike  # unlabelled text: rows of schema ROWS, or a file of sentences, one a line


def key(task: Task, operators: Specs = (), unlabelled: Sequence[Source] = (), seed: int = 0,
        where: Round = FIRST, tagger: str = SHIPPED, near: float | Literal[False] = NEAR) -> str:
    """The key of the set that `build` would make. Reads the task's ids and the bytes of unlabelled files, no more.

    Without operators neither seed, round nor tagger matter, and without rows besides gold ones `near` does not.
    Raises UserError as `build` does for its settings.
    """
    _check_near(near)
    settings = _settings(operators, operators_of(operators))
    drawn = [seed, where.index, fingerprint(tagger)] if operators else []
    kept_out = (near,) if operators or unlabelled else ()
    return content_key("transfer", FORMAT, task.key(), settings, drawn, _content(unlabelled), *kept_out)


def build(store: Store, task: Task, operators: Specs = (), unlabelled: Sequence[Source] = (), seed: int = 0,
          where: Round = FIRST, tagger: str = SHIPPED, near: float | Literal[False] = NEAR,
          workers: int | None = None) -> str:
    """Make a transfer set, unless the store has it whole; its key.

    Gold rows stay as they are. Of the others, those with the exact text of a dev or test row (as it stands, or with
    its words joined by spaces), those that are near one (kdpipe.leaks) and those that are already in the set are
    dropped and counted; copies and what is near are listed beside the set.
    near: the similarity from which rows are near, from 0.5 to 1; False: copies alone are looked for.
    workers: processes; by default one, and one for each core where there is much to make.
    Raises UserError: unknown operator, argument, preset or tagger; a number out of its bounds; a missing or
    unreadable file; unlabelled single texts for a task of pairs, or the reverse.
    """
    set_key = key(task, operators, unlabelled, seed, where, tagger, near)
    folder = store.transfer(set_key)
    if store.is_complete(folder):
        return set_key
    made_by, gold = operators_of(operators), _sorted(task.splits["train"])
    held_out = _held_out(task)
    intake = Intake(store, folder, Audit(held_out, near or None))
    intake.seen.add(halves(gold["id"]))
    _hold_out(intake, [halves(rows["id"]) for rows in held_out.values()])
    intake.write(_lineage(gold, "gold"))
    for source in unlabelled:
        intake.take(_lineage(_sorted(_unlabelled(source, task)), "unlabelled"))
    if made_by:
        _make(store, list(held_out.values()), gold, made_by, replace(where, seed=seed), tagger, workers, intake)
    intake.close()
    listed = intake.audit.table()
    if len(listed):
        store.write_part(store.leaks(set_key), listed)
    store.finish(folder, intake.parts, {
        "task": task.name,
        "task_key": task.key(),
        "operators": _settings(operators, made_by),
        "seed": seed,
        "round": where.index,
        "tagger": {"name": tagger, "fingerprint": fingerprint(tagger)} if made_by else None,
        "near": near,
        "counts": _counts(intake),
    })
    return set_key


def gold_leaks(task: Task, near: float | Literal[False] = NEAR) -> pa.Table:
    """The gold rows that are copies of dev or test rows, or near one, schema LEAKS: the task's own, which stay."""
    _check_near(near)
    held_out, gold = _held_out(task), _lineage(_sorted(task.splits["train"]), "gold")
    audit = Audit(held_out, near or None)
    if held_out:
        audit.hold_out(np.concatenate([halves(rows["id"]) for rows in held_out.values()]))
        audit.copies(gold, dropped=False)
        audit.near_ones(gold, dropped=False)
    return audit.table()


def read(store: Store, set_key: str, columns: list[str] | None = None) -> pa.Table:
    """A finished set, schema TRANSFER or some columns of it. Raises UserError where there is none."""
    facts(store, set_key)
    return store.read(store.transfer(set_key), columns)


@dataclass(frozen=True)
class Rows:
    """Rows to learn from. Ids and labels are in memory; texts are read part by part, as often as they are asked for."""

    ids: pa.ChunkedArray  # [n]
    labels: np.ndarray  # float32 [n], NaN where nobody gave one
    parts: Iterable[pa.Table]  # id, text_a, text_b of all rows, in their order

    def __len__(self) -> int:
        return len(self.ids)

    def some(self, share: float) -> Rows:
        """About this share of the rows: those whose ids, which are hashes, are low. A larger share holds a smaller."""
        if share == 1:
            return self
        keep = _low(self.ids, share)
        return Rows(self.ids.filter(pa.array(keep)), self.labels[keep],
                    _Again(lambda: (part.filter(pa.array(_low(part["id"], share))) for part in self.parts)))

    @property
    def texts(self) -> Iterable[pa.Array]:
        """Every text_a and text_b, in arrays of any length; may be iterated over again."""
        return _Again(lambda: chain.from_iterable(map(_texts, self.parts)))


@dataclass(frozen=True)
class _Again(Iterable):
    """What an iterator goes over, as often as one likes."""

    begin: Callable[[], Iterator]

    def __iter__(self) -> Iterator:
        return self.begin()


def _low(ids: pa.ChunkedArray, share: float) -> np.ndarray:
    return halves(ids)[:, 1] < np.uint64(int(share * 2**64))


def _texts(rows: pa.Table) -> list[pa.Array]:
    return [*rows["text_a"].chunks, *rows["text_b"].drop_null().chunks]


def rows_of(table: pa.Table) -> Rows:
    """Rows of schema ROWS that are in memory."""
    return Rows(table["id"], _labels(table), [table.select(_TEXTS)])


def read_rows(store: Store, set_key: str) -> Rows:
    """A finished set to learn from. Raises UserError where there is none."""
    known = read(store, set_key, ["id", "label"])
    folder = store.transfer(set_key)
    return Rows(known["id"], _labels(known), _Again(lambda: store.scan(folder, _TEXTS)))


def _labels(rows: pa.Table) -> np.ndarray:
    return np.concatenate([np.empty(0, np.float32), *(chunk.to_numpy(zero_copy_only=False).astype(np.float32)
                                                      for chunk in rows["label"].chunks)])


def facts(store: Store, set_key: str) -> dict:
    """What a finished set was made from, and its counts. Raises UserError where there is none."""
    folder = store.transfer(set_key)
    if not store.is_complete(folder):
        raise UserError(f"{folder}: no finished transfer set; run the augment stage first")
    found = store.complete(folder)
    counts = found.get("counts")
    if not isinstance(counts, dict) or not all(type(counts.get(name)) is int for name in ("rows", "gold")):
        raise UserError(f"{folder}: its list of parts says no counts of rows; move the folder away and run again: "
                        "it is made anew")
    return found


def _counts(intake: Intake) -> dict[str, object]:
    made = {name: n for name, n in sorted(intake.operators.items()) if name not in ("gold", "unlabelled")}
    return {
        "gold": intake.operators["gold"],
        "unlabelled": intake.operators["unlabelled"],
        "made": made,
        "dropped_duplicates": intake.dropped_duplicates,
        "dropped_leaks": intake.dropped_leaks,
        "dropped_near": intake.dropped_near,
        "rows": intake.operators.total(),
    }


# ---- settings


def _check_near(near: float | Literal[False]) -> None:
    if near is not False and not LEAST <= near <= 1:
        raise UserError(f"near: {near!r}; allowed: a similarity from {LEAST} to 1, or false")


def _settings(specs: Specs, operators: list[Operator]) -> list[dict[str, object]]:
    return [{"name": spec["name"], **operator.settings()} for spec, operator in zip(specs, operators, strict=True)]


def operators_of(specs: Specs) -> list[Operator]:
    """The operators that a recipe names. Raises UserError with the faults of all."""
    operators, faults = [], []
    for i, spec in enumerate(specs):
        try:
            operators.append(_operator(dict(spec)))
        except UserError as e:
            faults += [f"augment[{i}]: {fault}" for fault in e.faults]
    if faults:
        raise UserError(faults)
    return operators


def _operator(spec: dict[str, object]) -> Operator:
    name = str(spec.pop("name", ""))
    found = catalog.find("augment", name)
    allowed = catalog.arguments(found, PIPELINE)
    unknown = [f"'{name}' has no argument '{word}'{did_you_mean(word, allowed)}"
               for word in spec if word not in allowed]
    if unknown:
        raise UserError(unknown)
    return found(**spec)


# ---- rows that are there


def _sorted(rows: pa.Table) -> pa.Table:
    """Rows by id; equal texts with different labels by label, so that the order they came in leaves no trace."""
    ids, labels = halves(rows["id"]), rows["label"].to_numpy()
    return rows.select(ROWS.names).take(pa.array(np.lexsort((labels, ids[:, 1], ids[:, 0]))))


def _held_out(task: Task) -> dict[str, pa.Table]:
    return {name: rows for name, rows in task.splits.items() if name != "train" and len(rows)}


def _hold_out(intake: Intake, ids: list[np.ndarray]) -> None:
    """Ids of all rows held out, split by split, in one form of their texts."""
    for of_split in ids:
        intake.hold_out(of_split)
    if ids:
        intake.audit.hold_out(np.concatenate(ids))


def _unlabelled(source: Source, task: Task) -> pa.Table:
    """Rows without labels; the user's error where they are single texts and the task has pairs, or the reverse."""
    rows = source.select(ROWS.names) if isinstance(source, pa.Table) else read_unlabelled(Path(source))
    wrong = rows["text_b"].null_count if task.pair else len(rows) - rows["text_b"].null_count
    if wrong:
        has, wants = ("single texts", "pairs") if task.pair else ("pairs", "single texts")
        raise UserError(f"{_name(source)}: {wrong} of {len(rows)} rows are {has}, but task '{task.name}' is made of "
                        f"{wants}; give {wants}, or leave these rows out")
    return rows.set_column(3, ROWS.field("label"), pa.nulls(len(rows), pa.float64()))


def _content(sources: Sequence[Source]) -> list[str]:
    """Hex keys: of a table's ids, of a file's bytes. Raises UserError naming every file that cannot be read."""
    keys, faults = [], []
    for source in sources:
        try:
            keys.append(_digest(source))
        except OSError as e:
            faults.append(f"{_name(source)}: cannot be read ({e.strerror}); name a file of sentences, one a line")
    if faults:
        raise UserError(faults)
    return keys


def _digest(source: Source) -> str:
    if isinstance(source, pa.Table):
        return xxhash.xxh3_128_hexdigest(halves(source["id"]).tobytes())
    found = xxhash.xxh3_128()
    with open(source, "rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def _name(source: Source) -> str:
    return "unlabelled: a table" if isinstance(source, pa.Table) else f"unlabelled: {source}"


def _lineage(rows: pa.Table, operator: str) -> pa.Table:
    """Rows as they are -> schema TRANSFER: their own source, copy 0, round 0."""
    n = len(rows)
    zero = pa.repeat(pa.scalar(0, pa.int32()), n)
    return pa.Table.from_arrays([*rows.columns, rows["id"], pa.repeat(operator, n), zero, zero], schema=TRANSFER)


# ---- rows that are made


def _make(store: Store, held_out: list[pa.Table], gold: pa.Table, operators: list[Operator], where: Round, tagger: str,
          workers: int | None, intake: Intake) -> None:
    tokens = _fit(store, gold, operators, tagger, workers)
    intake.seen.add(_joined_ids(tokens))
    _hold_out(intake, [_joined_ids(split_rows(rows, tagger)) for rows in held_out])
    total = sum(goal(operator, len(tokens)) for operator in operators)
    intake.seen.reserve(total // 2)  # the share that comes in at the least, as a rule
    if workers is None:
        workers = cores() if total >= _MANY else 1
    with bar("augment", total) as advance:
        for operator in operators:
            make_all(operator, tokens, where, workers, intake, advance)


def _fit(store: Store, gold: pa.Table, operators: list[Operator], tagger: str, workers: int | None) -> Tokenised:
    """Tokenise each distinct text once, and fit the operators on all texts, repeated ones included."""
    ids = halves(gold["id"])
    first = np.ones(len(ids), bool)
    first[1:] = (ids[1:] != ids[:-1]).any(axis=1)
    distinct = gold.filter(pa.array(first))
    tagged = any(operator.needs_tags for operator in operators)
    tokens = tagged_rows(store, distinct, tagger, workers) if tagged else split_rows(distinct, tagger)
    everything = tokens if first.all() else tokens.take(np.cumsum(first) - 1)
    for operator in operators:
        operator.fit(everything)
    return tokens


def _joined_ids(tokens: Tokenised) -> np.ndarray:
    """Ids of the rows as an operator that changed nothing would write them."""
    return halves(row_ids(*tokens.texts()))
