"""The training loop: it learns, repeats bit by bit, keeps the best epoch, and stops with a clear word."""

import contextlib
import io
from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from kdpipe import optim
from kdpipe.errors import UserError
from kdpipe.models.bilstm import BiLSTM
from kdpipe.models.siamese import Siamese
from kdpipe.objectives.cosine import CosineState
from kdpipe.objectives.hard import Hard
from kdpipe.objectives.logit_mse import LogitMSE
from kdpipe.pruning import Pruner, prunable, sparsity
from kdpipe.schedules import as_schedule
from kdpipe.signals.said import Said
from kdpipe.train import Settings, Term, fit, predict, seeded
from kdpipe.types import Encoded, Ragged

WORDS = 3000  # enough for the table to be trained by rows
small = partial(BiLSTM, WORDS, 2, width=8, hidden=6, fc=6)
LABELS, LOGITS = Term(Hard(), as_schedule(1.0)), Term(LogitMSE(), as_schedule(1.0))


def rows(n=120, seed=0):
    """Rows of 1 to 9 random words; the class says whether the first word's number is even."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 10, n)
    flat = rng.integers(1, 40, size.sum()).astype(np.int32)
    offsets = np.cumsum([0, *size])
    return Encoded((Ragged(flat, offsets),)), (flat[offsets[:-1]] % 2).astype(np.float32)


DATA, GOLD = rows()


def accuracy(model, data=DATA, gold=GOLD):
    return float((predict(model, data).argmax(1) == gold).mean())


def train(model, terms=(LABELS,), labels=GOLD, signals=None, dev_score=None, seed=0, **said):
    settings = Settings(**{"epochs": 3, "batch_size": 24, "lr": 0.02, **said})
    said = Said(len(DATA), model.shape, signals) if signals else None
    return fit(model, terms, DATA, labels, said, settings, dev_score or partial(accuracy, model), seed)


def built(seed=0, **arguments):
    with seeded(seed):
        return small(**arguments)


@pytest.mark.parametrize("said", [{"optimizer": "adamw"}, {"optimizer": "adam", "schedule": "cosine", "warmup": 0.1},
                                  {"optimizer": "adadelta", "lr": 10.0, "schedule": "constant"}])
def test_it_learns(said):
    model = built()
    before = accuracy(model)
    fitted = train(model, epochs=20, **said)
    assert before < 0.7 and accuracy(model) > 0.95 and fitted.best_score == accuracy(model)
    assert fitted.curve[-1]["loss"] < fitted.curve[0]["loss"] / 3


def test_the_teacher_alone_is_learnt_without_labels():
    teacher, student = built(seed=1), built(seed=2)
    said = {"logits": predict(teacher, DATA)}
    nobody = np.full(len(DATA), np.nan)
    train(student, [LOGITS], nobody, said, lambda: -np.square(predict(student, DATA) - said["logits"]).mean(),
          epochs=25)
    assert_close(predict(student, DATA), said["logits"], atol=0.1, rtol=0)


def test_the_same_seed_repeats_bit_by_bit():
    def once(seed):
        model = built(channels="multichannel")
        fitted = train(model, [LABELS, LOGITS], signals={"logits": np.ones((len(DATA), 2), np.float32)}, seed=seed)
        return [e["loss"] for e in fitted.curve], list(model.state_dict().values())

    torch.rand(3)  # the state outside has no influence
    first, second, other = once(0), once(0), once(1)
    assert first[0] == second[0] and all(torch.equal(a, b) for a, b in zip(first[1], second[1], strict=True))
    assert first[0] != other[0]


def test_training_leaves_the_outer_random_state_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    train(built(), epochs=1)
    assert torch.equal(state, torch.get_rng_state())


def test_the_best_epoch_is_kept():
    model, seen, scores = built(), [], iter([0.3, 0.9, float("nan"), 0.9])

    def dev_score():
        seen.append([p.detach().clone() for p in model.parameters()])
        return next(scores)

    fitted = train(model, dev_score=dev_score, epochs=4)
    assert (fitted.best_epoch, fitted.best_score) == (2, 0.9)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), seen[1], strict=True))
    assert [e["epoch"] for e in fitted.curve] == [1, 2, 3, 4]


def test_patience_ends_a_training():
    scores = iter([0.5, float("nan"), 0.4, 0.1, 0.0])
    assert len(train(built(), dev_score=lambda: next(scores), epochs=5, patience=2).curve) == 3


def test_seldom_evaluation_still_ends_with_one():
    curve = train(built(), epochs=5, evaluate_every=2).curve
    assert [e["dev"] is not None for e in curve] == [False, True, False, True, True]


def test_a_loss_that_is_not_finite_names_epoch_and_batch():
    """Row 7 of the teacher is infinite: its batch is named, whichever it is."""
    bad = np.zeros((len(DATA), 2), np.float32)
    bad[7] = np.inf
    with pytest.raises(UserError, match=r"epoch 1, batch [1-5]: the loss is inf; try a lower lr \(now 0.02\)"):
        train(built(), [LOGITS], signals={"logits": bad})


def test_terms_are_weighed_by_their_schedules():
    """A weight that is 0 throughout takes its term out of the training, bit by bit."""
    ones = {"logits": np.ones((len(DATA), 2), np.float32)}
    silent = Term(LogitMSE(), as_schedule({"linear": [0.0, 0.0]}))
    a, b = built(), built()
    train(a, [LABELS, silent], signals=ones)
    train(b, [LABELS], signals=ones)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_an_objective_that_has_weights_is_trained_too():
    class Scaled(LogitMSE):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(1.0))

        def forward(self, student, teacher, batch, progress):
            return super().forward(student, teacher, batch, progress) * self.scale.square()

    objective = Scaled()
    train(built(), [Term(objective, as_schedule(1.0))], signals={"logits": np.ones((len(DATA), 2), np.float32)})
    assert objective.scale.item() < 0.99


def test_frozen_tables_stay():
    model = built(channels="multichannel")
    before = [t.detach().clone() for t in model.embedding_parameters()]
    train(model, epochs=1)
    frozen, trained = model.embedding_parameters()
    assert torch.equal(frozen, before[0]) and not torch.equal(trained, before[1])


def test_layers_are_unfrozen_from_the_top():
    """Of head, layer and token vectors another one joins after every second epoch; all are trained at the end."""
    model, moved = built(), []
    kept = [[p.detach().clone() for p in block.parameters()] for block in model.blocks()]

    def dev_score():
        moved.append([any(not torch.equal(p, q) for p, q in zip(block.parameters(), before, strict=True))
                      for block, before in zip(model.blocks(), kept, strict=True)])
        return len(moved)

    train(model, epochs=5, unfreeze=2, dev_score=dev_score)
    assert moved == [[True, False, False]] * 2 + [[True, True, False]] * 2 + [[True, True, True]]
    assert all(p.requires_grad for p in model.parameters())


def test_a_table_that_was_frozen_starts_as_a_new_one_would():
    """Steps of the optimiser over a table's rows count from where it is unfrozen, as PyTorch's own do."""
    def once(large):
        model = built()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optim, "LARGE", 1 if large else WORDS + 1)
            train(model, epochs=4, unfreeze=1)
        return torch.cat([p.flatten() for p in model.parameters()])

    assert_close(once(large=True), once(large=False), atol=2e-4, rtol=0)


@pytest.mark.parametrize("way", ["cubic", "one_shot"])
def test_a_network_is_pruned_to_the_share_that_was_asked(way):
    """The smallest weights of all matrices but the table are 0 in the end, and no epoch before that is chosen."""
    model, scores = built(), iter([0.9, 0.8, 0.1, 0.2, 0.3, 0.3])
    fitted = train(model, epochs=6, sparsity=0.7, pruning=way, dev_score=lambda: next(scores))
    weights = torch.cat([p.flatten() for p in prunable(model)])
    assert fitted.sparsity == pytest.approx(0.7, abs=1e-3) == float((weights == 0).float().mean())
    assert fitted.best_epoch == (1 if way == "one_shot" else 4)
    assert all((p != 0).all() for p in model.parameters() if p.ndim == 1)
    assert (model.tables["trained"].weight[1:] != 0).all()


def test_one_shot_prunes_the_smallest_weights():
    model, whole = built(), built()
    train(whole, epochs=1, batch_size=len(DATA))
    train(model, epochs=1, batch_size=len(DATA), sparsity=0.5, pruning="one_shot")
    sizes = torch.cat([p.abs().flatten() for p in prunable(whole)])
    left = torch.cat([p.flatten() for p in prunable(model)]) != 0
    assert sizes[left].min() >= sizes[~left].max()


def test_the_cubic_share_follows_its_formula():
    """Zhu and Gupta 2017, equation 1, with s_i = 0 and the end of the rise in the middle: at p = 0.25, 7/8 of it."""
    model = built()
    pruner = Pruner(model, 0.8, "cubic")
    for progress, share in ((0.0, 0.0), (0.25, 0.7), (0.5, 0.8), (0.9, 0.8)):
        pruner.step(progress)
        assert sparsity(model) == pytest.approx(share, abs=2e-3)
    assert pruner.is_done()


def test_a_loss_on_what_is_frozen_is_refused():
    states = Term(CosineState(on="cls", project=False), as_schedule(1.0))
    model = built()
    states.objective.bind(model.shape, model.shape)
    with pytest.raises(UserError, match="epoch 1: no term of the loss reads what is trained"):
        train(model, [states], signals={"cls": np.ones((len(DATA), 12), np.float32)}, unfreeze=1)


def test_predict_keeps_the_order_of_the_rows():
    model = built()
    one_by_one = np.concatenate([predict(model, Encoded((Ragged(s.flat[a:b], np.array([0, b - a])),)))
                                 for s in DATA.segments for a, b in zip(s.offsets, s.offsets[1:], strict=False)])
    found = predict(model, DATA, batch_size=7, tokens=30)
    assert found.dtype == np.float32 and found.shape == (len(DATA), 2)
    assert_close(found, one_by_one, atol=1e-6, rtol=0)
    assert model.training


def test_predict_shows_a_bar_only_when_it_has_a_title():
    for title, said in ((None, False), ("answering", True)):
        with contextlib.redirect_stderr(io.StringIO()) as shown:
            predict(built(), DATA, title=title)
        assert ("answering" in shown.getvalue()) == said


def test_a_model_of_one_text_refuses_pairs_and_the_other_way_round():
    pairs = Encoded(DATA.segments * 2)
    with pytest.raises(UserError, match="reads 1 text.*hold 2; pairs need the model siamese"):
        predict(built(), pairs)
    with pytest.raises(UserError, match="Siamese reads 2 text"):
        predict(Siamese(WORDS, 2, encoder={"name": "bilstm", "width": 8, "hidden": 6}), DATA)


def test_pairs_are_trained():
    pairs = Encoded((DATA.segments[0], rows(seed=1)[0].segments[0]))
    with seeded(0):
        model = Siamese(WORDS, 2, encoder={"name": "bilstm", "width": 8, "hidden": 6}, fc=8)
    score = partial(accuracy, model, pairs)
    fit(model, [LABELS], pairs, GOLD, None, Settings(epochs=20, batch_size=24, lr=0.02), score, seed=0)
    assert score() > 0.95


def test_wrong_settings_are_all_named():
    with pytest.raises(UserError) as e:
        Settings(epochs=0, batch_size=2.5, optimizer="adadelt", lr=-1, schedule="linaer", patience=0, clip="no",
                 unfreeze=0.5, sparsity=2, pruning="all")
    assert len(e.value.faults) == 10
    assert "optimizer = 'adadelt'; did you mean 'adadelta'?" in e.value.faults


def test_no_rows_are_refused():
    nothing = Encoded((Ragged(np.empty(0, np.int32), np.zeros(1, np.int64)),))
    with pytest.raises(UserError, match="no rows to train on"):
        fit(built(), [LABELS], nothing, np.empty(0), None, Settings(), lambda: 0.0, seed=0)
