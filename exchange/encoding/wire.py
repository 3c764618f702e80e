"""Avro on the wire: Confluent's prefix, strict decoding and encoding of whole records.

Logical types are not applied: values stay as Avro stores them, so no date or decimal is converted, and none
can fail to be. Source: Confluent "Wire format": 00, schema id as 4 bytes big-endian, then Avro binary.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Any, Final

import fastavro

from exchange.encoding.avroread import compile_reader

PREFIX_BYTES: Final = 5
_PREFIX: Final = struct.Struct(">BI")
_MAGIC: Final = 0
_CONVERTING: Final = frozenset({"logicalType", "precision", "scale"})


def prefix(schema_id: int) -> bytes:
    """Return the five bytes that begin a record of a schema."""
    return _PREFIX.pack(_MAGIC, schema_id)


def schema_id(encoded: bytes) -> int | None:
    """Return the id that a record's first five bytes name, or None when they are no such prefix."""
    if len(encoded) < PREFIX_BYTES or encoded[0] != _MAGIC:
        return None
    return int(_PREFIX.unpack_from(encoded)[1])


def frame(registered_id: int, body: bytes) -> bytes:
    """Return an Avro body with the prefix that names its schema."""
    return prefix(registered_id) + body


def unframe(framed: bytes) -> tuple[int, bytes]:
    """Return schema id and Avro body.

    Raises: ValueError when the bytes do not start with the prefix.
    """
    found = schema_id(framed)
    if found is None:
        msg = "not in wire format: wanted a zero byte and a 4-byte schema id at the start"
        raise ValueError(msg)
    return found, framed[PREFIX_BYTES:]


class Reader:
    """Decodes the records of one schema, whatever its id."""

    def __init__(self, schema: Any) -> None:
        self._read = compile_reader(schema)

    def decode(self, encoded: bytes) -> Any:
        """Return the record after the prefix.

        Raises: ValueError when there is no prefix, or the bytes are cut short, followed by others or not of
        this schema; its text holds nothing of them.
        """
        if schema_id(encoded) is None:
            msg = "no schema id"
            raise ValueError(msg)
        return self._read(encoded, PREFIX_BYTES)


class Writer:
    """Encodes the records of one registered schema."""

    def __init__(self, schema: Any, registered_id: int) -> None:
        self._schema = fastavro.parse_schema(without_logical_types(schema))
        self._prefix = prefix(registered_id)

    def encode(self, record: Any) -> bytes:
        """Return the prefix and the record's bytes.

        Raises: ValueError when the record is not of this schema.
        """
        out = io.BytesIO()
        out.write(self._prefix)
        try:
            fastavro.schemaless_writer(out, self._schema, record)
        except Exception as error:  # its text quotes the value
            msg = f"unencodable record: {type(error).__name__}"
            raise ValueError(msg) from None
        return out.getvalue()


def without_logical_types(schema: Any) -> Any:
    """Return a schema whose values are taken as Avro stores them."""
    if isinstance(schema, list):
        return [without_logical_types(branch) for branch in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {name: without_logical_types(part) for name, part in schema.items() if name not in _CONVERTING}
