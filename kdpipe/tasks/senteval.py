"""SentEval's probing files: `tr|va|te`, label and tokenised text between tabs; one file holds all three parts."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from kdpipe.errors import UserError, did_you_mean
from kdpipe.tasks import Reader
from kdpipe.tasks._bad import BadRows, quoted
from kdpipe.tasks.tsv import Tsv


class Senteval(Reader):
    """Conneau et al. 2018, arXiv:1805.01070; github.com/facebookresearch/SentEval, data/probing.

    A task file names the one file three times: train = "tree_depth.txt", dev = ..., test = ...

    part: "tr", "va" or "te"; None: all rows, of whatever part.
    """

    parts: ClassVar[dict[str, str]] = {"train": "tr", "dev": "va", "test": "te"}

    def __init__(self, part: str | None = None):
        if part is not None and part not in self.parts.values():
            raise UserError(f"part: found '{part}'{did_you_mean(part, self.parts.values())}")
        self.part = part

    def of_split(self, split: str) -> Reader:
        return self if self.part else Senteval(self.parts.get(split))

    def read(self, path: Path, bad: BadRows, labelled: bool = True) -> pa.Table:
        """Rows of no part are told to `bad`."""
        columns = ["part", "label", "text"]
        rows = Tsv(text="text", label="label", columns=columns).read(path, bad, labelled)
        part = Tsv(text="part", label="label", columns=columns).read(path, BadRows(path), labelled)["text_a"]
        strange = pc.invert(pc.is_in(part, value_set=pa.array(self.parts.values())))
        bad.add("a part that is not tr, va or te", rows["line"].filter(strange).to_pylist(),
                map(quoted, part.filter(strange).to_pylist()))
        wanted = pc.invert(strange) if self.part is None else pc.equal(part, self.part)
        return rows.filter(wanted)
