"""The rate at which a model answers."""

import time
from pathlib import Path

import pyarrow as pa
import torch

from kdpipe.modelfolder import Card, Loaded
from kdpipe.models.bilstm import BiLSTM
from kdpipe.predictions import speed
from kdpipe.vocab.words import Words

ROWS = pa.table({"text_a": ["a good film", "a bad film"] * 40, "text_b": pa.nulls(80, pa.string())})


class Waiting:
    """A vocabulary whose reader waits, as where other work has the processor."""

    def __init__(self, words: Words, seconds: float):
        self.words, self.seconds = words, seconds

    def encode(self, *arguments):
        time.sleep(self.seconds)
        return self.words.encode(*arguments)


def test_a_rate_leaves_out_the_time_that_other_work_takes():
    words, threads = Words.build(ROWS["text_a"]), torch.get_num_threads()
    model = BiLSTM(vocab_size=len(words.tokens), outputs=2, width=4, hidden=4, fc=4).eval()
    card = Card({"name": "any"}, "classification", ("a", "b"), 2, len(words.tokens), False, 16, "")
    one, many = speed(Loaded(model, Waiting(words, 0.2), card, Path(), (0, 1)), ROWS, seconds=0.0)
    assert (one["batch"], many["batch"]) == (1, 64)
    assert one["rows_per_second"] > 1 / 0.2 and many["rows_per_second"] > 64 / 0.2
    assert torch.get_num_threads() == threads
