"""The circuit breaker: a table whose records are mostly refused is stopped, not poured into quarantine."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from faust.types import TP

from exchange import log
from exchange.account import Account
from streams.rounds import Halted

WINDOW_RECORDS: Final = 500

_log = log.get(__name__)


class Breaker:
    """Halts a raw topic once more than half of its last 500 or more records were refused.

    It stays halted until the worker is started again; `accept_refusals` never halts.
    """

    def __init__(self, *, accept_refusals: bool = False) -> None:
        self._accept_refusals = accept_refusals
        self._windows: dict[str, _Window] = {}
        self._open: dict[str, str] = {}

    def halted(self, tp: TP, offset: int) -> Halted | None:
        """Return the halt at an offset of a topic that was stopped, else None."""
        reason = self._open.get(tp.topic)
        return None if reason is None else Halted(offset, reason, retry_after_s=None)

    def count(self, accounts: Sequence[Account]) -> None:
        """Count what a round took in and refused; before its commit, as the next one is processed meanwhile.

        A round that is read again is counted twice, which leaves the share of the refused as it is.
        """
        if self._accept_refusals:
            return
        for account in accounts:
            window = self._windows.setdefault(account.topic, _Window())
            window.add(account.changes + account.foreign, sum(account.refused.values()) + account.foreign)
            if account.topic not in self._open and window.is_mostly_refused:
                self._stop(account.topic, window)

    def _stop(self, topic: str, window: _Window) -> None:
        self._open[topic] = (
            f"{window.refused} of the last {window.records} records were refused; find out why (`exchange "
            "quarantine list`), then start the worker again, with --accept-refusals if they are to be refused"
        )
        _log.error("topic_halted", topic=topic, records=window.records, refused=window.refused)


class _Window:
    """The newest batches that together hold at least WINDOW_RECORDS records."""

    def __init__(self) -> None:
        self.records = 0
        self.refused = 0
        self._batches: deque[tuple[int, int]] = deque()

    def add(self, records: int, refused: int) -> None:
        self._batches.append((records, refused))
        self.records += records
        self.refused += refused
        while self.records - self._batches[0][0] >= WINDOW_RECORDS:
            old_records, old_refused = self._batches.popleft()
            self.records -= old_records
            self.refused -= old_refused

    @property
    def is_mostly_refused(self) -> bool:
        return self.records >= WINDOW_RECORDS and self.refused * 2 > self.records
