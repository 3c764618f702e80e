"""The clock, the same for every competitor: how many records a read_committed reader could see, and when.

The bench process asks Kafka every 20 ms for the last stable offsets of a competitor's output topics, from
outside the competitor. The clock

- starts at the first look at which the warm-up's records are visible: start-up, rebalance and a JVM's first
  compilations are over for everybody;
- stops at the first look at which the last record is visible.

The rate is the records that became visible in between, divided by that time. A transaction's marker takes an
offset too; what the offsets hold besides the records is taken off evenly. Whether really all came, once each,
is counted afterwards (verify.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    OffsetSpec,
)

from bench.ground import PARTITIONS
from exchange.admin import admin_client
from exchange.errors import PartError
from exchange.local import process
from exchange.local.process import Running

LOOK_EVERY_S: Final = 0.02
STALL_S: Final = 120.0
_STILL_S: Final = 1.5
_SHORT_LOOKS: Final = 50


@dataclass(frozen=True, slots=True)
class Look:
    """How many offsets were visible at a time."""

    at_s: float
    visible: int


@dataclass(frozen=True, slots=True)
class Pace:
    """A measured rate. short: within a second, so that two looks more or less would show."""

    records_per_s: float
    seconds: float
    short: bool

    def of_inputs(self, outputs_each: int) -> Pace:
        """Return the rate of input records, where each makes so many output records."""
        return replace(self, records_per_s=self.records_per_s / outputs_each)


class Visible:
    """What of some topics can be read at read_committed."""

    def __init__(self, client: dict[str, Any], topics: Sequence[str]) -> None:
        self._admin = admin_client(client)
        self._asked = {
            TopicPartition(topic, partition): OffsetSpec.latest()  # type: ignore[no-untyped-call]
            for topic in topics
            for partition in range(PARTITIONS)
        }

    def offsets(self) -> dict[tuple[str, int], int]:
        """Return the offset behind the last readable record of each partition."""
        answers = self._admin.list_offsets(self._asked, isolation_level=IsolationLevel.READ_COMMITTED)
        return {(tp.topic, tp.partition): answer.result(30).offset for tp, answer in answers.items()}

    def total(self) -> int:
        """Return their sum."""
        return sum(self.offsets().values())


def follow(
    visible: Visible,
    base: int,
    wanted: int,
    running: Sequence[Running],
    complete: Callable[[], bool],
    stall_s: float = STALL_S,
) -> list[Look]:
    """Look until `wanted` records are visible and `complete` says that they are; return each change seen.

    base: visible before the competitor began; `complete` is asked only when all has been still for a while.

    Raises: PartError when a process ends, or nothing comes for `stall_s`; it ends with the process's log.
    """
    looks = [Look(time.monotonic(), 0)]
    while True:
        now, seen = time.monotonic(), visible.total() - base
        if seen != looks[-1].visible:
            looks.append(Look(now, seen))
        still_s = now - looks[-1].at_s
        if seen >= wanted and still_s > _STILL_S and complete():
            return looks
        _check(running, still_s, stall_s, seen, wanted)
        time.sleep(max(0.0, now + LOOK_EVERY_S - time.monotonic()))


def pace(looks: Sequence[Look], warm_up: int, records: int) -> Pace:
    """Return the rate between the first look with the warm-up visible and the last.

    records: how many the last look's offsets hold; the rest are markers, taken to be spread evenly. A run so
    short that both looks are one is measured from the look before.
    """
    at = next(number for number, look in enumerate(looks) if look.visible >= warm_up)
    start, end = looks[min(at, len(looks) - 2)], looks[-1]
    seconds = end.at_s - start.at_s
    came = (end.visible - start.visible) * records / end.visible
    return Pace(came / seconds, seconds, seconds < _SHORT_LOOKS * LOOK_EVERY_S)


def _check(running: Sequence[Running], still_s: float, stall_s: float, seen: int, wanted: int) -> None:
    for one in running:
        if not process.alive(one):
            msg = f"it ended after {seen:,} of {wanted:,} records. End of its log:\n{process.tail(one.log)}"
            raise PartError(msg)
    if still_s > stall_s:
        logs = "\n".join(process.tail(one.log) for one in running)
        msg = (
            f"nothing came for {stall_s:.0f} s after {seen:,} of {wanted:,} records. End of its log:\n{logs}"
        )
        raise PartError(msg)
