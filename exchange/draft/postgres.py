"""Reads a live PostgreSQL table for a draft: its columns, and the shapes of a sample of their values.

Values are asked for as text, at most 400 characters of each, looked at, and forgotten; no error quotes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from exchange.apply.source import Wanted, connect
from exchange.draft.guess import shapes_of
from exchange.draft.table import (
    DATE,
    LOCAL_TIMESTAMP,
    SAMPLE_ROWS,
    TIME,
    TIMESTAMP,
    LiveColumn,
    LiveTable,
    decimal,
    labelled,
)
from exchange.errors import SourceError
from exchange.settings import Secrets

_VARHDRSZ: Final = 4
"""PostgreSQL adds it to the typmod of varchar(n), char(n) and numeric(p,s)."""
_MOST_DIGITS: Final = 76
_ANY_NUMBER: Final = (38, 10)
_STATEMENT_TIMEOUT_MS: Final = 15_000

_TABLE: Final = """
SELECT c.oid, obj_description(c.oid, 'pg_class') AS comment
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')
"""
_COLUMNS: Final = """
SELECT a.attname::text AS name, a.attnotnull AS not_null, a.atttypid AS type, a.atttypmod AS typmod,
       col_description(a.attrelid, a.attnum) AS comment,
       array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], a.attnum) AS key_at
FROM pg_attribute a LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_TYPE: Final = """
SELECT t.typname::text AS name, t.typtype::text AS kind, t.typbasetype AS base,
       t.typtypmod AS base_typmod, coalesce(e.oid, 0) AS element,
       ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder) AS labels
FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid WHERE t.oid = %s
"""


_PLAIN: Final[dict[str, Any]] = {
    "int2": "int",
    "int4": "int",
    "int8": "long",
    "float4": "float",
    "float8": "double",
    "bool": "boolean",
    "bytea": "bytes",
    "uuid": {"type": "string", "logicalType": "uuid"},
    "date": DATE,
    "time": TIME,
    "timestamp": LOCAL_TIMESTAMP,
    "timestamptz": TIMESTAMP,
}
"""Type of PostgreSQL → Avro; any other is text, exactly as the server writes it."""
_WITHOUT: Final = frozenset({"json", "jsonb"})
"""Types whose fields only a person can name."""


@dataclass(frozen=True, slots=True)
class _Type:
    """A type as the catalogue has it, its domains taken off. element: of an array."""

    name: str
    typmod: int
    labels: tuple[str, ...] = ()
    element: _Type | None = None


def read_table(wish: Wanted, secrets: Secrets, table: str, *, sample: bool) -> LiveTable:
    """Return a table's columns, with the shapes of at most SAMPLE_ROWS rows where `sample` says so.

    Raises: ConfigError when there is no connection string; SourceError when there is no such table, or the
    database refuses.
    """
    with connect(wish, secrets) as connection:
        connection.execute("SET default_transaction_read_only = on")
        connection.execute("SET row_security = off")
        connection.execute(f"SET statement_timeout = {_STATEMENT_TIMEOUT_MS}")
        try:
            return _read(connection, wish.system, table, sample=sample)
        except psycopg.Error as error:
            msg = (
                f"system {wish.system}: table {table} cannot be read (SQLSTATE {error.sqlstate or 'none'}); "
                "`exchange doctor` says what is missing"
            )
            raise SourceError(msg) from None


def _read(connection: psycopg.Connection[DictRow], system: str, table: str, *, sample: bool) -> LiveTable:
    found = connection.execute(_TABLE, table.split(".")).fetchone()
    if found is None:
        msg = f"system {system}: there is no table {table}, or its user may not see the schema"
        raise SourceError(msg)
    rows = connection.execute(_COLUMNS, [found["oid"]]).fetchall()
    texts = _sampled(connection, table, [row["name"] for row in rows]) if sample else {}
    columns = tuple(
        _column(row, _type(connection, row["type"], row["typmod"]), texts.get(row["name"], ()))
        for row in rows
    )
    return LiveTable(table, (found["comment"] or "").strip(), columns)


def _column(row: DictRow, type_: _Type, texts: Iterable[str]) -> LiveColumn:
    unfit = f"{type_.name}: write its record or array by hand" if type_.name in _WITHOUT else ""
    limited = type_.name in ("varchar", "bpchar") and type_.typmod > _VARHDRSZ
    return LiveColumn(
        name=row["name"],
        kind=type_.name,
        avro=None if unfit else _avro(type_, row["name"]),
        nullable=not row["not_null"],
        comment=(row["comment"] or "").strip(),
        key_at=row["key_at"],
        shapes=shapes_of(texts),
        unfit=unfit,
        most_characters=type_.typmod - _VARHDRSZ if limited else 0,
        labels=type_.labels,
    )


def _avro(type_: _Type, column: str) -> Any:
    if type_.element is not None:
        return {"type": "array", "items": ["null", _avro(type_.element, column)]}
    if type_.name == "numeric":
        return decimal(*_precision(type_.typmod))
    if type_.labels:
        return labelled(column, type_.labels)
    return _PLAIN.get(type_.name, "string")


def _precision(typmod: int) -> tuple[int, int]:
    """Return precision and scale of numeric(p,s). Source: PostgreSQL numeric.c, make_numeric_typmod."""
    packed = typmod - _VARHDRSZ
    precision, scale = packed >> 16 & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024
    if typmod < _VARHDRSZ or not 0 <= scale <= precision <= _MOST_DIGITS:
        return _ANY_NUMBER
    return precision, scale


def _sampled(connection: psycopg.Connection[DictRow], table: str, columns: list[str]) -> dict[str, list[str]]:
    cut = sql.SQL("left({0}::text, 400) AS {0}")
    shown = sql.SQL(", ").join(cut.format(sql.Identifier(column)) for column in columns)
    statement = sql.SQL("SELECT {} FROM {} LIMIT {}").format(
        shown, sql.Identifier(*table.split(".")), sql.Literal(SAMPLE_ROWS)
    )
    rows = connection.execute(statement).fetchall()
    return {name: list(_not_null(rows, name)) for name in columns}


def _not_null(rows: list[Any], name: str) -> Iterator[str]:
    return (row[name] for row in rows if row[name] is not None)


def _type(connection: psycopg.Connection[DictRow], oid: int, typmod: int) -> _Type:
    row = connection.execute(_TYPE, [oid]).fetchone() or {}
    if row["kind"] == "d":
        return _type(connection, row["base"], typmod if typmod != -1 else row["base_typmod"])
    element = _type(connection, row["element"], typmod) if row["element"] else None
    return _Type(row["name"], typmod, tuple(row["labels"]), element)
