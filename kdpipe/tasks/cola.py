"""CoLA's layout: no header, `source, label, star, sentence`; the test file has the header `index, sentence`."""

from pathlib import Path

from kdpipe.tasks._glue import Glue, named
from kdpipe.tasks.tsv import Tsv


class Cola(Glue):
    """Warstadt et al. 2019, arXiv:1805.12471: 0 unacceptable, 1 acceptable. `star` is the author's own mark."""

    texts = ("sentence",)

    def layout(self, path: Path) -> Tsv:
        with_header = super().layout(path)
        if with_header.columns(path) == ["index", "sentence"]:
            return with_header
        return named(self.texts, self.label, ["source", "label", "star", "sentence"])
