"""What is shown of a refused record: in clear what is said of it, and its payload to who opens it."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from exchange.quarantine.entries import Entry
from exchange.subscriber.decoder import WireDecoder


def described(entry: Entry) -> dict[str, Any]:
    """Return what may be said about a refused record without its payload."""
    record, header = entry.record, entry.header
    if record is None:
        return {"place": entry.place, "reason": "unreadable"}
    return {
        "place": entry.place,
        "at": datetime.fromtimestamp(record.at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "stage": record.stage,
        "reason": record.reason.value,
        "field": record.field,
        "op": None if header is None else header.op.value,
        "redriven": header is not None and header.redriven,
        "raw": f"{record.topic} {record.partition}:{record.offset}" if record.offset >= 0 else record.topic,
        "plan_version": record.plan_version,
        "payload_bytes": record.payload_bytes,
        "payload_kept": bool(record.sealed),
    }


def decoded(decoder: WireDecoder, encoded: bytes | None) -> Any:
    """Return the decoded key or value, or its bytes as base64 where they are of no known schema.

    Raises: TransientError when the registry is away.
    """
    if encoded is None:
        return None
    try:
        return decoder.decode(encoded)
    except (ValueError, LookupError) as error:
        return {"undecodable": str(error), "base64": base64.b64encode(encoded).decode()}
