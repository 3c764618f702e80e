"""Frames of the replication stream as they came, end to end in one buffer."""

from __future__ import annotations

from array import array
from typing import Final

_MOST_FRAMES: Final = 4096
ENOUGH_BYTES: Final = 500_000
"""Read so much before it is decoded: it then still lies in the processor's cache."""
_LARGEST_KEPT_BYTES: Final = 4_000_000


class Frames:
    """(clear → fill with `add` or natively → take `next` after `next`)*; `index`: place and size of each."""

    def __init__(self) -> None:
        self.data = bytearray(2 * ENOUGH_BYTES)
        self.index = array("q", bytes(2 * 8 * _MOST_FRAMES))
        self.clear()

    def clear(self) -> None:
        """Forget all frames, and the room that a very large one needed."""
        self.used = self.count = self.next = 0
        if len(self.data) > _LARGEST_KEPT_BYTES:
            self.data = bytearray(2 * ENOUGH_BYTES)

    @property
    def all_taken(self) -> bool:
        """Whether there is no frame left to take."""
        return self.next == self.count

    @property
    def full(self) -> bool:
        """Whether there are enough."""
        return self.count == _MOST_FRAMES or self.used >= ENOUGH_BYTES

    def add(self, frame: bytes | memoryview) -> None:
        """Append a frame."""
        end = self.used + len(frame)
        self.data[self.used : end] = frame
        self.index[2 * self.count], self.index[2 * self.count + 1] = self.used, len(frame)
        self.used = end
        self.count += 1

    def take(self) -> bytes:
        """Return the next frame."""
        at, size = self.index[2 * self.next], self.index[2 * self.next + 1]
        self.next += 1
        return bytes(self.data[at : at + size])
