"""Reads what was in the tables before the stream began, in chunks along the primary key.

The first attempt reads under one consistent snapshot, taken together with the log's position. After a restart
the rest is read fresh, each chunk as it is then; those rows may be newer than the position, and the stream,
which still starts there, brings every change since in order. Either way the last record of a key is its last
state. Pages instead of one long cursor: memory stays bounded, and a restart goes on at the last key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from connectors.sources.chunks import Chunk, Chunks
from connectors.sources.mysql.rowimage import Row
from exchange.binlog.columns import BINARIES, TEXTS, Column
from exchange.binlog.session import Session, quoted, quoted_name
from exchange.position import SnapshotProgress

_NUMBERS: Final = frozenset(
    ["tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year", "enum", "set", "bit"]
)
_MOMENTS: Final = frozenset(["date", "datetime", "timestamp", "time"])
KEY_TYPES: Final = _NUMBERS | _MOMENTS | TEXTS | BINARIES
"""What a primary key may consist of: types whose text names the very value again, and orders as it does."""


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A table that may be captured, as it is now; `key` in index order; collation of each key text."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    collations: Mapping[str, str]


class Snapshot:
    """chunk* → close. `tables` are read in their order; those already complete are not among them."""

    def __init__(
        self, session: Session, tables: Mapping[str, SourceTable], progress: SnapshotProgress
    ) -> None:
        session.query("SET character_set_results = NULL")
        self._session = session
        self._chunks = Chunks(tables, progress, self._read, _key_texts)

    def chunk(self) -> Chunk[SourceTable, Row] | None:
        """Return the next chunk, which is empty for an empty table's end; None when all tables are done."""
        return self._chunks.next()

    def close(self) -> None:
        """Close the connection and with it the snapshot."""
        self._session.close()

    def _read(self, table: SourceTable, last_key: tuple[str, ...], limit: int) -> list[Row]:
        return self._session.query(_page(table, last_key, limit))


def expression(column: Column) -> str:
    """Return what to select of a column, so that its text is the one that rowimage.py makes."""
    name = quoted_name(column.name)
    if column.kind in ("enum", "set", "bit"):
        return f"CAST({name} AS UNSIGNED)"
    if column.kind == "float":
        return f"{name} + 0e0"  # as a float the server prints six digits only
    if column.kind == "binary" and column.size:
        return f"CAST({name} AS BINARY({column.size}))"  # of a uuid too, which prints as text else
    return name


def _page(table: SourceTable, last_key: Sequence[str], limit: int) -> str:
    columns = ", ".join(map(expression, table.columns))
    order = ", ".join(map(quoted_name, table.key))
    after = f" WHERE {_after(table, last_key)}" if last_key else ""
    return f"SELECT {columns} FROM {quoted(table.name)}{after} ORDER BY {order} LIMIT {limit}"  # noqa: S608


def _after(table: SourceTable, last_key: Sequence[str]) -> str:
    """Spell "key > last" out column by column: for a comparison of tuples the server uses no index.

    (a, b) > (1, 2) is a >= 1 AND (a > 1 OR (a = 1 AND b > 2)).
    """
    kinds = {column.name: column for column in table.columns}
    literals = [
        _literal(kinds[name], bytes.fromhex(hexed), table.collations.get(name, ""))
        for name, hexed in zip(table.key, last_key, strict=True)
    ]
    names = [quoted_name(name) for name in table.key]
    condition = f"{names[-1]} > {literals[-1]}"
    for name, literal in list(zip(names, literals, strict=True))[-2::-1]:
        condition = f"{name} >= {literal} AND ({name} > {literal} OR ({condition}))"
    return condition


def _literal(column: Column, text: bytes, collation: str) -> str:
    if column.kind in _NUMBERS:
        return text.decode()
    if column.kind in _MOMENTS:
        return f"'{text.decode()}'"
    if column.kind == "binary":
        return f"X'{text.hex()}'"
    return f"_{column.charset} X'{text.hex()}' COLLATE {collation}"


def _key_texts(table: SourceTable, row: Row) -> tuple[str, ...]:
    """Return the key in hex: its texts are bytes of the column's character set."""
    at = {column.name: number for number, column in enumerate(table.columns)}
    return tuple((row[at[name]] or b"").hex() for name in table.key)
