"""Places in a binary log as one number that grows over its files, and what tells this log from another.

A place is <file number> << 32 | <byte in the file>. Transactions begin before max_binlog_size, which is 1 GiB
at most, so the place of a beginning is exact; file numbers only grow, until RESET MASTER begins at 1 again.
That is another log: its first file was begun at another time and its GTIDs are others, and gap.py halts
there. A reading that begins anew gets another timeline, and with it another stream id, so that no two changes
ever share a position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_BYTE_BITS: Final = 32
_BYTE_MASK: Final = (1 << _BYTE_BITS) - 1


def place(number: int, byte: int) -> int:
    """Return a place as a number."""
    return number << _BYTE_BITS | byte


def file_number(file: str) -> int:
    """Return the number that ends a log file's name."""
    return int(file.rpartition(".")[2])


def number_of(where: int) -> int:
    """Return the number of the file of a place."""
    return where >> _BYTE_BITS


def byte_of(where: int) -> int:
    """Return the byte in its file of a place."""
    return where & _BYTE_MASK


@dataclass(frozen=True, slots=True)
class Mark:
    """How the log is known again at a place. Kept in SourcePosition.mark.

    base: the files' name before the number; created_s: when the place's file was begun; gtids: the last GTID
    of each domain before the place, sorted; of MariaDB only.
    """

    base: str
    created_s: int
    gtids: tuple[str, ...] = ()

    def text(self) -> str:
        """Return it as one text."""
        return " ".join([self.base, str(self.created_s), *self.gtids])

    @classmethod
    def of(cls, text: str) -> Mark:
        """Return it from its text."""
        base, created_s, *gtids = text.split(" ")
        return cls(base, int(created_s), tuple(gtids))


def sorted_gtids(position: str) -> tuple[str, ...]:
    """Return a GTID position of MariaDB, `0-1-7,1-1-3`, as its parts in order."""
    return tuple(sorted(position.split(","))) if position else ()
