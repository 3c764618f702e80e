"""One partition of a page: its records on their way from Kafka's client into the answer."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Message

from connectors.pull.cursor import Place
from exchange.change import RecordHeader
from exchange.subscriber.decoder import header_of
from exchange.subscriber.seen import Seen

_MOST_WAITING_BYTES: Final = 4 * 1_048_576


@dataclass(slots=True)
class _Waiting:
    """A record, and the offset at which to go on behind it."""

    message: Message
    header: RecordHeader | None
    next: int


@dataclass(slots=True)
class Lane:
    """Takes a partition's messages in, in offset order, and gives its records out.

    `offset` is where the partition goes on once what was given out is used. A lane that is full lets all that
    comes afterwards pass by, never some of it: the next page reads it again.
    """

    offset: int
    seen: Seen
    most: int
    end: int | None = None
    full: bool = False
    _waiting: deque[_Waiting] = field(default_factory=deque)
    _waiting_bytes: int = 0

    def put(self, message: Message) -> None:
        """Take a message in, unless the lane is or was full.

        A tombstone is passed over: it says again what the delete before it said.
        """
        self.end = None
        if self.full:
            return
        behind, header = (message.offset() or 0) + 1, header_of(message)
        if header is not None and header.tombstone:
            if self._waiting:
                self._waiting[-1].next = behind
            else:
                self.offset = behind
            return
        if len(self._waiting) >= self.most or self._waiting_bytes >= _MOST_WAITING_BYTES:
            self.full = True
            return
        self._waiting.append(_Waiting(message, header, behind))
        self._waiting_bytes += len(message)

    def reach(self, offset: int) -> None:
        """Note that Kafka has nothing more from an offset on, for now."""
        self.end = None if self.full else offset

    def take(self) -> tuple[Message, RecordHeader | None] | None:
        """Return the next record, one without a valid header too; None when none waits.

        What was seen before is passed over.
        """
        while self._waiting:
            record = self._waiting.popleft()
            self.offset = record.next
            if record.header is None or self.seen.is_new(record.header):
                return record.message, record.header
        return None

    @property
    def is_known(self) -> bool:
        """Whether it is certain what comes next here: a record that waits, or nothing."""
        return bool(self._waiting) or self.end is not None or self.full

    @property
    def is_done(self) -> bool:
        """Whether everything there is was given out."""
        return not self._waiting and self.end is not None

    def place(self) -> Place:
        """Return where the next page goes on."""
        offset = self.end if self.is_done and self.end is not None else self.offset
        return Place(offset, self.seen.marks())
