"""BERT and its kin, from a checkpoint or new, through Hugging Face transformers."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kdpipe.errors import UserError
from kdpipe.models import Encoder, mean
from kdpipe.models._checkpoint import check_folder, pretrained, quiet
from kdpipe.models._checks import check, one_of
from kdpipe.types import Batch, Outputs, Shape, Tokens

if TYPE_CHECKING:  # transformers takes seconds to import, and a recipe that names no checkpoint is checked without it
    from transformers import BertConfig, PreTrainedModel

HEAD = "head.safetensors"  # the classifier over mean states; transformers does not know it


# layers, width, heads, ffn
PRESETS = {
    "tinybert4": (4, 312, 12, 1200),  # Jiao et al. 2020, arXiv:1909.10351
    "sucik": (5, 204, 3, 750),  # Sucik 2020, the BERT student
    "bert_small": (4, 512, 8, 2048),
    "bert6": (6, 768, 12, 3072),  # the shape of DistilBERT and of PKD's students
    "bert4": (4, 768, 12, 3072),
    "bert2": (2, 768, 12, 3072),  # Passban et al. 2021, arXiv:2012.14022
}
TAKE = {"distilbert": (0, 2, 4, 7, 9, 11)}  # Sanh et al. 2019, arXiv:1910.01108: their code's layers of 12


class Bert(Encoder):
    """A transformer encoder with a classifier.  Devlin et al. 2019, arXiv:1810.04805.

    checkpoint: a folder or Hugging Face name (config.json and safetensors); its own shape and vectors are taken.
    take: the checkpoint's layers that are kept, counted from 0, in their order; "alternate": every other one from 0;
        "distilbert": 0, 2, 4, 7, 9, 11 of 12.
    layers, width, heads, ffn, positions, dropout: of a new BERT where there is no checkpoint.
    preset: the first four of these by name: tinybert4, sucik, bert_small, bert6, bert4, bert2.
    pooling: "cls": transformers' own sequence classifier, so that what `save` leaves is an ordinary checkpoint;
        "mean": Linear over the mean state of the real tokens, which suits sentence-embedding checkpoints; then plain
        transformers loads the encoder (AutoModel) and the head lies beside it in head.safetensors. A student that
        starts from a teacher's layers pools as it does, unless it says otherwise.

    hf: the transformers model; drawn: the names of its weights that the checkpoint lacked.
    Raises UserError for checkpoints and arguments that cannot be.
    """

    reads = ("wordpieces",)
    packs_pairs = True
    inherits = ("pooling",)
    half = True

    def __init__(self, vocab_size: int, outputs: int | None, vectors: np.ndarray | None = None,
                 checkpoint: str | None = None, take: Sequence[int] | str | None = None, preset: str | None = None,
                 layers: int = 4, width: int = 312, heads: int = 12, ffn: int = 1200, positions: int = 512,
                 dropout: float = 0.1, pooling: Literal["cls", "mean"] = "cls"):
        from transformers import AutoModel, AutoModelForSequenceClassification

        super().__init__()
        _check_arguments(checkpoint, take, preset, layers, width, heads, ffn, positions, dropout, pooling, vectors)
        self.pooling, self.drawn, self.outputs = pooling, (), outputs or 0
        whole = pooling == "cls" and outputs is not None
        if checkpoint is None:
            shape = _config(vocab_size, outputs, *_sizes(preset, layers, width, heads, ffn), positions, dropout)
            self.hf = (AutoModelForSequenceClassification if whole else AutoModel).from_config(shape)
            _put_vectors(self.hf, vectors)
        else:
            self.hf, self.drawn = _from_checkpoint(checkpoint, outputs if whole else None, vocab_size)
            if take is not None:
                _keep_layers(self.hf, _taken(take, self.hf.config.num_hidden_layers))
        if not whole and hasattr(self.hf, "pooler"):
            self.hf.pooler = None
            self.drawn = tuple(name for name in self.drawn if not name.startswith("pooler."))
        self.state_width = self.hf.config.hidden_size
        self.head = None if outputs is None or whole else _mean_head(self.hf, outputs)
        self._takes_types = _takes_types(self.hf)

    @property
    def shape(self) -> Shape:
        return _shape(self.hf.config.to_dict() | {
            "num_hidden_layers": self.hf.config.num_hidden_layers, "hidden_size": self.hf.config.hidden_size,
            "num_attention_heads": self.hf.config.num_attention_heads}, self.outputs)

    @classmethod
    def shape_for(cls, vocab_size: int, outputs: int | None, checkpoint: str | None = None,
                  take: Sequence[int] | str | None = None, preset: str | None = None, layers: int = 4,
                  width: int = 312, heads: int = 12, ffn: int = 1200, positions: int = 512, dropout: float = 0.1,
                  pooling: str = "cls") -> Shape:
        """From the checkpoint's config.json alone, where there is one."""
        _check_arguments(checkpoint, take, preset, layers, width, heads, ffn, positions, dropout, pooling, None)
        if checkpoint is None:
            layers, width, heads, ffn = _sizes(preset, layers, width, heads, ffn)
            return Shape(layers, width, width, outputs or 0, _GIVES, heads, ffn, positions)
        check_folder(checkpoint)
        found = _shape(json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8")), outputs or 0)
        return found if take is None else replace(found, layers=len(_taken(take, found.layers)))

    @classmethod
    def started(cls, first: Shape, outputs: int | None, take: Sequence[int] | str | None = None,
                pooling: str = "cls", **said: object) -> Shape:
        """Of a BERT: all of its layers, or those that are taken."""
        one_of("bert", "pooling", pooling, ("cls", "mean"))
        if said:
            raise UserError(f"bert: {', '.join(said)} given beside from, which brings its own; leave out either")
        if first.heads is None:
            raise UserError("bert: from names a phase whose model is no transformer; take one that is")
        layers = first.layers if take is None else len(_taken(take, first.layers))
        return replace(first, layers=layers, outputs=outputs or 0, gives=first.gives | {"logits"})

    def forward(self, batch: Batch, parts: Collection[str] = ()) -> Outputs:
        """One segment [B, N] -> logits [B, C] and the parts that are asked for."""
        tokens, states = batch.segments[0], bool({"cls", "hidden"} & {*parts})
        inputs = self._inputs(tokens)
        if "vectors" in parts:
            vectors = self.hf.get_input_embeddings()(inputs.pop("input_ids"))
            inputs["inputs_embeds"] = vectors if vectors.requires_grad else vectors.requires_grad_()
        with self._listening(parts) as heard, _twice_differentiable("vectors" in parts):
            if self.head is None and self.outputs:
                answer = self.hf(**inputs, output_hidden_states=states)
                logits = answer.logits
            else:
                answer = self.hf.base_model(**inputs, output_hidden_states=states)
                logits = self.head(self._pool(answer.last_hidden_state, tokens)) if self.head is not None else None
        said = Outputs(logits, mask=tokens.mask, vectors=inputs.get("inputs_embeds"))
        if states:
            said.hidden = dict(enumerate(answer.hidden_states))
            said.cls = {i: self._pool(state, tokens) for i, state in said.hidden.items() if i}
        if "attention" in parts:
            said.attention = Lazily({i: partial(_scores, q, k, self.hf.config.num_attention_heads)
                                     for i, (q, k) in enumerate(zip(heard["query"], heard["key"], strict=True), 1)})
        if "boundaries" in parts:
            said.boundaries = {i: self._pool(f, tokens) > 0 for i, f in enumerate(heard["ffn"], 1)}
        return said

    def encode(self, tokens: Tokens) -> Tensor:
        """Token ids [B, N] -> the last layer's [CLS] state, or its mean over the real tokens, [B, H]."""
        return self._pool(self.hf.base_model(**self._inputs(tokens)).last_hidden_state, tokens)

    def _pool(self, states: Tensor, tokens: Tokens) -> Tensor:
        if self.pooling == "cls":
            return states[:, 0]
        return mean(states, tokens.mask)

    def representations(self, batch: Batch, cls: bool = False) -> dict[str, Tensor]:
        """The mean of the real tokens' states, of layer 0 as "embeddings"; at [CLS] also as "layer_1_cls", ..."""
        tokens = batch.segments[0]
        states = self.hf.base_model(**self._inputs(tokens), output_hidden_states=True).hidden_states
        found = {}
        for i, each in enumerate(states):
            found[f"layer_{i}" if i else "embeddings"] = mean(each, tokens.mask)
            if cls and i:
                found[f"layer_{i}_cls"] = each[:, 0]
        return found

    def redraw(self) -> None:
        training, pooled = self.hf.training, getattr(self.hf, "pooler", None) is not None
        self.hf = type(self.hf)(self.hf.config).train(training)
        if not pooled and hasattr(self.hf, "pooler"):
            self.hf.pooler = None

    @contextmanager
    def _listening(self, parts: Collection[str]) -> Iterator[dict[str, list[Tensor]]]:
        """What the layers' query, key and first feed-forward maps make inside, [B, N, width] of each layer in order."""
        wanted = {"attention": ("query", "key"), "boundaries": ("ffn",)}
        heard: dict[str, list[Tensor]] = {kind: [] for part in parts for kind in wanted.get(part, ())}
        hooks = []
        for kind, found in heard.items():
            for layer in _layers(self.hf):
                tap = _tap(layer, kind)
                hooks.append(tap.register_forward_hook(lambda _, __, made, found=found: found.append(made)))
        try:
            yield heard
        finally:
            for hook in hooks:
                hook.remove()

    def _inputs(self, tokens: Tokens) -> dict[str, Tensor]:
        limit = self.shape.positions
        if limit is not None and tokens.ids.shape[1] > limit:
            raise UserError(f"bert: a row of {tokens.ids.shape[1]} tokens, the model reads at most {limit}; "
                            f"set max_length = {limit} or less")
        types = {"token_type_ids": tokens.types} if self._takes_types and tokens.types is not None else {}
        return {"input_ids": tokens.ids, "attention_mask": tokens.mask.long(), **types}

    def embedding_parameters(self) -> Iterator[nn.Parameter]:
        return self.hf.get_input_embeddings().parameters()

    def blocks(self) -> list[nn.Module]:
        """What stands on the layers, the layers from the last to the first, what they read."""
        layers = _layers(self.hf)
        inside = {id(m) for layer in layers for m in layer.modules()}
        below = next(m for m in self.hf.base_model.children() if self.hf.get_input_embeddings() in m.modules())
        inside |= {id(m) for m in below.modules()}
        above = [m for m in self.modules() if not {id(part) for part in m.modules()} & inside]
        return [nn.ModuleList(above), *reversed(layers), below]

    def name_outputs(self, labels: Sequence[str]) -> None:
        self.hf.config.problem_type = "single_label_classification" if labels else "regression"
        if labels:
            self.hf.config.id2label = dict(enumerate(labels))
            self.hf.config.label2id = {name: i for i, name in enumerate(labels)}

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

    return BertConfig(vocab_size=vocab_size, num_labels=outputs or 1, num_hidden_layers=layers, hidden_size=width,
                      num_attention_heads=heads, intermediate_size=ffn, max_position_embeddings=positions,
                      hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)


def _check_arguments(checkpoint: str | None, take: object, preset: str | None, layers: int, width: int, heads: int,
                     ffn: int, positions: int, dropout: float, pooling: str, vectors: np.ndarray | None) -> None:
    one_of("bert", "pooling", pooling, ("cls", "mean"))
    sizes = {"layers": layers, "width": width, "heads": heads, "ffn": ffn, "positions": positions}
    defaults = inspect.signature(Bert).parameters
    said = [name for name, value in sizes.items() if value != defaults[name].default]
    said += ["embeddings"] if vectors is not None else []
    if checkpoint is not None:
        said += ["preset"] if preset is not None else []
        if said:
            raise UserError(f"bert: {', '.join(said)} given beside a checkpoint, which brings its own; leave out "
                            "either")
        return
    if take is not None:
        raise UserError(f"bert: take = {take!r} says which layers of a checkpoint are kept; give checkpoint or from")
    if preset is not None:
        one_of("bert", "preset", preset, PRESETS)
        if shape := [name for name in said if name in ("layers", "width", "heads", "ffn")]:
            raise UserError(f"bert: {', '.join(shape)} given beside preset = {preset!r}, which says it; leave out "
                            "either")
        layers, width, heads, ffn = PRESETS[preset]
    check("bert", sizes, {"dropout": dropout})
    if width % heads:
        raise UserError(f"bert: width = {width} and heads = {heads}; the width must be a multiple of the heads")


def _sizes(preset: str | None, *said: int) -> tuple[int, ...]:
    return said if preset is None else PRESETS[preset]


def _taken(take: Sequence[int] | str, layers: int) -> tuple[int, ...]:
    """Layers of a checkpoint, counted from 0. Raises UserError for layers that are not there."""
    if take == "alternate":
        return tuple(range(0, layers, 2))
    found = TAKE.get(take, ()) if isinstance(take, str) else take
    whole = isinstance(found, Sequence) and len(found) > 0 and all(type(i) is int for i in found)
    if not whole or any(not 0 <= i < layers for i in found) or list(found) != sorted(set(found)):
        raise UserError(f"bert: take = {take!r}; the checkpoint has the layers 0 to {layers - 1}: allowed are rising "
                        "numbers of these, 'alternate', and 'distilbert' where there are 12")
    return tuple(found)


_GIVES = frozenset({"logits", "cls", "hidden", "attention", "boundaries", "vectors"})


def _shape(config: Mapping[str, Any], outputs: int) -> Shape:
    """From what config.json says, by the names of BERT and its kin or of DistilBERT."""
    def of(*names: str) -> int | None:
        return next((config[name] for name in names if isinstance(config.get(name), int)), None)

    layers, width = of("num_hidden_layers", "n_layers"), of("hidden_size", "dim")
    if not layers or not width:
        raise UserError("bert: the checkpoint's config.json does not say how many layers it has and how wide they are")
    lacking = {"logits"} if not outputs else set()
    lacking |= {"vectors"} if of("embedding_size") not in (None, width) else set()  # narrower than layer 0
    return Shape(layers, width, width, outputs, _GIVES - lacking, of("num_attention_heads", "n_heads"),
                 of("intermediate_size", "hidden_dim"), _positions(config))


def _positions(config: Mapping[str, Any]) -> int | None:
    """Tokens that can be read of a row; RoBERTa's kin number them from beyond the padding's own number."""
    most, behind = config.get("max_position_embeddings"), config.get("model_type") in _NUMBERED_BEYOND
    if not isinstance(most, int) or most <= 0:
        return None
    return most - 1 - (config.get("pad_token_id") or 0) if behind else most


_NUMBERED_BEYOND = ("roberta", "xlm-roberta", "camembert", "longformer", "mpnet")


def _layers(hf: PreTrainedModel) -> nn.ModuleList:
    """The encoder's layers. Raises UserError for an architecture that keeps them elsewhere."""
    found = [m for m in hf.base_model.modules()
             if isinstance(m, nn.ModuleList) and len(m) == hf.config.num_hidden_layers]
    if not found:
        raise UserError(f"bert: the layers of a {type(hf).__name__} were not found; take a BERT or one of its kin")
    return found[0]


_TAPS = {"query": ("query", "q_lin"), "key": ("key", "k_lin"), "ffn": ("intermediate.dense", "ffn.lin1")}


def _tap(layer: nn.Module, kind: str) -> nn.Module:
    for name, module in layer.named_modules():
        if name.endswith(_TAPS[kind]):
            return module
    raise UserError(f"bert: a {type(layer).__name__} has no {' or '.join(_TAPS[kind])}: its attention or feed-forward "
                    "states cannot be read; take a BERT or one of its kin")


def _keep_layers(hf: PreTrainedModel, kept: Sequence[int]) -> None:
    layers = _layers(hf)
    chosen = [layers[i] for i in kept]
    del layers[:]
    layers.extend(chosen)
    hf.config.num_hidden_layers = len(chosen)


def _scores(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """[B, N, A d] twice -> Q K^T / sqrt(d) of each head [B, A, N, N], before mask and softmax."""
    q, k = (states.unflatten(-1, (heads, -1)).transpose(1, 2) for states in (query, key))
    return q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])


class Lazily(Mapping):
    """What is computed when it is asked for, each time."""

    def __init__(self, made: Mapping[int, Callable[[], Tensor]]):
        self.made = made

    def __getitem__(self, key: int) -> Tensor:
        return self.made[key]()

    def __iter__(self) -> Iterator[int]:
        return iter(self.made)

    def __len__(self) -> int:
        return len(self.made)


@contextmanager
def _twice_differentiable(wanted: bool) -> Iterator[None]:
    """Attention by plain matrix products inside: the fused kernels have no second derivative."""
    if not wanted:
        yield
        return
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        yield


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
