"""Decode, mask three fields, encode: what the Python peers do to a record, with fastavro."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import fastavro

_PREFIX_BYTES: Final = 5
_KEPT: Final = (("name", 1, 0), ("id_number", 6, 4), ("mobile", 3, 4))
"""Field, characters shown at its start, and at its end: view 0 of bench/person.py."""


def masker(schema_file: str) -> Callable[[bytes], bytes]:
    """Return the function that takes a raw value and returns the masked one, in the same schema."""
    declared = json.loads(Path(schema_file).read_text())
    schema = fastavro.parse_schema(_without_logical_types(declared))

    def mask(value: bytes) -> bytes:
        envelope: dict[str, dict[str, str]] = fastavro.schemaless_reader(  # type: ignore[assignment]
            io.BytesIO(value[_PREFIX_BYTES:]), schema, None
        )
        row = envelope["after"]
        for name, first, last in _KEPT:
            text = row[name]
            end = len(text) - last
            row[name] = text[:first] + "*" * (end - first) + text[end:]
        out = io.BytesIO()
        out.write(value[:_PREFIX_BYTES])
        fastavro.schemaless_writer(out, schema, envelope)
        return out.getvalue()

    return mask


def _without_logical_types(schema: Any) -> Any:
    """Spare the peers the conversion of dates and decimals, which nobody asks for."""
    if isinstance(schema, list):
        return [_without_logical_types(branch) for branch in schema]
    if isinstance(schema, dict):
        return {name: _without_logical_types(part) for name, part in schema.items() if name != "logicalType"}
    return schema
