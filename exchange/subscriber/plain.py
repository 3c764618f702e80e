"""A record's values as JSON holds them: what it has no type for becomes text.

| Avro | JSON |
| --- | --- |
| boolean, int, long, float, double, string, enum, array, record | as JSON has them |
| decimal | text with all its decimals: `"1.50"` |
| date, time | `"2026-01-31"`, `"08:30:00"`, with microseconds where there are any |
| timestamp | `"2026-01-31T08:30:00+00:00"`, in UTC; a local one has no zone |
| uuid | text in lower case |
| bytes | base64 |
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

from exchange.change import RecordHeader
from exchange.subscriber.reader import Received


def json_text(content: Any, *, allow_nan: bool = True) -> str:
    """Return JSON text: decimals and dates as text, times as ISO 8601 (instants in UTC), bytes in base64.

    Raises: ValueError for NaN and infinity, unless they are allowed: JSON has no word for them.
    """
    return json.dumps(content, ensure_ascii=False, default=_plain, allow_nan=allow_nan)


def change_json(record: Received) -> str:
    """Return a record as subscribers without Kafka get it; an undecodable one says why, in its place."""
    header, value, problem = record.header, record.value or {}, record.problem
    at = {
        "position": position_text(header),
        "source_ms": None if header is None else header.source_ms,
        "partition": record.partition,
        "offset": record.offset,
    }
    if header is not None and not problem:
        images = {"before": value.get("before"), "after": value.get("after")}
        try:
            return json_text({"op": header.op.value, "key": record.key} | images | at, allow_nan=False)
        except ValueError:
            problem = "holds a number that JSON does not have"
    nothing = {"op": None, "key": None, "before": None, "after": None}
    return json_text(nothing | at | {"problem": problem})


def position_text(header: RecordHeader | None) -> str | None:
    """Return the source position: log / LSN as PostgreSQL writes it / number in the transaction . part."""
    if header is None:
        return None
    at = header.position
    return f"{at.stream:016x}/{at.commit >> 32:X}/{at.commit & 0xFFFF_FFFF:X}/{at.index}.{at.part}"


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
