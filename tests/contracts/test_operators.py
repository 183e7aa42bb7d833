"""What every operator of the room keeps to; a new file is found by itself."""

import inspect

import numpy as np
import pyarrow as pa
import pytest

from kdpipe import catalog
from kdpipe.augment._tokens import Tokenised
from kdpipe.idset import halves
from kdpipe.types import TRANSFER, Round, row_ids

OPERATORS = catalog.names("augment")
TEXTS = [f"the cat {i} sat on my mat and ran" for i in range(200)]
TAGS = "D N C V P D N K V"


@pytest.fixture(scope="module")
def tokens() -> Tokenised:
    words = pa.array([text.split() for text in TEXTS])
    return Tokenised.of(halves(row_ids(pa.array(TEXTS))), [words], [pa.array([TAGS.split()] * len(TEXTS))])


@pytest.fixture(params=OPERATORS)
def operator(request, tokens):
    made = catalog.find("augment", request.param)()
    made.fit(tokens)
    return made


def test_the_room_is_found():
    assert set(OPERATORS) >= {"mask", "ngram", "pos_swap", "tang"}


def test_settings_build_the_same_operator_again(operator):
    settings = operator.settings()
    assert settings.keys() == catalog.arguments(type(operator)).keys()
    assert type(operator)(**settings).settings() == settings


def test_every_argument_has_a_default_and_the_class_says_where_it_is_from(operator):
    assert all(p.default is not inspect.Parameter.empty for p in catalog.arguments(type(operator)).values())
    assert "et al." in type(operator).__doc__


def test_made_rows_are_whole(operator, tokens):
    made = operator.make(tokens, 0, Round())
    made.validate(full=True)
    assert made.schema == TRANSFER and len(made)
    assert made["label"].null_count == len(made)
    assert made["id"].combine_chunks().equals(row_ids(made["text_a"], made["text_b"]))
    assert set(made["source"].to_pylist()) <= set(row_ids(pa.array(TEXTS)).to_pylist())


def test_rows_do_not_look_at_their_neighbours(operator, tokens):
    whole = operator.make(tokens, 1, Round(seed=4)).to_pylist()
    order = np.random.default_rng(0).permutation(len(tokens))
    apart = [row for some in np.split(order, [7, 50, 51]) for row in
             operator.make(tokens.take(some), 1, Round(seed=4)).to_pylist()]
    assert sorted(whole, key=str) == sorted(apart, key=str)


@pytest.mark.parametrize("copy, where", [(1, Round()), (0, Round(seed=1)), (0, Round(index=1))])
def test_copy_seed_and_round_matter(operator, tokens, copy, where):
    assert operator.make(tokens, copy, where)["text_a"] != operator.make(tokens, 0, Round())["text_a"]
