"""Operators: rows -> more rows. The contract of the room; one operator a file."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pyarrow as pa

from kdpipe.augment._tokens import Tokenised
from kdpipe.catalog import arguments
from kdpipe.types import Round


class Operator(ABC):
    """Makes rows out of rows. Its constructor's arguments are what a recipe may say, and stay its attributes.

    What it does to a row depends on (seed, operator, row id, copy, position) alone: never on the order of the rows,
    on their neighbours in a shard or on the worker. `fit` sees the whole training text once, before any `make`.
    """

    needs_tags: bool = False
    copies: int | None = 1  # how often `make` is asked for every row; None: until `target_rows` are made
    target_rows: int | None = None  # stop at so many distinct made rows

    def settings(self) -> dict[str, object]:
        """Every argument of the constructor with the value that counts, presets and defaults filled in."""
        return {name: getattr(self, name) for name in arguments(type(self), PIPELINE)}

    def fit(self, tokens: Tokenised) -> None:  # noqa: B027 - most operators have nothing to learn
        """Learn from the tokenised gold training text (unigram tables and the like)."""

    @abstractmethod
    def make(self, tokens: Tokenised, copy: int, where: Round) -> pa.Table:
        """One copy of each row that the operator changes -> rows of schema TRANSFER (duplicates still in)."""


PIPELINE = frozenset()
PART = Operator
NOT_PARTS = ("train_tagger",)
