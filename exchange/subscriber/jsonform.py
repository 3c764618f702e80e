"""A view's records as JSON, the same wherever a subscriber meets them.

| Avro | JSON |
| --- | --- |
| boolean, int, long, float, double, string, enum, array, record | as JSON has them |
| decimal | text with all its decimals: `"1.50"` |
| date, time | `"2026-01-31"`, `"08:30:00"`, with microseconds where there are any |
| timestamp | `"2026-01-31T08:30:00+00:00"`, in UTC; local timestamps have no zone |
| uuid | text in lower case |
| bytes | base64 |
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

from exchange.change import RecordHeader


def dump(content: Any, *, strict: bool = False) -> str:
    """Return the JSON of what was decoded from Avro.

    Raises: ValueError, if strict, when it holds NaN or an infinity, which JSON does not have.
    """
    return json.dumps(content, ensure_ascii=False, allow_nan=not strict, default=_plain)


def position(header: RecordHeader | None) -> str | None:
    """Return the source position: log / LSN as PostgreSQL writes it / number in the transaction . part."""
    if header is None:
        return None
    at = header.position
    return f"{at.stream:016x}/{at.commit >> 32:X}/{at.commit & 0xFFFF_FFFF:X}/{at.index}.{at.part}"


def _plain(value: Any) -> str:
    """Return Avro's logical types as text."""
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
