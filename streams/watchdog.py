"""The progress watchdog: a worker that is alive but does not get on is ended and started anew.

It asks Kafka by itself how far the partitions reach, so that a consumer which silently stopped fetching
cannot hide behind its own figures.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]
from faust.types import TP

from exchange import log
from exchange.admin import admin_client

STUCK_AFTER_S: Final = 60.0
_LOOK_EVERY_S: Final = 10.0

_log = log.get(__name__)


class Progress:
    """How far one partition has come; offsets are those of the next record.

    Reading reaches ends that hold no record to commit (transaction markers, aborted records): there the end
    itself counts as reached, provided that all that was fetched is committed.
    """

    def __init__(self, offset: int) -> None:
        self.committed = offset
        self.fetched = offset
        self._at_end = offset

    def fetched_to(self, offset: int) -> None:
        """Note that records before `offset` are in process."""
        self.fetched = offset

    def reads_again_from(self, offset: int) -> None:
        """Note that reading went to `offset`: what was found at the end is to be found again."""
        self.fetched = self._at_end = offset

    def committed_to(self, offset: int) -> None:
        """Note that records before `offset` are committed."""
        self.committed = max(self.committed, offset)

    def at_end_at(self, offset: int) -> None:
        """Note that the consumer found nothing more to read before `offset`."""
        self._at_end = max(self._at_end, offset)

    @property
    def reached(self) -> int:
        """Offset before which everything is done."""
        return max(self.committed, self._at_end) if self.committed >= self.fetched else self.committed


class Stillness:
    """Tells for how long a partition had something to do and did not get on."""

    def __init__(self) -> None:
        self._since: dict[TP, tuple[int, float]] = {}

    def longest_s(
        self, ends: Mapping[TP, int], reached: Mapping[TP, int], now: float
    ) -> tuple[float, TP | None]:
        """Return the longest time that any partition has been behind at one and the same offset.

        ends: offset of the next record to be written, read_committed; reached: see `Progress.reached`;
        now: seconds of a monotonic clock, not before that of the last call.
        """
        behind = {tp: offset for tp, offset in reached.items() if ends.get(tp, 0) > offset}
        self._since = {
            tp: self._since[tp] if self._since.get(tp, (None,))[0] == offset else (offset, now)
            for tp, offset in behind.items()
        }
        still = ((now - since, tp) for tp, (_, since) in self._since.items())
        return max(still, key=lambda entry: entry[0], default=(0.0, None))


class Watchdog(threading.Thread):
    """Calls `on_stuck` when a partition had records to read for a minute and nothing of them was committed.

    1 ask Kafka for the ends of what is assigned and not halted; no answer proves nothing and is no progress
    2 compare with what the worker reached
    3 behind at the same offset for STUCK_AFTER_S: on_stuck
    """

    def __init__(
        self,
        client: dict[str, Any],
        reached: Callable[[], Mapping[TP, int]],
        on_stuck: Callable[[TP, float], None],
    ) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._admin = admin_client(client)
        self._reached = reached
        self._on_stuck = on_stuck
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopping.set()

    def run(self) -> None:
        """Look until stopped."""
        stillness = Stillness()
        while not self._stopping.wait(_LOOK_EVERY_S):
            reached = dict(self._reached())
            ends = self._ends(reached)
            if ends is None:
                stillness = Stillness()
                continue
            still_s, tp = stillness.longest_s(ends, reached, time.monotonic())
            if tp is not None and still_s >= STUCK_AFTER_S:
                self._on_stuck(tp, still_s)

    def _ends(self, partitions: Mapping[TP, int]) -> dict[TP, int] | None:
        if not partitions:
            return {}
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(*tp): latest for tp in partitions}
        try:
            answers = self._admin.list_offsets(
                asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_LOOK_EVERY_S
            )
            return {TP(tp.topic, tp.partition): answer.result().offset for tp, answer in answers.items()}
        except KafkaException as error:
            _log.warning("end_offsets_unknown", error=error.args[0].name())
            return None
