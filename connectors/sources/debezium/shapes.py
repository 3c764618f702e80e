"""A table's shape and its changes as the house's raw envelope, compiled from Debezium's own envelope.

Source: Debezium documentation, "Data change events".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from connectors import avrobytes
from connectors.rawschema import (
    BLOCK_SCHEMA,
    VERSION,
    change_schema,
    key_schema,
    raw_namespace,
    source_schema,
)
from connectors.source import Shape
from connectors.sources.convert import Unrepresentable
from connectors.sources.debezium.schema import ConnectSchema, UnknownSchema
from connectors.sources.debezium.types import BytesOf, Convert, Unavailable, column_type
from exchange.change import Op, Reason, Rejected
from exchange.encoding.avroname import avro_name

_CONNECTOR: Final = "debezium"
_NO_ENVELOPE: Final = (
    "no envelope of Debezium (before, after, source, op); a transform that unwraps or changes it "
    "(ExtractNewRecordState) must go"
)
_MEMBERS: Final = (("before",), ("after",), ("source", "ts_ms"), ("op",))
_DOCUMENTS: Final = "rows that are documents (MongoDB); only tables with columns can be shared"

_SOURCE_SCHEMA: Final = source_schema(
    "exchange.debezium",
    [
        {"name": "schema", "type": "string"},
        {"name": "table", "type": "string"},
        {"name": "topic", "type": "string"},
        {"name": "partition", "type": "int"},
        {"name": "offset", "type": "long"},
    ],
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands in Kafka."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    in_key: bool
    avro: Any
    convert: Convert


class EventShape:
    """One table as one pair of schemas describes it: its Avro schemas, and writers for keys and rows."""

    def __init__(
        self, system: str, table: str, key: ConnectSchema | None, value: ConnectSchema, bytes_of: BytesOf
    ) -> None:
        """Compile. table: <schema>.<table> as the topology names it; key: None for records without one.

        Raises: UnknownSchema when a column cannot be written exactly, or the record is no change event.
        """
        self._columns = _columns(key, row_schema(value), bytes_of)
        self._names = value.member("after").fields.keys()
        self._keys = tuple(column for column in self._columns if column.in_key)
        self._tables = table.partition(".")[::2]
        self._head = b"".join(map(avrobytes.text, (VERSION, _CONNECTOR, system)))
        self.shape = _shape(system, table, self._columns)

    def fits(self, key: Mapping[str, Any], *rows: Any) -> bool:
        """Tell whether a key and rows, where there are any, have exactly the columns of the schema."""
        return key.keys() == {column.name for column in self._keys} and all(
            row is None or (isinstance(row, Mapping) and row.keys() == self._names) for row in rows
        )

    def key(self, row: Mapping[str, Any]) -> bytes | Rejected:
        """Return the Avro bytes of a key, from itself or from a row."""
        return _written(self._keys, row)

    def row(self, row: Mapping[str, Any]) -> bytes | Rejected:
        """Return the Avro bytes of a whole row."""
        return _written(self._columns, row)

    def bare_key(self, row: Mapping[str, Any]) -> bytes | Rejected:
        """Return a row's Avro bytes of which only the key is known: its other columns are null."""
        return _written(self._columns, {column.name: row.get(column.name) for column in self._keys})

    def envelope(
        self,
        op: Op,
        images: tuple[bytes | None, bytes | None],
        place: Place,
        times_ms: tuple[int, int],
        block: Any,
    ) -> bytes:
        """Return the envelope's Avro bytes.

        images: before and after; times_ms: of the commit at the source, of the capture; block: Debezium's
        transaction block, None where it wrote none.
        """
        before, after = images
        return b"".join(
            (
                avrobytes.NULL if before is None else avrobytes.PRESENT + before,
                avrobytes.NULL if after is None else avrobytes.PRESENT + after,
                self._head,
                avrobytes.long(times_ms[0]),
                avrobytes.text("true" if op is Op.READ else "false"),
                *map(avrobytes.text, self._tables),
                avrobytes.text(place.topic),
                avrobytes.long(place.partition),
                avrobytes.long(place.offset),
                avrobytes.text(op.value),
                avrobytes.PRESENT,
                avrobytes.long(times_ms[1]),
                _block(block),
            )
        )


def unread(system: str, table: str) -> Shape:
    """Return a shape for records of a table whose schema is not known: they are refused, never written."""
    return _shape(system, table, ())


def row_schema(value: ConnectSchema) -> ConnectSchema:
    """Return the schema of the rows in an envelope.

    Raises: UnknownSchema when it is no envelope, or its rows are no rows.
    """
    try:
        for path in _MEMBERS:
            value.member(*path)
    except UnknownSchema:
        raise UnknownSchema(_NO_ENVELOPE) from None
    after = value.member("after")
    if after.type != "struct":
        raise UnknownSchema(_DOCUMENTS)
    return after


def _columns(key: ConnectSchema | None, row: ConnectSchema, bytes_of: BytesOf) -> tuple[_Column, ...]:
    names = _key_names(key, row) if key is not None else frozenset()
    if len({avro_name(name) for name in row.fields}) < len(row.fields):
        msg = "two columns with one name in Avro; rename either"
        raise UnknownSchema(msg)
    made = []
    for name, schema in row.fields.items():
        try:
            found = column_type(schema, bytes_of)
        except UnknownSchema as problem:
            msg = f"column {name} of {problem}"
            raise UnknownSchema(msg) from None
        made.append(_Column(name, name in names, found.avro, found.convert))
    return tuple(made)


def _key_names(key: ConnectSchema, row: ConnectSchema) -> frozenset[str]:
    if key.type != "struct" or not key.fields:
        msg = "no key of columns; give the table a primary key, or set message.key.columns"
        raise UnknownSchema(msg)
    if unknown := sorted(key.fields.keys() - row.fields.keys()):
        msg = f"{unknown[0]} in the key, which is no column of the table"
        raise UnknownSchema(msg)
    return frozenset(key.fields)


def _written(columns: tuple[_Column, ...], row: Mapping[str, Any]) -> bytes | Rejected:
    written = []
    for column in columns:
        value = row.get(column.name)
        try:
            if value is not None:
                cell = column.convert(value)
                written.append(cell if column.in_key else avrobytes.PRESENT + cell)
            elif column.in_key:
                return Rejected(Reason.UNREPRESENTABLE, column.name)
            else:
                written.append(avrobytes.NULL)
        except Unrepresentable:
            return Rejected(Reason.UNREPRESENTABLE, column.name)
        except Unavailable:
            return Rejected(Reason.UNCHANGED_TOAST, column.name)
    return b"".join(written)


def _block(block: Any) -> bytes:
    """Write Debezium's transaction block; one that is not as documented is left out: nothing hangs on it."""
    if not isinstance(block, Mapping):
        return avrobytes.NULL
    name, *orders = (block.get(part["name"]) for part in BLOCK_SCHEMA["fields"])
    numbers = [order for order in orders if type(order) is int and 0 <= order < 1 << 63]
    if not isinstance(name, str) or len(numbers) < len(orders):
        return avrobytes.NULL
    return avrobytes.PRESENT + avrobytes.text(name) + b"".join(map(avrobytes.long, numbers))


def _shape(system: str, table: str, columns: tuple[_Column, ...]) -> Shape:
    namespace = raw_namespace(system, *table.partition(".")[::2])
    described = [(column.name, column.in_key, column.avro) for column in columns]
    changes = change_schema(namespace, described, _SOURCE_SCHEMA)
    return Shape(table, key_schema(namespace, described), changes)
