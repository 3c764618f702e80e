"""How far the log has been taken, and what tells this log from another there."""

from __future__ import annotations

from typing import Any

from connectors.sources.mysql.place import Mark, byte_of, file_number, number_of, place
from exchange.position import SourcePosition


class LogProgress:
    """(begin_file | ended | reached | rotate)*, from `stored` on.

    resume: everything before this place has been taken.
    """

    def __init__(self, stored: SourcePosition) -> None:
        mark = Mark.of(stored.mark)
        self.resume = stored.resume
        self._base = mark.base
        self._number = number_of(stored.resume)
        self._created_s = mark.created_s
        self._gtids = {gtid.partition("-")[0]: gtid for gtid in mark.gtids}

    @property
    def mark(self) -> str:
        """What tells the log at `resume`, as in SourcePosition."""
        return Mark(self._base, self._created_s, tuple(sorted(self._gtids.values()))).text()

    @property
    def file(self) -> str:
        """The file that is read."""
        return self.file_of(place(self._number, 0))

    def file_of(self, where: int) -> str:
        """Return the name of a place's file."""
        return f"{self._base}.{number_of(where):06d}"

    def text(self, where: int) -> str:
        """Return a place as people write it: file:byte."""
        return f"{self.file_of(where)}:{byte_of(where)}"

    def begin_file(self, created_s: int) -> None:
        """Note when the file was begun."""
        self._created_s = created_s

    def begin_of(self, event: Any) -> int:
        """Return the place at which an event begins."""
        return place(self._number, event.packet.log_pos - event.packet.event_size)

    def ended(self, gtid: object) -> None:
        """Note that a transaction has ended; only MariaDB's GTIDs, of three parts, are kept."""
        if isinstance(gtid, str) and gtid.count("-") == 2:
            self._gtids[gtid.partition("-")[0]] = gtid

    def reached(self, event: Any) -> None:
        """Outside a transaction everything up to the event's end has been taken.

        Behind a transaction of more than 4 GiB the byte is told modulo that; the file ends there, and the
        next one gives the next place.
        """
        self.resume = max(self.resume, place(self._number, event.packet.log_pos))

    def rotate(self, event: Any) -> None:
        """Go on in the next file; its first event will tell when it was begun."""
        self._base, self._number = event.next_binlog.rpartition(".")[0], file_number(event.next_binlog)
        self._created_s = 0
        self.resume = max(self.resume, place(self._number, event.position))
