"""SQL that only reads, and files that can only be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fsspec import AbstractFileSystem

from kdpipe.errors import UserError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Statement

_EXPLAIN = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(explain(?:\s+analyze)?\b)?(.*)", re.IGNORECASE | re.DOTALL)
_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_SCHEMAS = frozenset({"", "main", "raw", "information_schema", "pg_catalog"})
_TABLE_FUNCTIONS = re.compile(r"unnest|range|generate_series|json_each|json_tree|duckdb_\w+")


def only_reading(con: DuckDBPyConnection, sql: str) -> str:
    """The SQL where it is one select, explain, describe, summarize or show, else UserError. `con` parses it.

    A statement's type is not enough: DuckDB 2 runs `with x as (copy ...) select 1` as a select, and `explain analyze`
    runs what it explains. So the parsed tree is looked at. Table functions that take SQL as text are refused, and all
    that reads files by their names: the views' files alone are checked before they are read.
    """
    statements = con.extract_statements(sql)
    if len(statements) != 1:
        raise UserError(f"kdpipe sql only reads: one statement at a time, found {len(statements)}")
    explain, text = _EXPLAIN.fullmatch(statements[0].query).groups()
    tree = json.loads(con.execute("select json_serialize_sql($1::varchar)", [text]).fetchone()[0])
    writing = iter([_kind(statements[0])]) if tree["error"] else _writing(tree["statements"])
    if found := next(writing, None):
        raise UserError(f"kdpipe sql only reads: a select, explain, describe, summarize or show; found {found}")
    return f"{explain or ''} {text}"


def _file(node: dict) -> str:
    """What may be a file where a table is named: DuckDB joins catalog, schema and table to a path and reads it."""
    parts = [node.get(key) or "" for key in ("catalog_name", "schema_name", "table_name")]
    plain = all(re.fullmatch(r"\w*", part) for part in parts) and parts[1].lower() in _SCHEMAS
    return "" if plain else ".".join(filter(None, parts))


def _kind(statement: Statement) -> str:
    try:
        return statement.type.name
    except ValueError:  # a kind that DuckDB's Python package has no name for, such as UPDATE EXTENSIONS
        return statement.query.split()[0].upper()


def _writing(node: object) -> Iterator[str]:
    """What in a parsed statement is not plain reading."""
    if isinstance(node, list):
        for child in node:
            yield from _writing(child)
    elif isinstance(node, dict):
        kind = str(node.get("type"))
        if kind.endswith("_NODE") and kind not in _NODES:
            yield kind.split("_")[0]
        if kind == "TABLE_FUNCTION" and not _TABLE_FUNCTIONS.fullmatch(node["function"].get("function_name", "")):
            yield f"the table function {node['function'].get('function_name')}; ask the views (kdpipe sql --list)"
        if kind == "BASE_TABLE" and (named := _file(node)):
            yield f"the file '{named}'; ask the views (kdpipe sql --list)"
        for child in node.values():
            yield from _writing(child)


class ReadOnly(AbstractFileSystem):
    """Another file system's files under kdpipe://, for reading alone.

    DuckDB writes wherever it may read (`copy ... to`, `attach`, a relation's `write_csv`); here nothing opens for it.
    """

    protocol = "kdpipe"
    cachable = False

    def __init__(self, fs: AbstractFileSystem):
        super().__init__()
        self.fs = fs

    def ls(self, path: str, detail: bool = True, **options: Any) -> list:
        return self.fs.ls(self._strip_protocol(path), detail=detail, **options)

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return self.fs.info(self._strip_protocol(path), **options)

    def glob(self, path: str, **options: Any) -> list[str]:
        return self.fs.glob(self._strip_protocol(path), **options)

    def modified(self, path: str) -> datetime:
        return self.fs.modified(self._strip_protocol(path))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            raise PermissionError(f"{path}: the store is open for reading alone")
        return self.fs.open(path, mode)
