"""What a topic's converter wrote: a record's bytes → its Connect schema and its plain value."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from connectors.sources.debezium.schema import ConnectSchema, UnknownSchema, from_avro, from_json
from connectors.sources.debezium.types import BytesOf, base64_bytes, plain_bytes
from exchange import strictjson
from exchange.encoding import wire
from exchange.registry import Registry

_SCHEMA: Final = '{"schema":'
_PAYLOAD: Final = ',"payload":'
_ENVELOPE: Final = frozenset({"schema", "payload"})
_BARE: Final = frozenset({"op", "after"})


class Malformed(Exception):
    """The bytes are not what the converter writes. Never carries them."""


@dataclass(frozen=True, slots=True)
class Message:
    """One key or value. `token` stands for its schema: the same token, the same schema."""

    token: Hashable
    schema: Callable[[], ConnectSchema]
    payload: Any


class Messages(Protocol):
    """Reads the keys and values of one topic."""

    bytes_of: BytesOf
    """How bytes are written in a payload."""

    def read(self, raw: bytes) -> Message:
        """Return what the bytes hold.

        Raises: Malformed; UnknownSchema when the converter is set up so that nothing of its kind can be read.
        """


class JsonMessages:
    """JsonConverter with schemas: `{"schema": …, "payload": …}`.

    The schema is most of a record's bytes and always the same: its text is compared, not read again.
    """

    bytes_of: BytesOf = staticmethod(base64_bytes)

    def __init__(self) -> None:
        self._head = b""

    def read(self, raw: bytes) -> Message:
        """Return what the bytes hold. Raises: Malformed, UnknownSchema."""
        head = self._head
        if not head or not raw.startswith(head):
            head = self._head = _head(raw)
        if not head or not raw.endswith(b"}"):
            return _whole(raw)
        return Message(head, lambda: _schema_of(head), _loads(raw[len(head) : -1]))


class AvroMessages:
    """AvroConverter: Confluent's wire format, with the schema in a registry."""

    bytes_of: BytesOf = staticmethod(plain_bytes)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._readers: dict[int, wire.Reader] = {}

    def read(self, raw: bytes) -> Message:
        """Return what the bytes hold. Raises: Malformed, UnknownSchema."""
        number = wire.schema_id(raw)
        if number is None:
            raise Malformed
        reader = self._readers.get(number)
        if reader is None:
            reader = self._readers[number] = self._reader(number)
        try:
            payload = reader.decode(raw)
        except ValueError:
            raise Malformed from None
        return Message(number, lambda: from_avro(self._registry.schema(number)), payload)

    def _reader(self, number: int) -> wire.Reader:
        try:
            return wire.Reader(self._registry.schema(number))
        except LookupError:
            msg = f"schema {number}, which the registry does not have; is it the registry of that Debezium?"
            raise UnknownSchema(msg) from None
        except (ValueError, KeyError, TypeError) as error:
            msg = f"schema {number} of the registry, which is not usable Avro ({type(error).__name__})"
            raise UnknownSchema(msg) from None


def _loads(raw: bytes) -> Any:
    try:
        return strictjson.loads(raw.decode())
    except ValueError:  # not UTF-8 is one too
        raise Malformed from None


def _head(raw: bytes) -> bytes:
    """Return everything up to the payload, as Kafka Connect writes it; empty where it is otherwise."""
    try:
        text = raw.decode()
        if not text.startswith(_SCHEMA):
            return b""
        _, end = json.JSONDecoder().raw_decode(text, len(_SCHEMA))
    except (ValueError, RecursionError):
        return b""
    return text[: end + len(_PAYLOAD)].encode() if text.startswith(_PAYLOAD, end) else b""


def _schema_of(head: bytes) -> ConnectSchema:
    try:
        return from_json(_loads(head[len(_SCHEMA) : -len(_PAYLOAD)]))
    except Malformed:
        msg = "a schema that names something twice"
        raise UnknownSchema(msg) from None


def _whole(raw: bytes) -> Message:
    """Read a record that another program wrote, in another order or with blanks."""
    document = _loads(raw)
    if isinstance(document, dict) and document.keys() == _ENVELOPE and document["schema"] is not None:
        schema = document["schema"]
        token = json.dumps(schema, sort_keys=True, default=str)
        return Message(token, lambda: from_json(schema), document["payload"])
    if isinstance(document, dict) and (document.keys() == _ENVELOPE or document.keys() >= _BARE):
        msg = "no schema: set key.converter.schemas.enable and value.converter.schemas.enable to true"
        raise UnknownSchema(msg)
    raise Malformed
