"""What SQL sees of the store's files: for each kind of file its place, its columns and their DuckDB types."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from kdpipe.types import ID, LEAKS, NEIGHBOURS, PERTURBED, PREDICTIONS, SLICE, TRANSFER

_TYPES = {
    ID: "blob",
    pa.string(): "varchar",
    pa.bool_(): "boolean",
    pa.int32(): "integer",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.list_(pa.float32()): "float[]",
}


@dataclass(frozen=True)
class Source(ABC):
    """Files of one kind.

    pattern: a glob below the store.
    columns: what a file holds, name -> DuckDB type.
    folders: the keys of the key=value folders above a file; they are columns of text.
    """

    pattern: str
    columns: Mapping[str, str]
    folders: tuple[str, ...] = ()

    def empty(self) -> str:
        """A select of no rows with the columns of the source."""
        types = {**self.columns, **dict.fromkeys((*self.folders, "file"), "varchar")}
        return f"select {', '.join(f'null::{kind} as {_quoted(c)}' for c, kind in types.items())} where false"

    @abstractmethod
    def select(self, base: str) -> str:
        """A select of the columns, and of each file's name as `file`, over all files below `base`, a glob."""


class Parts(Source):
    """Parquet parts, all of one schema (kdpipe.types).

    Without `union_by_name`, which would open two thousand parts before the first row is read. Folders stay hive
    partitions, so that a condition on a run, or a join on one, leaves out the parts of all others.
    """

    def select(self, base: str) -> str:
        names = ", ".join(map(_quoted, (*self.columns, *self.folders)))
        return (
            f"select {names}, parse_filename(filename) as file "
            f"from read_parquet({_literal(f'{base}/{self.pattern}')}, "
            "hive_partitioning = true, hive_types_autocast = false, filename = true)"
        )


class Records(Source):
    """JSON files of one object each. Keys that are missing are null, keys without a column are passed over.

    read_text with from_json takes a twentieth of the time of read_json on a thousand files.
    """

    def select(self, base: str) -> str:
        folders = "".join(f"regexp_extract(filename, '/{f}=([^/]*)/[^/]*$', 1) as {_quoted(f)}, " for f in self.folders)
        return f"""
            select *
            from (
                select
                    unnest(from_json(content, {_literal(json.dumps(self.columns))})),
                    {folders}parse_filename(filename) as file
                from read_text({_literal(f"{base}/{self.pattern}")})
            )
        """


def _columns(schema: pa.Schema) -> dict[str, str]:
    return {f.name: _TYPES[f.type] for f in schema}


def _quoted(name: str) -> str:
    return f'"{name}"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


SOURCES: dict[str, Source] = {
    "runs": Records(
        "runs/*.json",
        {
            "run": "varchar",
            "task": "varchar",
            "task_key": "varchar",
            "kind": "varchar",
            "labels": "varchar[]",
            "recipe": "varchar",
            "phase": "varchar",
            "role": "varchar",
            "student": "varchar",
            "seed": "bigint",
            "started": "varchar",
            "seconds": "double",
            "metric": "varchar",
            "dev_score": "double",
            "test_score": "double",
            "scores": "struct(split varchar, metric varchar, value double)[]",
            "stages": "struct(stage varchar, seconds double, rows bigint, reused boolean)[]",
            "teacher_run": "varchar",
            "teacher": "varchar",
            "transfer": "varchar",
            "model": "varchar",
            "teacher_rows_asked": "bigint",
            "operators": "varchar[]",
            "transfer_counts": "struct(operator varchar, rows bigint)[]",
            "parameters": "struct(total bigint, embedding bigint, non_embedding bigint)",
            "curve": "struct(epoch bigint, loss double, dev double, seconds double)[]",
            "best_epoch": "bigint",
            "temperature": "double",
            "speed": "struct(batch bigint, rows_per_second double)[]",
            "device": "varchar",
            "settings": "json",
            "versions": "json",
            "git": "struct(commit varchar, dirty boolean)",
            "machine": "json",
        },
    ),
    "transfer_sets": Records("transfer/*/_complete.json", {"parts": "varchar[]"}, ("set",)),
    "transfer": Parts("transfer/*/part-*.parquet", _columns(TRANSFER), ("set",)),
    "signals": Parts("signals/*/signal=logits/part-*.parquet", {"id": "blob", "values": "float[]"}, ("teacher",)),
    "predictions": Parts("predictions/*/*/part-*.parquet", _columns(PREDICTIONS), ("run", "split")),
    "leaks": Parts("leaks/*/part-*.parquet", _columns(LEAKS), ("set",)),
    "perturbed": Parts("perturbed/*/*/*/part-*.parquet", _columns(PERTURBED), ("run", "split", "perturbation")),
    "perturbed_scores": Records(
        "robustness/*/*.json",
        {
            "run": "varchar",
            "split": "varchar",
            "scores": "struct(perturbation varchar, says varchar, keeps_label boolean, metric varchar, clean double, "
            "perturbed double, low double, high double, p_holm double, verdict varchar)[]",
        },
    ),
    "neighbours": Parts("neighbours/*/part-*.parquet", _columns(NEIGHBOURS), ("task",)),
    "saved": Parts("slices/*/part-*.parquet", _columns(SLICE), ("slice",)),
    "probed": Records(
        "probed/*.json",
        {
            "name": "varchar",
            "run": "varchar",
            "weights": "varchar",
            "untrained": "varchar",
            "model": "varchar",
            "started": "varchar",
        },
    ),
    "probes": Records(
        "probes/*.json",
        {
            "weights": "varchar",
            "task": "varchar",
            "task_key": "varchar",
            "protocol": "varchar",
            "grid": "varchar",
            "classes": "bigint",
            "chosen_on": "varchar",
            "rows_learned": "bigint",
            "rows_chosen_on": "bigint",
            "splits": "struct(split varchar, rows bigint, majority double)[]",
            "layers": "struct(layer varchar, place bigint, width bigint, hidden bigint, dropout double, l2 double, "
                      "epochs bigint, chosen_accuracy double, scores struct(split varchar, accuracy double)[])[]",
            "texts_asked": "bigint",
            "state_seconds": "double",
            "seconds": "double",
            "started": "varchar",
        },
    ),
}
