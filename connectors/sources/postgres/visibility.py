"""Which transactions a read of the source has seen, as PostgreSQL tells of the read's snapshot.

Source: PostgreSQL documentation, "Transaction ID and Snapshot Information Functions": xmin:xmax:xip,xip…
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

_EPOCH: Final = 1 << 32


@dataclass(frozen=True, slots=True)
class Visibility:
    """Transactions before `xmin` are seen, those from `xmax` on are not; between, all but `running`."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Read what pg_current_snapshot() returned."""
        xmin, xmax, running = text.split(b":")
        return cls(int(xmin), int(xmax), frozenset(map(int, filter(None, running.split(b",")))))

    def sees(self, xid: int) -> bool:
        """Whether the read has seen a committed transaction; the stream gives 32 bits of its number."""
        whole = self._whole(xid)
        return whole < self.xmin or (whole < self.xmax and whole not in self.running)

    def _whole(self, xid: int) -> int:
        """Return the transaction's 64-bit number: the one of its 32 bits that is nearest to now."""
        near = self.xmax - self.xmax % _EPOCH + xid
        if near - self.xmax > _EPOCH // 2:
            return near - _EPOCH
        return near + _EPOCH if self.xmax - near > _EPOCH // 2 else near
