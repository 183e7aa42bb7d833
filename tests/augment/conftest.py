"""Tokenised rows, by hand and from real text."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from kdpipe.augment._tokens import Tokenised
from kdpipe.idset import halves
from kdpipe.types import row_ids


def tokenised(*segments: list[str], tags: list[list[str]] | None = None) -> Tokenised:
    """Texts whose words are parted by spaces, one list for each segment; tags likewise, as "DT NN"."""
    words = [pa.array([text.split() for text in texts], pa.list_(pa.string())) for texts in segments]
    tags = tags and [pa.array([tag.split() for tag in texts], pa.list_(pa.string())) for texts in tags]
    ids = halves(row_ids(*(pa.array(texts, pa.string()) for texts in segments)))
    return Tokenised.of(ids, words, tags)


@pytest.fixture(scope="session")
def by_hand() -> Callable[..., Tokenised]:
    return tokenised


@pytest.fixture(scope="session")
def many() -> Tokenised:
    """4,000 rows of 11 words: ten of 12 words under four tags, rare, common and lone ones; last r0, r1, ... under R."""
    rng = np.random.default_rng(0)
    vocabulary = {"N": ["cat", "dog", "fox", "owl"], "V": ["ran", "sat"], "D": "the a no my its".split(), "X": ["!"]}
    chances = {"N": [0.5, 0.3, 0.15, 0.05], "V": [0.9, 0.1], "D": [0.2] * 5, "X": [1.0]}
    tags = [[str(t) for t in rng.choice(list("NVDX"), size=10)] for _ in range(4000)]
    words = [[str(rng.choice(vocabulary[t], p=chances[t])) for t in row] for row in tags]
    texts = [f"{' '.join(row)} r{i}" for i, row in enumerate(words)]
    return tokenised(texts, tags=[[f"{' '.join(row)} R" for row in tags]])
