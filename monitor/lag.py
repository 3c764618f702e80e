"""How old a lag is: from when a topic's end was where, without reading a record. No I/O.

A record at offset o was written before the end was first seen beyond o, and after it was last seen at o or
before. So a group that would read o next is behind by the time since then, to within the pause between looks;
to within a minute where that is more than half an hour ago.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import defaultdict
from typing import Final

_MOST: Final = 2_500
"""Ends remembered of one partition: all looks of the last half hour, one a minute of the last day."""
_ALL_OF_MS: Final = 1_800_000
_KNOWN_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000
_MARKER: Final = 1
"""Only transactions write to the bus's topics, so the last offset before the end is always a marker's."""

Partition = tuple[str, int]


class Ends:
    """Remembers when each partition's end was first seen where."""

    def __init__(self) -> None:
        self._offsets: dict[Partition, array[int]] = defaultdict(lambda: array("q"))
        self._at_ms: dict[Partition, array[int]] = defaultdict(lambda: array("q"))

    def saw(self, at: Partition, end_offset: int, at_ms: int) -> bool:
        """Remember where a partition's end is; return whether it was not there before."""
        offsets = self._offsets[at]
        if offsets and offsets[-1] >= end_offset:
            return False
        offsets.append(end_offset)
        self._at_ms[at].append(at_ms)
        if len(offsets) > _MOST:
            self._thin(at, at_ms)
        return True

    def lag_s(self, at: Partition, next_offset: int, now_ms: int) -> float | None:
        """Return for how long the record at `next_offset` has been there to be read.

        0 where there is none; None where the end is not known; where it was there before the first look, or a
        day ago, the time since then, which is the least it can be.
        """
        offsets = self._offsets.get(at)
        if not offsets:
            return None
        if next_offset >= offsets[-1] - _MARKER:
            return 0.0
        return max(now_ms - self._at_ms[at][bisect_right(offsets, next_offset + _MARKER)], 0) / 1000

    def _thin(self, at: Partition, now_ms: int) -> None:
        kept: list[tuple[int, int]] = []
        minute = -1
        for offset, at_ms in zip(self._offsets[at], self._at_ms[at], strict=True):
            age_ms = now_ms - at_ms
            if age_ms <= _KNOWN_MS and (age_ms <= _ALL_OF_MS or at_ms // _MINUTE_MS != minute):
                kept.append((offset, at_ms))
                minute = at_ms // _MINUTE_MS
        self._offsets[at] = array("q", [offset for offset, _ in kept])
        self._at_ms[at] = array("q", [at_ms for _, at_ms in kept])
