"""BiLSTM: published parameter counts, its states by a second way, its tables."""

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence
from torch.testing import assert_close

from kdpipe.batches import collate
from kdpipe.errors import UserError
from kdpipe.models import count_parameters
from kdpipe.models.bilstm import BiLSTM
from kdpipe.optim import Optimiser
from kdpipe.types import Encoded, Ragged


@pytest.mark.parametrize("width, hidden, fc, outputs, published", [
    (300, 150, 200, 2, 963_002),  # Tang et al. 2019: 0.96M
    (300, 300, 400, 2, 2_406_002),  # Sucik 2020: 2.41M
    (300, 300, 200, 2, 2_285_402),
    (1024, 300, 400, 57, 5_903_257),  # Sucik 2020, word pieces, Sara: 5.90M
])
def test_parameters_are_those_of_the_papers(width, hidden, fc, outputs, published):
    model = BiLSTM(11, outputs, width=width, hidden=hidden, fc=fc, channels="multichannel")
    assert count_parameters(model) == {"total": published + 22 * width, "embedding": 22 * width,
                                       "non_embedding": published}


def test_states_are_those_of_packed_sequences():
    """PyTorch's own bidirectional LSTM over a packed batch, with the same weights, two layers."""
    torch.manual_seed(0)
    model = BiLSTM(30, 2, width=5, hidden=4, layers=2).double().eval()
    reference = torch.nn.LSTM(5, 4, num_layers=2, bidirectional=True, batch_first=True).double()
    for i, layer in enumerate(model.layers):
        for side, suffix in ((layer.ahead, ""), (layer.behind, "_reverse")):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(reference, f"{kind}_l{i}{suffix}").data.copy_(getattr(side, f"{kind}_l0"))
    lengths = torch.tensor([4, 1, 9, 6])
    flat = np.random.default_rng(0).integers(1, 30, int(lengths.sum())).astype(np.int32)
    tokens = collate(Encoded((Ragged(flat, np.cumsum([0, *lengths.tolist()])),)), np.arange(4)).segments[0]
    packed = pack_padded_sequence(model.tables["trained"](tokens.ids), lengths, batch_first=True, enforce_sorted=False)
    _, (last, _) = reference(packed)
    assert_close(model.encode(tokens), torch.cat([last[-2], last[-1]], dim=-1), rtol=0, atol=1e-14)


def test_channels_say_what_is_trained():
    vectors = np.random.default_rng(0).standard_normal((20, 6), np.float32)
    for channels, trained in (("frozen", [False]), ("trained", [True]), ("multichannel", [False, True])):
        model = BiLSTM(20, 2, vectors, width=6, channels=channels)
        assert [p.requires_grad for p in model.embedding_parameters()] == trained
        for table in model.embedding_parameters():
            assert_close(table[1:].detach(), torch.from_numpy(vectors[1:]))
            assert not table[0].any()


def test_drawn_vectors_are_uniform_within_a_quarter():
    """Standard deviation of U[-0.25, 0.25]: 0.5 / sqrt(12) = 0.1443."""
    torch.manual_seed(0)
    table = next(BiLSTM(5000, 2, width=20).embedding_parameters()).detach()
    assert table.abs().max() <= 0.25 and not table[0].any()
    assert table[1:].std().item() == pytest.approx(0.1443, abs=1e-3)


def test_the_padding_vector_stays_zero():
    model = BiLSTM(5000, 2, width=4, hidden=3)
    data = Encoded((Ragged(np.array([7, 8, 9, 4], np.int32), np.array([0, 3, 4])),))
    with Optimiser(model, "adamw", 0.1, weight_decay=0.1) as optimiser:
        for _ in range(3):
            model(collate(data, np.arange(2))).logits.square().sum().backward()
            optimiser.step()
    assert not next(model.embedding_parameters())[0].any()


def test_wrong_arguments_are_all_named():
    with pytest.raises(UserError) as e:
        BiLSTM(10, 2, hidden=0, fc="many", dropout=1.5)
    assert len(e.value.faults) == 3 and "bilstm: hidden = 0; allowed: a whole number of 1 to 1000000" in e.value.faults
    with pytest.raises(UserError, match="channels = 'multichanel'; did you mean 'multichannel'"):
        BiLSTM(10, 2, channels="multichanel")
    with pytest.raises(UserError, match="vectors of 10 tokens and width 7.*width = 300"):
        BiLSTM(10, 2, np.zeros((10, 7), np.float32))
