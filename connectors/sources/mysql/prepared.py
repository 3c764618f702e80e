"""Changes of XA transactions that are prepared, until the log tells whether they were committed.

The log holds such a transaction's rows where it was prepared, and its end as a statement of its own, perhaps
days later. Its changes belong to the place of that statement. Until then the log must be read again from the
oldest of them at each start, as nothing of them is in Kafka.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from connectors.sources.mysql.rowimage import Row
from connectors.sources.mysql.shapes import Mapped

MOST_BYTES: Final = 64_000_000
"""So much log may be held; what is held is in memory."""


@dataclass(frozen=True, slots=True)
class HeldRows:
    """A row event: its images with their places behind `at`, a byte of the transaction."""

    event: Any
    mapped: Mapped
    images: list[tuple[int, Row]]
    at: int


@dataclass(slots=True)
class _Transaction:
    """start, mark: where it begins, and what tells the log there, as in SourcePosition."""

    start: int
    mark: str
    xid: str = ""
    size_bytes: int = 0
    rows: list[HeldRows] = field(default_factory=list)


class Prepared:
    """(begin → add* → name → hold → rows_of? → drop)*, by the XID as the log's statements write it."""

    def __init__(self) -> None:
        self._held: dict[str, _Transaction] = {}
        self._open = _Transaction(0, "")

    @property
    def oldest(self) -> tuple[int, str] | None:
        """Where to read again from, and the mark there; None when nothing is held."""
        first = min(self._held.values(), key=lambda one: one.start, default=None)
        return None if first is None else (first.start, first.mark)

    @property
    def size_bytes(self) -> int:
        """How much log is held."""
        return self._open.size_bytes + sum(one.size_bytes for one in self._held.values())

    def begin(self, start: int, mark: str) -> None:
        """Begin a transaction that is about to be prepared."""
        self._open = _Transaction(start, mark)

    def add(self, rows: HeldRows) -> None:
        """Take in rows of the transaction begun last."""
        self._open.rows.append(rows)
        self._open.size_bytes += rows.event.event_size

    def name(self, xid: str) -> None:
        """Note how the transaction begun last is called."""
        self._open.xid = xid

    def hold(self) -> str:
        """Keep the transaction begun last, as it is prepared; return its XID."""
        xid = self._open.xid
        self._held[xid] = self._open
        self._open = _Transaction(0, "")
        return xid

    def rows_of(self, xid: str) -> list[HeldRows] | None:
        """Return the rows of a transaction that is held; None when its beginning was not seen."""
        found = self._held.get(xid)
        return None if found is None else found.rows

    def drop(self, xid: str) -> None:
        """Forget a transaction: all of it is told, or it was rolled back."""
        self._held.pop(xid, None)
