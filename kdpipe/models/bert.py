"""BERT and its kin, from a checkpoint or new, through Hugging Face transformers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kdpipe.errors import UserError
from kdpipe.models import Encoder
from kdpipe.models._checkpoint import pretrained, quiet
from kdpipe.models._checks import check, one_of
from kdpipe.types import Batch, Outputs, Tokens

if TYPE_CHECKING:  # transformers takes seconds to import, and a recipe that names no checkpoint is checked without it
    from transformers import BertConfig, PreTrainedModel

HEAD = "head.safetensors"  # the classifier over mean states; transformers does not know it


class Bert(Encoder):
    """A transformer encoder with a classifier.  Devlin et al. 2019, arXiv:1810.04805.

    checkpoint: a folder or Hugging Face name (config.json and safetensors); its own shape and vectors are taken.
    layers, width, heads, ffn, positions, dropout: of a new BERT where there is no checkpoint (TinyBERT4's shape).
    pooling: "cls": transformers' own sequence classifier, so that what `save` leaves is an ordinary checkpoint;
        "mean": Linear over the mean state of the real tokens, which suits sentence-embedding checkpoints; then plain
        transformers loads the encoder (AutoModel) and the head lies beside it in head.safetensors.

    hf: the transformers model; drawn: the names of its weights that the checkpoint lacked.
    Raises UserError for checkpoints and arguments that cannot be.
    """

    reads = ("wordpieces",)
    packs_pairs = True
    half = True

    def __init__(self, vocab_size: int, outputs: int | None, vectors: np.ndarray | None = None,
                 checkpoint: str | None = None, layers: int = 4, width: int = 312, heads: int = 12, ffn: int = 1200,
                 positions: int = 512, dropout: float = 0.1, pooling: Literal["cls", "mean"] = "cls"):
        from transformers import AutoModel, AutoModelForSequenceClassification

        super().__init__()
        one_of("bert", "pooling", pooling, ("cls", "mean"))
        self.pooling, self.drawn = pooling, ()
        whole = pooling == "cls" and outputs is not None
        if checkpoint is None:
            shape = _config(vocab_size, outputs, layers, width, heads, ffn, positions, dropout)
            self.hf = (AutoModelForSequenceClassification if whole else AutoModel).from_config(shape)
            _put_vectors(self.hf, vectors)
        else:
            _check_shape_is_free(vectors, layers=layers, width=width, heads=heads, ffn=ffn, positions=positions)
            self.hf, self.drawn = _from_checkpoint(checkpoint, outputs if whole else None, vocab_size)
        if not whole and hasattr(self.hf, "pooler"):
            self.hf.pooler = None
            self.drawn = tuple(name for name in self.drawn if not name.startswith("pooler."))
        self.state_width = self.hf.config.hidden_size
        self.head = None if outputs is None or whole else _mean_head(self.hf, outputs)
        self._takes_types = _takes_types(self.hf)

    def forward(self, batch: Batch) -> Outputs:
        """One segment [B, N] -> logits [B, C] and the last layer's [CLS] (or mean) state [B, H]."""
        if self.head is not None:
            return super().forward(batch)
        tokens = batch.segments[0]
        answer = self.hf(**self._inputs(tokens), output_hidden_states=True)
        return Outputs(answer.logits, cls=answer.hidden_states[-1][:, 0])

    def encode(self, tokens: Tokens) -> Tensor:
        """Token ids [B, N] -> the last layer's [CLS] state, or its mean over the real tokens, [B, H]."""
        states = self.hf.base_model(**self._inputs(tokens)).last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        real = tokens.mask[..., None].to(states.dtype)
        return (states * real).sum(1) / real.sum(1)

    def _inputs(self, tokens: Tokens) -> dict[str, Tensor]:
        limit = getattr(self.hf.config, "max_position_embeddings", None) or tokens.ids.shape[1]
        if tokens.ids.shape[1] > limit:
            raise UserError(f"bert: a row of {tokens.ids.shape[1]} tokens, the model reads at most {limit}; "
                            f"set max_length = {limit} or less")
        types = {"token_type_ids": tokens.types} if self._takes_types and tokens.types is not None else {}
        return {"input_ids": tokens.ids, "attention_mask": tokens.mask.long(), **types}

    def embedding_parameters(self) -> Iterator[nn.Parameter]:
        return self.hf.get_input_embeddings().parameters()

    def save(self, folder: Path) -> None:
        """An ordinary transformers checkpoint; with mean pooling head.safetensors beside it."""
        with quiet():
            self.hf.save_pretrained(folder)
        if self.head is not None:
            save_file(self.head.state_dict(), folder / HEAD)

    @classmethod
    def load(cls, folder: Path, vocab_size: int, outputs: int | None, vectors: np.ndarray | None = None,
             pooling: Literal["cls", "mean"] = "cls", **shape: object) -> Bert:
        """A saved model or any checkpoint with a trained head; its own shape counts, not the arguments'.

        Raises UserError where the head is missing.
        """
        model = cls(vocab_size, outputs, checkpoint=str(folder), pooling=pooling)
        lacking = model.drawn
        if model.head is not None and not (folder / HEAD).is_file():
            lacking = (HEAD,)
        if outputs is not None and lacking:
            raise UserError(f"{folder}: no trained classifier of {outputs} outputs: {', '.join(lacking)} missing; "
                            "fine-tune the checkpoint first")
        if model.head is not None:
            model.head.load_state_dict(load_file(folder / HEAD))
        return model


def _from_checkpoint(checkpoint: str, outputs: int | None, vocab_size: int) -> tuple[PreTrainedModel, tuple[str, ...]]:
    from transformers import AutoModel, AutoModelForSequenceClassification

    if outputs is None:
        model, drawn = pretrained(AutoModel, checkpoint)
    else:
        model, drawn = pretrained(AutoModelForSequenceClassification, checkpoint, num_labels=outputs)
    rows = model.get_input_embeddings().num_embeddings
    if vocab_size > rows:
        raise UserError(f"checkpoint '{checkpoint}': {rows} token vectors, the vocabulary has {vocab_size} tokens; "
                        "take the vocabulary that came with the checkpoint")
    return model, drawn


def _config(vocab_size: int, outputs: int | None, layers: int, width: int, heads: int, ffn: int, positions: int,
            dropout: float) -> BertConfig:
    from transformers import BertConfig

    check("bert", {"layers": layers, "width": width, "heads": heads, "ffn": ffn, "positions": positions},
          {"dropout": dropout})
    if width % heads:
        raise UserError(f"bert: width = {width} and heads = {heads}; the width must be a multiple of the heads")
    return BertConfig(vocab_size=vocab_size, num_labels=outputs or 1, num_hidden_layers=layers, hidden_size=width,
                      num_attention_heads=heads, intermediate_size=ffn, max_position_embeddings=positions,
                      hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)


def _check_shape_is_free(vectors: np.ndarray | None, **shape: int) -> None:
    defaults = inspect.signature(Bert).parameters
    said = [name for name, value in shape.items() if value != defaults[name].default]
    said += ["embeddings"] if vectors is not None else []
    if said:
        raise UserError(f"bert: {', '.join(said)} given beside a checkpoint, which brings its own; leave out either")


def _put_vectors(hf: PreTrainedModel, vectors: np.ndarray | None) -> None:
    if vectors is None:
        return
    table = hf.get_input_embeddings().weight
    if vectors.shape != tuple(table.shape):
        raise UserError(f"bert: vectors of shape {vectors.shape}, the model's table is {tuple(table.shape)}")
    with torch.no_grad():
        table.copy_(torch.from_numpy(vectors))


def _mean_head(hf: PreTrainedModel, outputs: int) -> nn.Sequential:
    head = nn.Linear(hf.config.hidden_size, outputs)
    nn.init.normal_(head.weight, std=getattr(hf.config, "initializer_range", 0.02))
    nn.init.zeros_(head.bias)
    return nn.Sequential(nn.Dropout(getattr(hf.config, "hidden_dropout_prob", 0.1)), head)


def _takes_types(hf: PreTrainedModel) -> bool:
    """RoBERTa's and DistilBERT's kin have no second token type."""
    named = "token_type_ids" in inspect.signature(hf.forward).parameters
    return named and getattr(hf.config, "type_vocab_size", 0) > 1
