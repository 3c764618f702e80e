"""How many rows the next chunk of a snapshot has: few first, then about as many bytes each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

FIRST_ROWS: Final = 200
_MOST_ROWS: Final = 5_000
_TARGET_BYTES: Final = 4_000_000
_GROWTH: Final = 4


def next_limit(limit: int, rows: Sequence[Sequence[bytes | None]]) -> int:
    """Aim at the same number of bytes whatever the width of the rows; grow step by step."""
    if not rows:
        return limit
    width = sum(len(cell) for row in rows for cell in row if cell) / len(rows) + 1
    return max(1, min(int(_TARGET_BYTES / width), limit * _GROWTH, _MOST_ROWS))
