"""What was pushed as a `Source`: all requests that wait go into one transaction, then all are answered.

Each request is one commit position, its records number its index. While one transaction commits, the next
requests gather: the more come at a time, the more share a commit.
"""

from __future__ import annotations

import secrets as random_secrets
import time
from collections import deque
from dataclasses import replace
from typing import Any, Final

from connectors.receipts import Receipt, Receipts
from connectors.source import Batch, Captured
from connectors.sources.http.door import Door, Submission
from exchange.change import Position, stream_id
from exchange.errors import PartError
from exchange.plan import RECEIPTS_TOPIC
from exchange.position import SourcePosition

_IDLE_S: Final = 0.5
_MOST_ROWS: Final = 20_000
"""Of one transaction, and one request more; it is built in half a second."""


class HttpSource:
    """The `Source` protocol on one door. See connectors/source.py for the calling order."""

    _position: SourcePosition
    _stream_id: int

    def __init__(self, system: str, door: Door, client: dict[str, Any]) -> None:
        """client: librdkafka properties of a principal that may read the receipts."""
        self._system = system
        self._door = door
        self._client = client
        self._unanswered: deque[tuple[int, list[tuple[Submission, Receipt]]]] = deque()

    def open(self, stored: SourcePosition | None) -> None:
        """Read what Kafka has receipts for, then let requests in.

        The first time a history begins: its id tells its positions from those of any other.
        """
        history = random_secrets.token_hex(8) if stored is None else stored.system_identifier
        self._position = stored or SourcePosition(self._system, history, 0, "", 0)
        self._stream_id = stream_id(self._system, history, 0)
        receipts = Receipts(self._system)
        try:
            receipts.load(self._client, _now_ms())
        except ValueError:
            msg = f"{RECEIPTS_TOPIC}: a receipt of {self._system} was not written by this version"
            raise PartError(msg) from None
        self._door.open(receipts, history)

    def read(self) -> Batch:
        """Return everything that was pushed since the last read, in the order of its coming."""
        changes: list[Captured] = []
        stored: list[tuple[Submission, Receipt]] = []
        now_ms = _now_ms()
        commit = self._position.commit
        for submission in self._door.take(_IDLE_S, _MOST_ROWS):
            commit += 1
            rows = submission.rows
            stored.append((submission, Receipt(submission.fingerprint, commit, len(rows), submission.at_ms)))
            for index, row in enumerate(rows):
                at = Position(self._stream_id, commit, index)
                changes.append(submission.records.captured(row, at, submission.at_ms, now_ms))
        if stored:
            self._position = replace(self._position, commit=commit, index=stored[-1][1].records - 1)
            self._unanswered.append((commit, stored))
        receipts = [Receipts(self._system).record(one.digest, receipt) for one, receipt in stored]
        return Batch(changes, self._position, self._door.more, receipts=receipts)

    def acknowledge(self, position: SourcePosition) -> None:
        """Answer the requests up to a position."""
        while self._unanswered and self._unanswered[0][0] <= position.commit:
            self._door.settle(self._unanswered.popleft()[1])

    def close(self) -> None:
        """Let nothing in until the next open, and tell those who wait to send again."""
        self._unanswered.clear()
        self._door.fail()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
