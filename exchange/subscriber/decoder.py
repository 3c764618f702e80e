"""Messages back to what they hold: keys and values in wire format through the registry, and the header."""

from __future__ import annotations

import io
from typing import Any, Protocol

import fastavro
from confluent_kafka import Message

from exchange.change import HEADER, RecordHeader
from exchange.encoding import wire


class Schemas(Protocol):
    """What the reader needs of the registry client (exchange/registry.py)."""

    def schema(self, schema_id: int) -> dict[str, Any]:
        """Return a schema.

        Raises: LookupError when the registry has none of that id; TransientError when it is away.
        """


class WireDecoder:
    """Decodes wire-format bytes (exchange/encoding/wire.py) through the registry. Parsed schemas are kept."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._parsed: dict[int, Any] = {}

    def decode(self, encoded: bytes) -> dict[str, Any]:
        """Return the record.

        Raises: ValueError when the bytes are not a whole record of their schema; LookupError when the
        registry does not know the schema; TransientError when it is not reachable.
        """
        schema_id, body = wire.unframe(encoded)
        schema = self._schema(schema_id)
        source = io.BytesIO(body)
        try:
            record = fastavro.schemaless_reader(source, schema, None)
        except Exception as error:  # fastavro raises bare EOFError, IndexError, UnicodeDecodeError, ...
            msg = f"not a record of its schema ({type(error).__name__})"
            raise ValueError(msg) from None
        if source.read(1) or not isinstance(record, dict):
            msg = "bytes left over after the record"
            raise ValueError(msg)
        return record

    def _schema(self, schema_id: int) -> Any:
        if schema_id not in self._parsed:
            self._parsed[schema_id] = fastavro.parse_schema(self._schemas.schema(schema_id))
        return self._parsed[schema_id]


def header_of(message: Message) -> RecordHeader | None:
    """Return a message's x-exchange header, None when it has no valid one or several."""
    found = [pair[1] for pair in message.headers() or [] if pair[0] == HEADER]
    return RecordHeader.unpack(found[0]) if len(found) == 1 and isinstance(found[0], bytes) else None
