"""Chunks of a snapshot: which table and key come next, and how many rows.

Few rows first, then about as many bytes each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from exchange.position import SnapshotProgress

FIRST_ROWS: Final = 200
_MOST_ROWS: Final = 5_000
_TARGET_BYTES: Final = 4_000_000
_GROWTH: Final = 4

Row = Sequence[bytes | None]


class Table(Protocol):
    """A table that is read in chunks."""

    @property
    def name(self) -> str:
        """Its full name."""


T = TypeVar("T", bound=Table)
R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Chunk(Generic[T, R]):
    """Rows of one table, in key order, and the progress that holds once they are in Kafka."""

    table: T
    rows: list[R]
    progress: SnapshotProgress
    last_of_table: bool


class Chunks(Generic[T, R]):
    """What of a snapshot is not in Kafka yet, chunk by chunk along the tables' primary keys."""

    def __init__(
        self,
        tables: Mapping[str, T],
        progress: SnapshotProgress,
        read: Callable[[T, tuple[str, ...], int], list[R]],
        key_of: Callable[[T, R], tuple[str, ...]],
    ) -> None:
        """Go on where `progress` stands.

        tables: by name, in the order of reading, without those that are complete; read: of a table, behind a
        key (empty: from the beginning), at most so many rows in key order; key_of: a row's key as `read`
        takes it.
        """
        self._tables = dict(tables)
        self._progress = progress
        self._read = read
        self._key_of = key_of
        self._limit = FIRST_ROWS

    def next(self) -> Chunk[T, R] | None:
        """Return the next chunk, which is empty for an empty table's end; None when all tables are done."""
        if not self._tables:
            return None
        table = self._tables.get(self._progress.table) or next(iter(self._tables.values()))
        last_key = self._progress.last_key if table.name == self._progress.table else ()
        rows = self._read(table, last_key, self._limit)
        last = len(rows) < self._limit
        done = self._progress.rows + len(rows)
        if last:
            del self._tables[table.name]
            self._progress = SnapshotProgress(self._progress.commit, done)
        else:
            key = self._key_of(table, rows[-1])
            self._progress = SnapshotProgress(self._progress.commit, done, table.name, key)
        self._limit = next_limit(self._limit, rows)
        return Chunk(table, rows, self._progress, last)


def next_limit(limit: int, rows: Sequence[Row]) -> int:
    """Aim at the same number of bytes whatever the width of the rows; grow step by step."""
    if not rows:
        return limit
    width = sum(len(cell) for row in rows for cell in row if cell) / len(rows) + 1
    return max(1, min(int(_TARGET_BYTES / width), limit * _GROWTH, _MOST_ROWS))
