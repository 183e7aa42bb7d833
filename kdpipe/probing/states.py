"""What each layer of a model makes of texts, computed once for each distinct text and kept in the store."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdpipe import modelfolder
from kdpipe.intact import DIGESTS, digest
from kdpipe.modelfolder import CARD, TRAINING, Loaded
from kdpipe.store import Store
from kdpipe.types import content_key

SEED = 1111  # of the untrained twin
_SLAB = 16_384  # texts whose states are held at once
_LARGEST = 6e4  # that float16 holds


@dataclass(frozen=True)
class Weights:
    """A network whose states are read. fingerprint: of all that they depend on; cls: a transformer's [CLS] too."""

    loaded: Loaded
    fingerprint: str
    cls: bool = False
    device: str = "cpu"

    @cached_property
    def layers(self) -> dict[str, int]:
        """The width of each layer's states, by name, from the token vectors up."""
        one = pa.table({"id": [b"0" * 16], "text_a": ["a"], "text_b": pa.nulls(1, pa.string())})
        (_, said), = self._said(one)
        return {name: state.shape[1] for name, state in said.items()}

    def _said(self, rows: pa.Table, title: str | None = None) -> Iterator:
        from kdpipe.train import representations

        encoded = self.loaded.vocab.encode(rows, self.loaded.max_length)
        return representations(self.loaded.model, encoded, self.cls, self.device, title)

    def fill(self, store: Store, rows: pa.Table, title: str) -> int:
        """Keep the states of the texts of rows (id, text_a, text_b) that are not there yet; how many that were."""
        missing = np.zeros(len(rows), bool)
        for layer in self.layers:
            there = store.read(store.states(self.fingerprint, layer), ["id"])
            known = pc.is_in(rows["id"], value_set=there["id"].combine_chunks()) if there is not None else None
            missing |= True if known is None else ~known.to_numpy()
        _, first = np.unique(np.array(rows["id"].to_pylist(), object), return_index=True)
        places = np.intersect1d(first, np.flatnonzero(missing))
        for start in range(0, len(places), _SLAB):
            self._write(store, rows.take(pa.array(places[start:start + _SLAB])), title)
        return len(places)

    def _write(self, store: Store, rows: pa.Table, title: str) -> None:
        plan, found = [], {layer: [] for layer in self.layers}
        for batch, said in self._said(rows, title):
            plan.append(batch)
            for layer, state in said.items():
                found[layer].append(state.float().cpu().numpy())
        ids = rows["id"].combine_chunks().take(pa.array(np.concatenate(plan)))
        for layer, pieces in found.items():
            values = _compact(np.concatenate(pieces))
            column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
            store.write_part(store.states(self.fingerprint, layer), pa.table({"id": ids, "values": column}),
                             {"weights": self.fingerprint})

    def read(self, store: Store, layer: str, ids: pa.Array) -> np.ndarray:
        """The kept states of rows [n] -> [n, d], float16 where all of the layer's numbers are."""
        found = np.zeros((len(ids), self.layers[layer]), np.float16)
        for part in store.scan(store.states(self.fingerprint, layer)):
            place = pc.index_in(ids, value_set=part["id"].combine_chunks())
            rows, at = np.flatnonzero(place.is_valid()), place.drop_null().to_numpy()
            values = part["values"].combine_chunks().flatten().to_numpy().reshape(len(part), -1)
            found = found.astype(np.promote_types(found.dtype, values.dtype), copy=False)
            found[rows] = values[at]
        return found


def _compact(values: np.ndarray) -> np.ndarray:
    """float16, which rounds the 4th digit; float32 where a number is too large for it."""
    return values.astype(np.float16) if np.abs(values).max() < _LARGEST else values


def trained(loaded: Loaded, cls: bool = False, device: str = "cpu") -> Weights:
    """A model as it is."""
    return Weights(loaded, modelfolder.fingerprint(loaded.folder, (), loaded.max_length, "fp32"), cls, device)


def untrained(loaded: Loaded, cls: bool = False, device: str = "cpu") -> Weights:
    """A network of the same shape and vocabulary that never learned anything; of like models it is the same one."""
    from kdpipe.train import seeded

    model = copy.deepcopy(loaded.model)
    with seeded(SEED):
        model.redraw()
    files = {p.name: digest(p) for p in sorted(loaded.folder.iterdir())
             if p.suffix in (".json", ".txt", ".model") and p.name not in (CARD, TRAINING, DIGESTS, "config.json")}
    key = content_key("untrained-1", SEED, files, type(model).__name__, _drawn(model), loaded.max_length)
    return Weights(replace(loaded, model=model.eval()), key, cls, device)


def _drawn(model: object) -> str:
    """Hex key of all numbers that the states depend on: shapes and what was drawn, not the classifier."""
    import hashlib

    found = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith(("head.", "hf.classifier.")):
            found.update(f"{name} {tuple(tensor.shape)}".encode() + tensor.cpu().numpy().tobytes())
    return found.hexdigest()
