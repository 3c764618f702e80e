"""The stream in batches: when one ends, which position holds after it, and what the server hears of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Final

from connectors.source import Batch, Captured
from connectors.sources.postgres.frames import Frames
from connectors.sources.postgres.pgoutput import decode
from connectors.sources.postgres.replication import Keepalive, Replication
from connectors.sources.postgres.transaction import Transactions
from exchange.block import WriteBlock
from exchange.position import SourcePosition

_MOST_CHANGES: Final = 20_000
_MOST_BYTES: Final = 8_000_000
_LONGEST_S: Final = 0.05
"""From its first change on, a batch waits so long at most for what has not arrived yet."""
_LONGEST_BUSY_S: Final = 0.3
"""And so long while there is more at hand all the time, perhaps of tables that are not captured."""
_PAUSE_S: Final = 0.002
"""A batch ends when the source has been silent so long: what follows is likely another event."""
_IDLE_S: Final = 1.0
_STATUS_EVERY_S: Final = 10.0
_IDLE_POSITION_EVERY_S: Final = 10.0
_WANTED_POSITION_EVERY_S: Final = 1.0
"""When the server asks (it does while shutting down, and waits for our answer), but not in a busy loop."""


@dataclass(slots=True)
class _Gathered:
    """A batch as it grows: blocks and single records in the source's order, how many, and their bytes."""

    block: WriteBlock
    changes: list[Captured | WriteBlock] = field(default_factory=list)
    count: int = 0
    size_bytes: int = 0

    @property
    def full(self) -> bool:
        return self.count + len(self.block) >= _MOST_CHANGES or self._bytes() >= _MOST_BYTES

    @property
    def any(self) -> bool:
        return self.count > 0 or len(self.block) > 0

    @property
    def room(self) -> tuple[int, int]:
        """How many rows and bytes the block may have."""
        return _MOST_CHANGES - self.count, _MOST_BYTES - self.size_bytes

    def add(self, records: list[Captured]) -> None:
        """Append records behind the block."""
        self.close_block()
        self.changes += records
        self.count += len(records)
        self.size_bytes += sum(len(record.value) for record in records)

    def close_block(self) -> None:
        """Begin another block, if this one holds anything."""
        if len(self.block):
            self.changes.append(self.block)
            self.count += len(self.block)
            self.size_bytes += self.block.used_bytes
            self.block = WriteBlock()

    def _bytes(self) -> int:
        return self.size_bytes + self.block.used_bytes


class Stream:
    """(read → acknowledge)* on a replication that was started at `position`."""

    def __init__(
        self, replication: Replication, transactions: Transactions, position: SourcePosition
    ) -> None:
        self._replication = replication
        self._transactions = transactions
        self._position = position
        self._frames = Frames()
        self._block = WriteBlock()
        self._reply_wanted = False
        self._moved_at = self._status_at = time.monotonic()

    @property
    def position(self) -> SourcePosition:
        """The position after the last batch."""
        return self._position

    @property
    def reached(self) -> int:
        """Log position up to which everything has been told."""
        return self._transactions.told_to

    def read(self, idle_s: float = _IDLE_S) -> Batch:
        """Collect changes until there are enough, the source pauses, or the first of them has waited long.

        A source that is busy with what is not for us never pauses; then the batch ends empty after `idle_s`.
        """
        self._block.clear()
        gathered, more = _Gathered(self._block), True
        ends_at = time.monotonic() + idle_s
        waits_until = 0.0
        while not gathered.full:
            if self._frames.all_taken and not self._fill():
                timeout_s = self._patience_for(gathered, waits_until - time.monotonic(), idle_s)
                if timeout_s <= 0:
                    break
                if not self._replication.wait(timeout_s):
                    more = timeout_s < _PAUSE_S  # else it was silent for long enough
                    break
                continue
            self._take_frames(gathered)
            now = time.monotonic()
            if gathered.any:
                waits_until = waits_until or now + _LONGEST_S
                ends_at = waits_until + _LONGEST_BUSY_S
            if self._reply_wanted or now > ends_at:
                break
        gathered.close_block()
        more = more and gathered.any and not self._reply_wanted
        return Batch(gathered.changes, self._advance(gathered.any), more)

    def acknowledge(self, position: SourcePosition) -> None:
        """Let the server forget what is committed in Kafka; it hears so at once when it asked, else soon."""
        due = self._reply_wanted or time.monotonic() - self._status_at > _WANTED_POSITION_EVERY_S
        self._replication.acknowledge(position.resume, now=due)
        if due:
            self._status_at = time.monotonic()
            self._reply_wanted = False

    # -- reading

    def _fill(self) -> bool:
        self._frames.clear()
        self._replication.fill(self._frames)
        return self._frames.count > 0

    def _patience_for(self, gathered: _Gathered, left_s: float, idle_s: float) -> float:
        """Return how long to wait for what has not arrived yet; the rest of a transaction is on its way."""
        if not gathered.any:
            return idle_s
        return left_s if self._transactions.is_open else min(_PAUSE_S, left_s)

    def _take_frames(self, gathered: _Gathered) -> None:
        """Take the frames at hand, in their order, until they are taken or the batch is full."""
        while not self._frames.all_taken and not gathered.full and not self._reply_wanted:
            self._transactions.encode(self._frames, gathered.block, *gathered.room)
            if not self._frames.all_taken and not gathered.full:
                self._take_one(gathered)

    def _take_one(self, gathered: _Gathered) -> None:
        received = self._replication.unwrap(self._frames.take())
        if isinstance(received, Keepalive):
            self._transactions.reached(received.wal_end)
            self._reply_wanted |= received.reply_wanted
        elif received is not None and (taken := self._transactions.take(decode(received))):
            gathered.add(taken)

    # -- position

    def _advance(self, changed: bool) -> SourcePosition:
        """Return the position after a batch; an idle source's moves on now and then only."""
        now, resume = time.monotonic(), self._transactions.resume
        if changed:
            commit, index = self._transactions.last
            self._position = replace(self._position, resume=resume, commit=commit, index=index)
            self._moved_at = now
        elif resume > self._position.resume and now - self._moved_at > self._patience():
            self._position = replace(self._position, resume=resume)
            self._moved_at = now
        elif self._reply_wanted or now - self._status_at > _STATUS_EVERY_S:
            self._replication.send_status()
            self._status_at = now
            self._reply_wanted = False
        return self._position

    def _patience(self) -> float:
        return _WANTED_POSITION_EVERY_S if self._reply_wanted else _IDLE_POSITION_EVERY_S
