"""Avro single-object encoding, for the bus's own topics (accounts, positions, quarantine).

Source: Avro 1.12 specification, "Single-object encoding": C3 01, the schema's CRC-64-AVRO fingerprint as
8 bytes little-endian, then the record. Unlike subscribers' topics these need no registry to be read.
"""

from __future__ import annotations

import io
from typing import Any, Final

import fastavro
import fastavro.schema

_MARKER: Final = b"\xc3\x01"
_HEAD_BYTES: Final = len(_MARKER) + 8


class Codec:
    """Encodes the records of one schema; decodes those of earlier ones too, as Avro resolves schemas."""

    def __init__(self, schema: dict[str, Any], *earlier: dict[str, Any]) -> None:
        self._schema = fastavro.parse_schema(schema)
        self._head = _head(schema)
        self._writers = {_head(one): fastavro.parse_schema(one) for one in (schema, *earlier)}

    def encode(self, record: dict[str, Any]) -> bytes:
        """Return the marker, the fingerprint and the record's bytes."""
        out = io.BytesIO()
        out.write(self._head)
        fastavro.schemaless_writer(out, self._schema, record)
        return out.getvalue()

    def decode(self, encoded: bytes) -> dict[str, Any]:
        """Return the record.

        Raises: ValueError when the bytes have another fingerprint, are cut short or have a tail.
        """
        writer = self._writers.get(encoded[:_HEAD_BYTES])
        if writer is None:
            msg = "not a record of this schema: marker or fingerprint differ"
            raise ValueError(msg)
        source = io.BytesIO(encoded[_HEAD_BYTES:])
        try:
            record = fastavro.schemaless_reader(source, writer, self._schema)
        except Exception as error:  # fastavro raises bare EOFError, IndexError, UnicodeDecodeError, ...
            msg = f"undecodable record: {type(error).__name__}"
            raise ValueError(msg) from None
        if source.read(1):
            msg = "bytes left over after the record"
            raise ValueError(msg)
        if not isinstance(record, dict):
            msg = "not a record"
            raise ValueError(msg)
        return record


def _head(schema: dict[str, Any]) -> bytes:
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    return _MARKER + bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
