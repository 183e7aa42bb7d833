"""From a run to the model that gave its answers: in the store, or outside of it where it was brought."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdpipe import modelfolder
from kdpipe.errors import UserError
from kdpipe.modelfolder import Loaded
from kdpipe.store import Store


def folder_of(store: Store, record: Mapping[str, Any]) -> Path:
    """The model's folder. record: as `store.read_json(store.run(run))` gives it. Raises UserError where it is gone."""
    if brought := _brought(record):
        return modelfolder.find(brought["checkpoint"])
    key = record["model"]
    if not key or not store.has_model(key):
        raise UserError(f"{record['run']}: its model is not in the store any more ({store.model(str(key))}); "
                        "`kdpipe run` with its recipe trains it again")
    return store.local_model(key)


def load(store: Store, record: Mapping[str, Any]) -> Loaded:
    """The model; its `order` brings logits into the order of the record's labels. Raises UserError as `folder_of`."""
    labels, folder, brought = tuple(record["labels"]), folder_of(store, record), _brought(record)
    if not brought:
        return modelfolder.load(folder, labels, record["kind"])
    names = brought["label_names"] and tuple(brought["label_names"])
    return modelfolder.load(folder, labels, record["kind"], names, brought["max_length"])


def _brought(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The settings of the phase, where its model was brought and not trained."""
    phases = (record.get("settings") or {}).get("phases", ())
    phase = next((phase for phase in phases if phase.get("name") == record["phase"]), {})
    return phase if phase.get("checkpoint") else None
