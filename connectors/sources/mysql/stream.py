"""The stream in batches: when one ends, and which position holds after it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from connectors.source import Batch, Captured
from connectors.sources.mysql.binlog import Binlog
from connectors.sources.mysql.transaction import Transactions
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
_IDLE_POSITION_EVERY_S: Final = 10.0


class Stream:
    """read* on a log that was started at `position`."""

    def __init__(self, binlog: Binlog, transactions: Transactions, position: SourcePosition) -> None:
        self._binlog = binlog
        self._transactions = transactions
        self._position = position
        self._moved_at = time.monotonic()

    def read(self) -> Batch:
        """Collect changes until there are enough, the source pauses, or the first of them has waited long."""
        changes: list[Captured] = []
        size_bytes, more = 0, True
        ends_at = time.monotonic() + _IDLE_S
        waits_until = 0.0
        while len(changes) < _MOST_CHANGES and size_bytes < _MOST_BYTES:
            taken = self._take(self._patience_s(changes, waits_until, ends_at))
            if taken is None:
                more = False
                break
            now = time.monotonic()
            if taken:
                if not changes:
                    waits_until = now + _LONGEST_S
                    ends_at = waits_until + _LONGEST_BUSY_S
                changes += taken
                size_bytes += sum(len(change.value) for change in taken)
            if now > ends_at:
                break
        return Batch(changes, self._advance(changed=bool(changes)), more and bool(changes))

    def close(self) -> None:
        """Stop reading."""
        self._binlog.close()

    def _take(self, patience_s: float) -> list[Captured] | None:
        """Return the next event's records, perhaps none; None when there was no event in time."""
        if self._transactions.has_more:
            return self._transactions.more()
        event = self._binlog.take(patience_s)
        return None if event is None else self._transactions.take(event)

    def _patience_s(self, changes: list[Captured], waits_until: float, ends_at: float) -> float:
        """Return how long to wait for what has not arrived yet; the rest of a transaction is on its way."""
        now = time.monotonic()
        if not changes:
            return max(0.0, ends_at - now)
        left_s = max(0.0, waits_until - now)
        return left_s if self._transactions.is_open else min(_PAUSE_S, left_s)

    def _advance(self, *, changed: bool) -> SourcePosition:
        """Return the position after a batch; an idle source's moves on now and then only."""
        now, found = time.monotonic(), self._transactions
        if changed:
            commit, index = found.last
            self._position = replace(
                self._position, resume=found.resume, mark=found.mark, commit=commit, index=index
            )
            self._moved_at = now
        elif found.resume > self._position.resume and now - self._moved_at > _IDLE_POSITION_EVERY_S:
            self._position = replace(self._position, resume=found.resume, mark=found.mark)
            self._moved_at = now
        return self._position
