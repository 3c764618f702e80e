"""The tables that a view needs in ClickHouse, and what existing ones lack.

<view>_changes    every change as it came, with its place; what was written twice is one row once merged
<view>_latest     the last change of each key; a deleted one is marked
<view>            a view of it: the rows that there are
"""

from __future__ import annotations

from typing import Final

from connectors.sink import Column, DeliveredView
from connectors.sinks.clickhouse.client import ClickHouseTarget, quoted
from exchange.errors import SinkError
from exchange.plan import table_name

PARTITION: Final = "_exchange_partition"
OFFSET: Final = "_exchange_offset"
OP: Final = "_exchange_op"
SOURCE_MS: Final = "_exchange_source_ms"
DELETED: Final = "_exchange_deleted"
PARKED: Final = "_exchange_parked"
PARKED_OP: Final = "parked"
"""In place of an operation: the change is among the parked, its place is here."""
_MAX_PRECISION: Final = 76

_TYPES: Final = {
    "boolean": "Bool",
    "int": "Int32",
    "long": "Int64",
    "float": "Float32",
    "double": "Float64",
    "string": "String",
    "bytes": "String",
    "enum": "String",
    "uuid": "UUID",
    "date": "Date32",
    "time": "String",
    "timestamp": "DateTime64(6, 'UTC')",
    "local_timestamp": "DateTime64(6, 'UTC')",
    "array": "String",
    "record": "String",
}
_OWN: Final = {PARTITION: "UInt32", OFFSET: "UInt64", OP: "String", SOURCE_MS: "Int64"}
_OWN_LATEST: Final = {PARTITION: "UInt32", OFFSET: "UInt64", DELETED: "UInt8"}
_PARKED: Final = (
    f"CREATE TABLE IF NOT EXISTS {PARKED} (topic String, partition UInt32, kafka_offset UInt64, op String, "
    "reason String, at DateTime DEFAULT now()) ENGINE = ReplacingMergeTree "
    "ORDER BY (topic, partition, kafka_offset)"
)


class Tables:
    """A view's tables in a database."""

    def __init__(self, view: DeliveredView) -> None:
        self._view = view
        self._name = table_name(view.name)
        self.changes = f"{self._name}_changes"
        self.latest = f"{self._name}_latest"
        self.columns = [column.name for column in view.columns]

    def make(self, target: ClickHouseTarget) -> None:
        """Make what is missing: tables, new columns of the view, the view of the rows.

        Raises: SinkError with the SQL to run when a table is there and does not fit.
        """
        target.command(_PARKED)
        place = ", ".join(map(quoted, (PARTITION, OFFSET)))
        key = ", ".join(map(quoted, self._view.key))
        self._make(target, self.changes, _OWN, f"ENGINE = ReplacingMergeTree ORDER BY ({place})")
        engine = f"ENGINE = ReplacingMergeTree({quoted(OFFSET)}, {quoted(DELETED)}) ORDER BY ({key})"
        self._make(target, self.latest, _OWN_LATEST, engine)
        shown = ", ".join(map(quoted, self.columns))
        target.command(
            f"CREATE OR REPLACE VIEW {quoted(self._name)} AS SELECT {shown} FROM {quoted(self.latest)} FINAL "  # noqa: S608
            f"WHERE NOT {quoted(DELETED)}"
        )

    def forget(self) -> str:
        """Return the SQL that makes the target forget the view."""
        return f"TRUNCATE TABLE {quoted(self.changes)}; TRUNCATE TABLE {quoted(self.latest)}"

    def _make(self, target: ClickHouseTarget, table: str, own: dict[str, str], engine: str) -> None:
        wanted = {column.name: self._type(column) for column in self._view.columns} | own
        found = target.rows(
            "SELECT name, type FROM system.columns "
            "WHERE database = currentDatabase() AND table = {table:String}",
            table=table,
        )
        there = {str(name): str(type_) for name, type_ in found}
        if not there:
            columns = ", ".join(f"{quoted(name)} {type_}" for name, type_ in wanted.items())
            target.command(f"CREATE TABLE {quoted(table)} ({columns}) {engine}")
            return
        self._expect_fit(table, there, wanted)
        for name, type_ in wanted.items():
            if name not in there:
                target.command(f"ALTER TABLE {quoted(table)} ADD COLUMN {quoted(name)} {type_}")

    def _type(self, column: Column) -> str:
        if column.kind == "decimal":
            if column.precision > _MAX_PRECISION:
                msg = (
                    f"view {self._view.name}: column {column.name} has {column.precision} digits, ClickHouse "
                    f"takes {_MAX_PRECISION}; deliver another view"
                )
                raise SinkError(msg)
            type_ = f"Decimal({column.precision}, {column.scale})"
        else:
            type_ = _TYPES[column.kind]
        return type_ if column.name in self._view.key else f"Nullable({type_})"

    def _expect_fit(self, table: str, there: dict[str, str], wanted: dict[str, str]) -> None:
        """Refuse a table that holds more than the view shows, or holds it otherwise."""
        surplus = sorted(there.keys() - wanted.keys())
        if surplus:
            drops = " ".join(f"ALTER TABLE {quoted(table)} DROP COLUMN {quoted(name)};" for name in surplus)
            msg = (
                f"view {self._view.name}: the view shows {', '.join(surplus)} no more, and table {table} "
                f"still holds it. To go on, run in the subscriber's database: {drops}"
            )
            raise SinkError(msg)
        for name, type_ in there.items():
            if type_ != wanted[name]:
                change = f"ALTER TABLE {quoted(table)} MODIFY COLUMN {quoted(name)} {wanted[name]}"
                msg = (
                    f"view {self._view.name}: column {name} of table {table} is {type_}, the view's is "
                    f"{wanted[name]}. To go on, run in the subscriber's database: {change}"
                )
                raise SinkError(msg)
