"""Reads a live PostgreSQL table for a draft: its columns, and the shapes of a sample of their values.

Values are asked for as text, at most 400 characters of each, looked at, and forgotten; no error quotes one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from exchange.apply.source import Wanted, connect
from exchange.draft.guess import Shapes, shapes_of
from exchange.errors import SourceError
from exchange.settings import Secrets

SAMPLE_ROWS: Final = 1000
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


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type as the catalogue has it, its domains taken off. element: of an array."""

    name: str
    typmod: int
    labels: tuple[str, ...] = ()
    element: ColumnType | None = None


@dataclass(frozen=True, slots=True)
class LiveColumn:
    """A column. key_at: its place in the primary key, or none."""

    name: str
    type: ColumnType
    nullable: bool
    comment: str
    key_at: int | None
    shapes: Shapes


@dataclass(frozen=True, slots=True)
class LiveTable:
    """A table as it is now."""

    name: str
    comment: str
    columns: tuple[LiveColumn, ...]


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
        LiveColumn(
            name=row["name"],
            type=_type(connection, row["type"], row["typmod"]),
            nullable=not row["not_null"],
            comment=(row["comment"] or "").strip(),
            key_at=row["key_at"],
            shapes=shapes_of(texts.get(row["name"], ())),
        )
        for row in rows
    )
    return LiveTable(table, (found["comment"] or "").strip(), columns)


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


def _type(connection: psycopg.Connection[DictRow], oid: int, typmod: int) -> ColumnType:
    row = connection.execute(_TYPE, [oid]).fetchone() or {}
    if row["kind"] == "d":
        return _type(connection, row["base"], typmod if typmod != -1 else row["base_typmod"])
    element = _type(connection, row["element"], typmod) if row["element"] else None
    return ColumnType(row["name"], typmod, tuple(row["labels"]), element)
