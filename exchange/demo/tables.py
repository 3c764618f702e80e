"""What a demonstration table is: its definition, and how its rows are invented, changed and spoilt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection, sql
from psycopg.types.json import Jsonb

from exchange.change import Reason
from exchange.demo.invention import Invention

Row = dict[str, Any]
"""Column → Python value; jsonb columns hold dicts or lists, arrays lists."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to spoil a row: the reason and field with which the bus must refuse it."""

    reason: Reason
    field: str
    spoil: Callable[[Row, Invention], Row]
    """Return the columns to overwrite in a valid row."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a department.

    system: the system of topology.yaml; name: without schema, which is `public`; ddl: statements that make
    it, each harmless when it is there; key: its one key column; json: columns of type jsonb; invent: a new
    valid row; amend: the columns of a valid change to a row; rekey: a new key for a row, with what depends
    on it.
    """

    system: str
    name: str
    ddl: tuple[str, ...]
    key: str
    json: frozenset[str]
    invent: Callable[[Invention], Row]
    amend: Callable[[Row, Invention], Row]
    rekey: Callable[[Row, Invention], Row]
    faults: tuple[Fault, ...]

    def insert(self, connection: Connection[Any], row: Row) -> None:
        """Insert a row."""
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(_SCHEMA, self.name),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        )
        connection.execute(statement, self._values(row))

    def update(self, connection: Connection[Any], key: Any, changes: Row) -> None:
        """Change columns of the row with a key."""
        statement = sql.SQL("UPDATE {} SET {} WHERE {} = %s").format(
            sql.Identifier(_SCHEMA, self.name),
            sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in changes),
            sql.Identifier(self.key),
        )
        connection.execute(statement, [*self._values(changes), key])

    def delete(self, connection: Connection[Any], key: Any) -> None:
        """Delete the row with a key."""
        statement = sql.SQL("DELETE FROM {} WHERE {} = %s").format(
            sql.Identifier(_SCHEMA, self.name), sql.Identifier(self.key)
        )
        connection.execute(statement, [key])

    def rows(self, connection: Connection[Any], limit: int) -> list[Row]:
        """Return up to so many rows."""
        statement = sql.SQL("SELECT * FROM {} LIMIT %s").format(sql.Identifier(_SCHEMA, self.name))
        cursor = connection.execute(statement, [limit])
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, values, strict=True)) for values in cursor]

    def _values(self, row: Mapping[str, Any]) -> list[Any]:
        return [
            Jsonb(value) if column in self.json and value is not None else value
            for column, value in row.items()
        ]


_SCHEMA: Final = "public"
