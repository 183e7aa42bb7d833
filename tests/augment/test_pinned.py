"""What operators make is pinned: the same seed makes the same rows, ids and lineage in every version."""

import hashlib

import pytest

from kdpipe import catalog
from kdpipe.types import Round

WORDS = "the a film actor plot ü 👍 שלום \x00 it 's n't charming dull incomprehensibilities [MASK] of and . !"
WORDS = WORDS.split(" ")
TAGS = "D D N N N X X X X P V R J J N X I C . .".split()
PINNED = {
    "mask": ("ba33a883a82f2b3a", "e34cc9994b60f701"),
    "ngram": ("255a8c3d75c3cf0d", "e962c9154de15d04"),
    "pos_swap": ("85e5acafc5419596", "e53a35d3c4607b28"),
    "tang": ("2f4aec912b207ddd", "317c0262d735cb11"),
}


@pytest.fixture(scope="module")
def codes() -> list[list[int]]:
    """600 rows of 1 to 40 words, and one of 700."""
    lengths = [1 + i * i % 40 for i in range(600)] + [700]
    return [[(i * 7 + j * j * 3 + i * j) % len(WORDS) for j in range(n)] for i, n in enumerate(lengths)]


@pytest.mark.parametrize("pairs", [False, True], ids=["texts", "pairs"])
@pytest.mark.parametrize("name", PINNED)
def test_the_same_seed_makes_the_same_rows_in_every_version(by_hand, codes, name, pairs):
    sides = [codes, codes[::-1]] if pairs else [codes]
    texts, tags = ([[" ".join(table[c] for c in row) for row in side] for side in sides] for table in (WORDS, TAGS))
    tokens = by_hand(*texts, tags=tags)
    operator = catalog.find("augment", name)()
    operator.fit(tokens)
    h = hashlib.blake2b(digest_size=8)
    for copy in range(3):
        for row in operator.make(tokens, copy, Round(index=1, seed=2**40 + 7)).to_pylist():
            h.update(repr(list(row.values())).encode())
    assert h.hexdigest() == PINNED[name][pairs]
