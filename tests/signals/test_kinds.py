"""The names of signals, what a row of each weighs, and which of them a phase wants."""

import numpy as np
import pytest

from kdpipe.errors import UserError
from kdpipe.signals.kinds import PARTS, Signal, signal, wanted
from kdpipe.types import Shape

GIVES = frozenset({"logits", "cls", "hidden", "attention", "boundaries", "vectors"})
BERT_BASE = Shape(layers=12, width=768, embedding=768, outputs=2, gives=GIVES, heads=12, ffn=3072)
BY_LAYER = ("hidden", "attention")


def every_signal() -> list[Signal]:
    return [Signal(part, layer, exact) for part in PARTS for exact in (False, True)
            for layer in ((0, 3, 12) if part in BY_LAYER else (None,))]


@pytest.mark.parametrize("one", every_signal(), ids=lambda s: s.name)
def test_a_name_says_all_of_a_signal(one):
    assert signal(one.name) == one


def test_names_are_those_of_the_store():
    said = [Signal("logits"), Signal("cls", exact=True), Signal("hidden", 3), Signal("attention", 12, True)]
    assert [s.name for s in said] == ["logits", "cls_fp32", "hidden_3", "attention_12_fp32"]


@pytest.mark.parametrize("name", ["", "logit", "hidden", "hidden_", "attention_fp32", "cls_3", "logits_2_fp32",
                                  "hidden_3_fp16", "hidden_-1", "Hidden_3", "hidden_3 ", "vectors"])
def test_other_names_are_refused(name):
    with pytest.raises(UserError, match=f"no signal '{name}'; a teacher says logits, cls, boundaries, hidden"):
        signal(name)


@pytest.mark.parametrize(("name", "size"), [
    ("logits", 2 * 4),  # C float32
    ("cls", 12 * 768 * 2),  # all layers, float16: 18,432
    ("cls_fp32", 12 * 768 * 4),
    ("boundaries", 12 * 3072 // 8),  # one bit for each unit: 4,608
    ("hidden_0", 64 * 768 * 2),  # one layer: 98,304
    ("hidden_12", 98_304),
    ("hidden_12_fp32", 2 * 98_304),
    ("attention_1", 12 * 64 * 64 * 2),  # one layer: 98,304
    ("saliency", 64 * 4),
    ("gradient", 98_304),
])
def test_bytes_of_a_row_of_64_tokens_of_bert_base(name, size):
    """The sizes that follow from the shapes; no id, no header of a file."""
    assert signal(name).bytes(BERT_BASE, 64, 64**2) == size


def test_bits_fill_whole_bytes():
    odd = Shape(layers=2, width=4, embedding=4, outputs=2, gives=GIVES, heads=1, ffn=9)
    assert signal("boundaries").bytes(odd) == 2 * 2


def test_vectors_of_another_width_count_as_wide_as_they_are():
    narrow = Shape(layers=1, width=300, embedding=50, outputs=2, gives=GIVES)
    sizes = [signal(name).bytes(narrow, 10) for name in ("hidden_0", "hidden_1", "gradient")]
    assert sizes == [10 * 50 * 2, 10 * 300 * 2, 10 * 50 * 2]


def test_numbers_of_many_rows_at_once():
    n = np.array([3, 5])
    assert signal("hidden_1").numbers(BERT_BASE, n).tolist() == [3 * 768, 5 * 768]
    assert signal("attention_1").numbers(BERT_BASE, n, n**2).tolist() == [12 * 9, 12 * 25]


def test_what_a_phase_wants_is_each_layer_once_and_logits_first():
    layers = [{"hidden": (0, 2)}, {"attention": (1, 2)}, {"hidden": (2,)}, {}]
    found = wanted({"attention", "hidden", "cls", "logits"}, layers)
    assert [s.name for s in found] == ["logits", "cls", "hidden_0", "hidden_2", "attention_1", "attention_2"]


def test_exact_states_leave_logits_bits_and_saliency_as_they_are():
    found = wanted({"logits", "cls", "boundaries", "hidden", "saliency", "gradient"}, [{"hidden": (1,)}], exact=True)
    assert [s.name for s in found] == ["logits", "cls_fp32", "boundaries", "hidden_1_fp32", "saliency", "gradient_fp32"]
    assert {s.dtype.name for s in found} == {"float32", "uint8"}


def test_half_precision_is_the_rule_for_states():
    kept = {s.part: s.dtype.name for s in every_signal() if not s.exact}
    assert kept == {"logits": "float32", "saliency": "float32", "boundaries": "uint8", "cls": "float16",
                    "hidden": "float16", "attention": "float16", "gradient": "float16"}
