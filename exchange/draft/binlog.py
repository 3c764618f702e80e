"""Reads a live MariaDB or MySQL table for a draft: its columns, and the shapes of a sample of their values.

Values are asked for as text, at most 400 characters of each, looked at, and forgotten; no error quotes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from exchange.apply.binlog import Wanted, connect
from exchange.binlog.columns import CATALOGUE, Column, UnknownColumn, from_catalogue
from exchange.binlog.session import Refused, Session, quoted, quoted_name
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

_TABLE: Final = (
    "SELECT table_comment FROM information_schema.tables WHERE (table_schema, table_name) = (%s, %s)"
    " AND table_type = 'BASE TABLE'"
)
_KEY: Final = (
    "SELECT column_name FROM information_schema.key_column_usage WHERE (table_schema, table_name) = (%s, %s)"
    " AND constraint_name = 'PRIMARY' ORDER BY ordinal_position"
)
_MORE: Final = ", is_nullable, column_comment FROM"
_LIMITED: Final = frozenset({"char", "varchar"})
_WITHOUT_SHAPES: Final = frozenset({"binary", "geometry", "bit"})

_AVRO: Final[dict[str, Callable[[Column], Any]]] = {
    "decimal": lambda column: decimal(column.precision, column.scale),
    "bit": lambda column: "boolean" if column.size == 1 else "bytes",
    "enum": lambda column: labelled(column.name, column.labels),
    "int": lambda column: "long" if column.unsigned else "int",
    "bigint": lambda column: decimal(20, 0) if column.unsigned else "long",
    "year": lambda _: "int",
    "float": lambda _: "float",
    "double": lambda _: "double",
    "date": lambda _: DATE,
    "time": lambda _: TIME,
    "datetime": lambda _: LOCAL_TIMESTAMP,
    "timestamp": lambda _: TIMESTAMP,
    "text": lambda _: "string",
    "set": lambda _: "string",
    "binary": lambda _: "bytes",
    "geometry": lambda _: "bytes",
}
"""Kind of column → type of its field; smaller integers are int."""


def read_table(wish: Wanted, secrets: Secrets, table: str, *, sample: bool) -> LiveTable:
    """Return a table's columns, with the shapes of at most SAMPLE_ROWS rows where `sample` says so.

    Raises: ConfigError when there is no connection string; SourceError when there is no such table, or the
    server refuses; TransientError when it cannot be reached now.
    """
    with connect(wish, secrets) as session:
        session.only_look(wish.kind)
        try:
            return _read(session, table, sample=sample)
        except Refused as error:
            msg = (
                f"system {wish.system}: table {table} cannot be read (error {error.code}); "
                "`exchange doctor` says what is missing"
            )
            raise SourceError(msg) from None


def _read(session: Session, table: str, *, sample: bool) -> LiveTable:
    found = session.texts(_TABLE, table.split("."))
    if not found:
        msg = f"system {session.system}: there is no table {table}, or its user may not read it"
        raise SourceError(msg)
    key = [name for (name,) in session.texts(_KEY, table.split("."))]
    rows = session.texts(CATALOGUE.replace(" FROM", _MORE), table.split("."))
    seen = [(row, *_known(row[:-2])) for row in rows]
    looked_at = [one for _, one, _ in seen if one is not None and one.kind not in _WITHOUT_SHAPES]
    texts = dict(_sampled(session, table, looked_at)) if sample else {}
    columns = tuple(
        LiveColumn(
            name=row[0],
            kind=row[1],
            avro=None if column is None else _avro(column),
            nullable=row[-2] == "YES",
            comment=row[-1].strip(),
            key_at=key.index(row[0]) if row[0] in key else None,
            shapes=shapes_of(texts.get(row[0], ())),
            unfit=unfit,
            most_characters=int(row[7]) if row[1] in _LIMITED else 0,
            labels=column.labels if column is not None and column.kind == "enum" else (),
        )
        for row, column, unfit in seen
    )
    return LiveTable(table, found[0][0].strip(), columns)


def _avro(column: Column) -> Any:
    make = _AVRO.get(column.kind)
    return "int" if make is None else make(column)


def _known(row: tuple[str, ...]) -> tuple[Column | None, str]:
    """Return a column, or why it cannot be captured."""
    try:
        return from_catalogue(row), ""
    except UnknownColumn as problem:
        return None, f"{row[1]}: {problem}"


def _sampled(session: Session, table: str, columns: list[Column]) -> Iterator[tuple[str, list[str]]]:
    """Yield each column's values that are not null, cut short."""
    shown = ", ".join(f"LEFT(CONVERT({quoted_name(column.name)} USING utf8mb4), 400)" for column in columns)
    if not shown:
        return
    rows = session.query(f"SELECT {shown} FROM {quoted(table)} LIMIT {SAMPLE_ROWS}")  # noqa: S608 - quoted
    for at, column in enumerate(columns):
        yield column.name, [cell.decode() for row in rows if (cell := row[at]) is not None]
