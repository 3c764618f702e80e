"""The table that a view needs in PostgreSQL, what an existing one lacks, and the tables beside it."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import sql

from connectors.sink import Column, DeliveredView
from exchange.errors import SinkError
from exchange.plan import table_name

PARTITION: Final = "_exchange_partition"
OFFSET: Final = "_exchange_offset"
"""Of the record that a row is from. A truncate empties one partition of a view, so each row knows its own."""

_TYPES: Final = {
    "boolean": "boolean",
    "int": "integer",
    "long": "bigint",
    "float": "real",
    "double": "double precision",
    "string": "text",
    "bytes": "bytea",
    "enum": "text",
    "uuid": "uuid",
    "date": "date",
    "time": "time without time zone",
    "timestamp": "timestamp with time zone",
    "local_timestamp": "timestamp without time zone",
    "array": "jsonb",
    "record": "jsonb",
}
_BESIDE: Final = """
CREATE TABLE IF NOT EXISTS {schema}._exchange_offsets (
    topic text, partition integer, next_offset bigint NOT NULL, marks text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (topic, partition)
);
CREATE TABLE IF NOT EXISTS {schema}._exchange_parked (
    topic text, partition integer, kafka_offset bigint, op text NOT NULL, reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (topic, partition, kafka_offset)
);
"""
_COLUMNS: Final = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(a.attnum = ANY (i.indkey), false)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""


class Table:
    """A view's table in a schema."""

    def __init__(self, namespace: str, view: DeliveredView) -> None:
        self._namespace = namespace
        self.view = view
        self.schema = sql.Identifier(namespace)
        self.name = sql.Identifier(namespace, table_name(view.name))
        self.columns = [column.name for column in view.columns]

    def make(self, connection: psycopg.Connection[Any]) -> None:
        """Make what is missing: the schema, the tables, new columns of the view. The caller commits.

        Raises: SinkError with the SQL to run when the table is there and does not fit.
        """
        # Views are opened at the same time, and IF NOT EXISTS does not keep two from making one thing.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('exchange deliver'))")
        known = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
        if connection.execute(known, [self._namespace]).fetchone() is None:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(self.schema))
        wanted = "SELECT count(*) FROM pg_tables WHERE schemaname = %s AND tablename = ANY (%s)"
        beside = ["_exchange_offsets", "_exchange_parked"]
        if connection.execute(wanted, [self._namespace, beside]).fetchone() != (2,):
            connection.execute(sql.SQL(_BESIDE).format(schema=self.schema))
        rows = connection.execute(_COLUMNS, [self._namespace, table_name(self.view.name)]).fetchall()
        if not rows:
            self._create(connection)
            return
        self._expect_fit(
            {name: type_ for name, type_, _ in rows}, {name for name, _, is_key in rows if is_key}
        )
        there = {name for name, *_ in rows}
        for column in self.view.columns:
            if column.name not in there:
                self._add(connection, column)

    def text(self, statement: str, *names: str) -> str:
        """Return a statement for a person to run; {} stand for the table and for columns."""
        identifiers = [self.name, *map(sql.Identifier, names)]
        return sql.SQL(statement).format(*identifiers).as_string(None)

    def _create(self, connection: psycopg.Connection[Any]) -> None:
        columns = [self._definition(column) for column in self.view.columns]
        own = [
            sql.SQL("{} {} NOT NULL").format(sql.Identifier(name), sql.SQL(type_))
            for name, type_ in ((PARTITION, "integer"), (OFFSET, "bigint"))
        ]
        key = sql.SQL(", ").join(map(sql.Identifier, self.view.key))
        connection.execute(
            sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(
                self.name, sql.SQL(", ").join([*columns, *own]), key
            )
        )
        for column in self.view.columns:
            self._comment(connection, column)

    def _add(self, connection: psycopg.Connection[Any], column: Column) -> None:
        connection.execute(
            sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(self.name, self._definition(column))
        )
        self._comment(connection, column)

    def _comment(self, connection: psycopg.Connection[Any], column: Column) -> None:
        connection.execute(
            sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(
                self.name, sql.Identifier(column.name), sql.Literal(column.doc)
            )
        )

    def _definition(self, column: Column) -> sql.Composed:
        return sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(type_of(column)))

    def _expect_fit(self, there: dict[str, str], key: set[str]) -> None:
        """Refuse a table that is not the bus's, or that holds more than the view shows."""
        if {PARTITION, OFFSET} - there.keys() or key != set(self.view.key):
            msg = (
                f"{self._place}: the table was not made by this delivery (no column {PARTITION}, or another "
                f"primary key than {', '.join(self.view.key)}). Rename it, or let delivery make its own: "
                + self.text("DROP TABLE {}")
            )
            raise SinkError(msg)
        surplus = sorted(there.keys() - {PARTITION, OFFSET, *self.columns})
        if surplus:
            drops = " ".join(self.text("ALTER TABLE {} DROP COLUMN {};", name) for name in surplus)
            msg = (
                f"{self._place}: the view shows {', '.join(surplus)} no more, and the table still holds it. "
                f"To go on, run in the subscriber's database: {drops}"
            )
            raise SinkError(msg)
        for column in self.view.columns:
            seen = there.get(column.name)
            if seen is not None and seen != type_of(column):
                msg = (
                    f"{self._place}: column {column.name} is {seen}, the view's is {type_of(column)}. "
                    "To go on, run in the subscriber's database: "
                    + self.text(f"ALTER TABLE {{}} ALTER COLUMN {{}} TYPE {type_of(column)}", column.name)
                )
                raise SinkError(msg)

    @property
    def _place(self) -> str:
        return f"view {self.view.name}: table {self.name.as_string(None)}"


def type_of(column: Column) -> str:
    """Return PostgreSQL's type for a column, as the server spells it."""
    if column.kind == "decimal":
        return f"numeric({column.precision},{column.scale})"
    return _TYPES[column.kind]
