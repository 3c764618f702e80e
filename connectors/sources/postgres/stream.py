"""The stream in batches: when one ends, which position holds after it, and what the server hears of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from connectors.position import SourcePosition
from connectors.source import Batch, Captured
from connectors.sources.postgres.pgoutput import decode
from connectors.sources.postgres.replication import Keepalive, Replication
from connectors.sources.postgres.transaction import Transactions

_MOST_CHANGES: Final = 5_000
_MOST_BYTES: Final = 8_000_000
_LONGEST_S: Final = 0.1
_PAUSE_S: Final = 0.01
"""A batch ends when the source has been silent so long: what follows is likely another event."""
_IDLE_S: Final = 1.0
_STATUS_EVERY_S: Final = 10.0
_IDLE_POSITION_EVERY_S: Final = 10.0
_WANTED_POSITION_EVERY_S: Final = 1.0
"""When the server asks (it does while shutting down, and waits for our answer), but not in a busy loop."""


class Stream:
    """(read → acknowledge)* on a replication that was started at `position`."""

    def __init__(
        self, replication: Replication, transactions: Transactions, position: SourcePosition
    ) -> None:
        self._replication = replication
        self._transactions = transactions
        self._position = position
        self._reply_wanted = False
        self._moved_at = self._status_at = time.monotonic()

    def read(self) -> Batch:
        """Collect changes until there are enough, the source pauses, or the first of them has waited long.

        A source that is busy with what is not for us never pauses; then the batch ends empty after a second.
        """
        changes: list[Captured] = []
        size, end = 0, time.monotonic() + _IDLE_S
        while len(changes) < _MOST_CHANGES and size < _MOST_BYTES:
            received = self._replication.receive()
            if received is None:
                if not self._replication.wait(_PAUSE_S if changes else _IDLE_S):
                    break
            elif isinstance(received, Keepalive):
                self._transactions.reached(received.wal_end)
                self._reply_wanted |= received.reply_wanted
            elif taken := self._transactions.take(decode(received)):
                if not changes:
                    end = time.monotonic() + _LONGEST_S
                changes += taken
                size += sum(len(change.value) for change in taken)
            if time.monotonic() > end or self._reply_wanted:
                break
        return Batch(changes, self._advance(changes))

    def acknowledge(self, position: SourcePosition) -> None:
        """Let the server forget what is committed in Kafka; it hears so at once when it asked, else soon."""
        due = self._reply_wanted or time.monotonic() - self._status_at > _WANTED_POSITION_EVERY_S
        self._replication.acknowledge(position.resume, now=due)
        if due:
            self._status_at = time.monotonic()
            self._reply_wanted = False

    def _advance(self, changes: Sequence[Captured]) -> SourcePosition:
        """Return the position after a batch; an idle source's moves on now and then only."""
        now, resume = time.monotonic(), self._transactions.resume
        if changes:
            last = changes[-1].position
            self._position = replace(self._position, resume=resume, commit=last.commit, index=last.index)
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
