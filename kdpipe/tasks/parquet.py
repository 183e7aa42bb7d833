"""Parquet, as pandas, Polars, Spark and Hugging Face datasets write it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from kdpipe.errors import UserError
from kdpipe.tasks._bad import BadRows
from kdpipe.tasks._columns import NamedColumns, Wanted
from kdpipe.tasks._text import opened

T = TypeVar("T")


class Parquet(NamedColumns):
    """Texts are string columns; a label column may hold strings, whole numbers, booleans or floats."""

    unit: ClassVar[str] = "row"

    def columns(self, path: Path) -> list[str]:
        return _whole(path, lambda file: file.schema_arrow.names)

    def values(self, path: Path, wanted: Wanted, bad: BadRows) -> pa.Table:
        table = _whole(path, lambda file: file.read(wanted.names))
        faults = [
            f"{path}: column '{name}' holds {table[name].type}; a text column must hold strings"
            for name in wanted.texts
            if not _is_text(table[name].type)
        ]
        if wanted.label is not None and not _is_label(table[wanted.label].type):
            faults.append(
                f"{path}: column '{wanted.label}' holds {table[wanted.label].type}; "
                "a label column must hold strings, numbers or booleans"
            )
        if faults:
            raise UserError(faults)
        columns = [_plain(path, name, table[name]) for name in wanted.names]
        return pa.table([*columns, pa.array(range(1, len(table) + 1), pa.int64())], names=[*wanted.roles, "line"])


def _whole(path: Path, read: Callable[[pq.ParquetFile], T]) -> T:
    """What `read` finds in the file. Raises UserError where the file is missing or broken."""
    with opened(path) as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        try:
            return read(pq.ParquetFile(stream, page_checksum_verification=True))
        except (pa.ArrowException, OSError, UnicodeDecodeError) as e:  # a name that is no text
            raise UserError(
                f"{path}: broken Parquet file, {size:,} bytes ({str(e).splitlines()[0]}); make or fetch it again"
            ) from None


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if kinds.is_dictionary(kind) else kind
    return kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind)


def _is_label(kind: pa.DataType) -> bool:
    return _is_text(kind) or any(
        test(kind) for test in (kinds.is_integer, kinds.is_boolean, kinds.is_floating, kinds.is_decimal)
    )


def _plain(path: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """As string, numbers with a fraction as float64. Raises UserError for bytes that are not UTF-8."""
    if kinds.is_floating(column.type) or kinds.is_decimal(column.type):
        return column.cast(pa.float64())
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as e:
        raise UserError(f"{path}: column '{name}' is not UTF-8 ({e})") from None
    return column.cast(pa.string())
