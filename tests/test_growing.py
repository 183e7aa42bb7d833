"""Arrays that grow: the same rows in memory and in a temporary file."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from kdpipe import growing
from kdpipe.errors import UserError
from kdpipe.growing import Growing, joined, taken
from kdpipe.types import Encoded, Ragged


@pytest.fixture(params=["memory", "file"])
def where(request, monkeypatch):
    if request.param == "file":
        monkeypatch.setattr(growing, "IN_MEMORY", 64)
    return request.param


def test_rows_come_back_as_they_went_in(where):
    rows, into = np.random.default_rng(0).standard_normal((500, 3)).astype(np.float16), Growing(np.dtype(np.float16), 3)
    for piece in np.array_split(rows, 7):
        into.add(piece)
    found = into.rows()
    assert isinstance(found, np.memmap) == (where == "file") and found.dtype == np.float16
    assert_array_equal(found, rows)
    wanted = np.random.default_rng(1).permutation(500)[:333]
    assert_array_equal(taken(found, wanted), rows[wanted])


@pytest.mark.parametrize(("tokens", "kind"), [(65_536, np.uint16), (65_537, np.int32)])
def test_encoded_rows_are_joined(where, tokens, kind):
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, tokens, rng.integers(1, 9)) for _ in range(200)]
    pieces = [Encoded((Ragged(np.concatenate(some).astype(np.int32), np.cumsum([0, *map(len, some)])),),
                      np.concatenate(some).astype(np.uint8)) for some in (texts[:3], texts[3:90], texts[90:])]
    whole = joined(pieces, tokens)
    assert whole.segments[0].flat.dtype == kind and len(whole) == 200
    for row, text in enumerate(texts):
        assert_array_equal(whole.segments[0][row], text)
    assert_array_equal(whole.types, np.concatenate(texts).astype(np.uint8))
    wanted = rng.permutation(200)
    some = taken(whole.segments[0], wanted)
    assert_array_equal(some.flat, np.concatenate([texts[i] for i in wanted]))
    assert_array_equal(some.lengths, [len(texts[i]) for i in wanted])


def test_a_full_temporary_folder_is_said_plainly(monkeypatch, tmp_path):
    monkeypatch.setattr(growing, "IN_MEMORY", 64)
    monkeypatch.setattr(growing.tempfile, "tempdir", str(tmp_path / "away"))
    with pytest.raises(UserError, match="TMPDIR"):
        Growing(np.dtype(np.float32), 1).add(np.ones((100, 1), np.float32))
