"""What the GLUE layouts share: TSV files whose column names are known."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from kdpipe.tasks import Reader
from kdpipe.tasks._bad import BadRows
from kdpipe.tasks.tsv import Tsv


class Glue(Reader):
    """A layout of the GLUE benchmark (Wang et al. 2018, arXiv:1804.07461). Its test files have no labels."""

    texts: ClassVar[tuple[str, ...]]  # the columns of the text or of the two texts
    label: ClassVar[str] = "label"

    def __init__(self) -> None:
        """A layout has nothing to choose."""

    def read(self, path: Path, bad: BadRows, labelled: bool = True) -> pa.Table:
        return self.layout(path).read(path, bad, labelled)

    def layout(self, path: Path) -> Tsv:
        """The plain reader of this file."""
        return named(self.texts, self.label)


def named(texts: tuple[str, ...], label: str, columns: list[str] | None = None) -> Tsv:
    """A TSV reader of one text column or of two."""
    if len(texts) == 1:
        return Tsv(text=texts[0], label=label, columns=columns)
    return Tsv(text_a=texts[0], text_b=texts[1], label=label, columns=columns)
