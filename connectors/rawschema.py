"""The Avro schemas of raw records of every kind of source: the key, and the envelope of a change.

Source: Debezium documentation, "Data change events".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from exchange.encoding.avroname import avro_name

VERSION: Final = "exchange-1"
"""What an envelope's source says of the version of the connector."""

Column = tuple[str, bool, Any]
"""Name in the source, whether it is in the key, and the Avro type of a value that is not null."""

BLOCK_SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "block",
    "namespace": "event",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "total_order", "type": "long"},
        {"name": "data_collection_order", "type": "long"},
    ],
}
_SOURCE_HEAD: Final = (
    {"name": "version", "type": "string"},
    {"name": "connector", "type": "string"},
    {"name": "name", "type": "string"},
    {"name": "ts_ms", "type": "long"},
    {"name": "snapshot", "type": "string"},
)


def raw_namespace(system: str, schema: str, table: str) -> str:
    """Return the namespace of a table's schemas."""
    return ".".join(["raw", *map(avro_name, (system, schema, table))])


def record(name: str, namespace: str, fields: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of a record."""
    return {"type": "record", "name": name, "namespace": namespace, "fields": fields}


def source_schema(namespace: str, places: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the schema of an envelope's source: what all kinds say, then where the change stands."""
    return record("Source", namespace, [*_SOURCE_HEAD, *places])


def key_schema(namespace: str, columns: Iterable[Column]) -> dict[str, Any]:
    """Return the schema of a table's keys."""
    return record("Key", namespace, [_field(*column) for column in columns if column[1]])


def change_schema(namespace: str, columns: Iterable[Column], source: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a table's changes, with the transaction that each belongs to."""
    rows = record("Value", namespace, [_field(*column) for column in columns])
    fields = [*envelope_fields(rows, source), _nullable("transaction", BLOCK_SCHEMA)]
    connect = {"connect.name": f"{namespace}.Envelope"}
    return {"type": "record", "name": "Envelope", "namespace": namespace, **connect, "fields": fields}


def envelope_fields(rows: dict[str, Any], source: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fields that every envelope has. rows: the schema of a row, named Value."""
    return [
        _nullable("before", rows),
        _nullable("after", "Value"),
        {"name": "source", "type": source},
        {"name": "op", "type": "string"},
        _nullable("ts_ms", "long"),
    ]


def _field(name: str, in_key: bool, avro: Any) -> dict[str, Any]:
    called = avro_name(name)
    original = {} if called == name else {"column": name}
    return ({"name": called, "type": avro} if in_key else _nullable(called, avro)) | original


def _nullable(name: str, avro: Any) -> dict[str, Any]:
    return {"name": name, "type": ["null", avro], "default": None}
