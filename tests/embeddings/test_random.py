"""No vectors from outside means none at all."""

import pyarrow as pa

from kdpipe.embeddings.random import Random


def test_the_model_draws_its_own():
    assert Random().vectors(["[PAD]", "a"], pa.chunked_array([["a"]]), 8, 0, None) is None
    assert not Random.needs_teacher
