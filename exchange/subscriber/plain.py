"""A record's values as JSON holds them: what it has no type for becomes text."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any


def json_text(content: Any, *, allow_nan: bool = True) -> str:
    """Return JSON text: decimals and dates as text, times as ISO 8601 (instants in UTC), bytes in base64.

    Raises: ValueError for NaN and infinity, unless they are allowed: JSON has no word for them.
    """
    return json.dumps(content, ensure_ascii=False, default=_plain, allow_nan=allow_nan)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
