"""The bytes subscribers see, decoded anew: the record header and Avro behind a registry id."""

from __future__ import annotations

import io
import json
import struct
import urllib.request
from dataclasses import dataclass
from typing import Any

import fastavro

_HEADER = struct.Struct(">BcBxIQQIHxxQ")


@dataclass(frozen=True, slots=True, order=True)
class At:
    """A position as the header carries it; compares as the source's log does."""

    stream: int
    commit: int
    index: int
    part: int = 0


@dataclass(frozen=True, slots=True)
class Stamp:
    """The header of one record."""

    at: At
    op: str
    tombstone: bool
    plan_version: int
    source_ms: int


def stamp(headers: Any) -> Stamp | None:
    """Return what a Kafka record's headers, as (name, bytes) pairs, say; None when not of the layout."""
    packed = [value for name, value in headers or [] if name == "x-exchange"]
    if len(packed) != 1 or packed[0] is None or len(packed[0]) != _HEADER.size:
        return None
    layout, op, flags, plan, stream, commit, index, part, source_ms = _HEADER.unpack(packed[0])
    if layout != 1:
        return None
    return Stamp(At(stream, commit, index, part), op.decode("ascii"), bool(flags & 1), plan, source_ms)


class Schemas:
    """Schemas of a registry by id, over plain HTTP, each fetched once."""

    def __init__(self, registry_url: str) -> None:
        self._url = registry_url.rstrip("/")
        self._parsed: dict[int, Any] = {}

    def decode(self, framed: bytes) -> Any:
        """Return the value behind 0x00 and a 4-byte schema id; every byte must be used.

        Raises: ValueError when the frame is not one or bytes are left over.
        """
        if len(framed) < 5 or framed[0] != 0:
            msg = "no wire format frame"
            raise ValueError(msg)
        body = io.BytesIO(framed[5:])
        value = fastavro.schemaless_reader(body, self._schema(int.from_bytes(framed[1:5], "big")), None)
        if body.read(1):
            msg = "bytes left over after the value"
            raise ValueError(msg)
        return value

    def _schema(self, schema_id: int) -> Any:
        if schema_id not in self._parsed:
            with urllib.request.urlopen(f"{self._url}/schemas/ids/{schema_id}", timeout=10) as answer:  # noqa: S310
                self._parsed[schema_id] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
        return self._parsed[schema_id]
