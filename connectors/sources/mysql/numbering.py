"""The number of each change: its transaction's place in the log, and the byte at which it stands in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from connectors.sources.mysql.place import byte_of
from connectors.sources.mysql.shapes import BinlogMoment
from exchange.change import Position

_LAST_INDEX: Final = 0xFFFF_FFFF

Found = tuple[Position, BinlogMoment, tuple[int, int]]
"""A change's position, what its transaction shares, and its order in the transaction and in its table."""


class UnattributedError(Exception):
    """The log holds what cannot be told, nor of which tables it is; the text says why and holds no value."""


class Numbering:
    """(begin → (start_of | find)* → end)*.

    A change's index is the byte of the transaction at which it stands in the log: the same at every reading,
    whatever tables are captured, and growing.
    """

    def __init__(self, stream_id: int, done: tuple[int, int]) -> None:
        """done: commit position and index of the last change that is in Kafka."""
        self._stream_id = stream_id
        self._done = done
        self._counted: dict[str, int] = {}
        self._offset = 0
        self.last = done
        """Commit position and index of the last change that was captured."""
        self.is_open = False
        """Whether more of a transaction is to come."""
        self.moment = BinlogMoment(0, 0, None, 0)

    def begin(self, moment: BinlogMoment) -> None:
        """Begin a transaction."""
        self.moment, self.is_open = moment, True
        self._counted, self._offset = {}, 0

    def end(self) -> None:
        """End it."""
        self.moment, self.is_open = replace(self.moment, gtid=""), False

    def start_of(self, event: Any) -> int:
        """Return the byte of its transaction at which an event begins.

        Raises: UnattributedError when it is too far in for a number.
        """
        begins = event.packet.log_pos - event.packet.event_size - byte_of(self.moment.lsn)
        offset: int = begins & _LAST_INDEX
        if offset < self._offset:
            msg = "a transaction is larger than 4 GiB; split such changes"
            raise UnattributedError(msg)
        self._offset = offset
        return offset

    def find(self, table: str, index: int) -> Found | None:
        """Give a change its position; None when it is in Kafka already.

        Raises: UnattributedError outside a transaction.
        """
        if not self.is_open:
            msg = f"a change of table {table} stands outside a transaction"
            raise UnattributedError(msg)
        self._counted[table] = self._counted.get(table, 0) + 1
        at = (self.moment.lsn, index)
        if at <= self._done:
            return None
        self.last = at
        order = (sum(self._counted.values()), self._counted[table])
        return Position(self._stream_id, *at), self.moment, order
