"""Reading a Hugging Face checkpoint: safetensors only, no code from it, nothing missing in silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from kdpipe.errors import UserError, is_lack_of_memory
from kdpipe.resources import is_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HEADS = ("pooler.",)  # parts of an encoder that only its classifier reads


def pretrained(auto: type, checkpoint: str, **config: Any) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """The model of a folder or Hugging Face name in float32, and the names of weights that had to be drawn.

    Only a head's weights may be drawn. Raises UserError for a folder without configuration or safetensors, for broken
    files and where weights of the encoder are missing or have another shape.
    """
    from transformers import AutoConfig

    check_folder(checkpoint)
    safe = {"trust_remote_code": False}
    try:
        with quiet():
            settings = AutoConfig.from_pretrained(checkpoint, **safe, **config)
            model, report = auto.from_pretrained(
                checkpoint, config=settings, dtype=torch.float32, use_safetensors=True,
                ignore_mismatched_sizes=True, output_loading_info=True, **safe)
    except (OSError, ValueError, RuntimeError, SafetensorError) as e:
        if is_lack_of_memory(e):
            raise
        raise UserError(f"checkpoint '{checkpoint}': cannot be read ({str(e).splitlines()[0]}); "
                        "give a folder or Hugging Face name with config.json and *.safetensors") from e
    drawn = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    lost = [key for key in drawn if not _of_head(model, key)]
    if lost:
        raise UserError(f"checkpoint '{checkpoint}': weights of the encoder are missing or have another shape: "
                        f"{', '.join(lost[:4])}{' and others' if len(lost) > 4 else ''} ({len(lost)} in all); "
                        "take a whole checkpoint of this architecture")
    return model, tuple(drawn)


@contextmanager
def quiet() -> Iterator[None]:
    """No loading reports and bars of transformers inside."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def check_folder(checkpoint: str) -> None:
    """Raises UserError for a folder that is no checkpoint."""
    folder = Path(checkpoint)
    if not is_folder(folder):
        if folder.is_absolute() or checkpoint.startswith("."):
            raise UserError(f"{checkpoint}: no such model folder")
        return
    files = sorted(p.name for p in folder.iterdir())
    faults = []
    if "config.json" not in files:
        faults.append(f"{checkpoint}: no config.json: not a checkpoint; found {', '.join(files[:6]) or 'nothing'}")
    if not any(name.endswith(".safetensors") for name in files):
        pickles = [name for name in files if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
        found = f"; {pickles[0]} is a pickle, which can run code and is never read" if pickles else ""
        faults.append(f"{checkpoint}: no weights: needs a *.safetensors file{found}")
    if faults:
        raise UserError(faults)


def _of_head(model: PreTrainedModel, key: str) -> bool:
    prefix = f"{model.base_model_prefix}."
    inside = key.removeprefix(prefix)
    whole_is_encoder = model.base_model is model
    return inside.startswith(HEADS) or (not whole_is_encoder and not key.startswith(prefix))
