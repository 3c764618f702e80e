"""Taking a page's records out of its lanes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from confluent_kafka import Message

from connectors.http.problem import try_later
from connectors.pull.cursor import Cursor
from connectors.pull.lane import Lane
from exchange.change import RecordHeader
from exchange.subscriber.batches import received_of
from exchange.subscriber.decoder import WireDecoder
from exchange.subscriber.plain import change_json

AGAIN: Final = "ask again with the same cursor"
MOST_BYTES: Final = 4 * 1_048_576
"""Of an answer's JSON, and one record more."""
ANSWER_S: Final = 10.0
"""How long Kafka may be silent."""

Start = Cursor | Literal["earliest", "latest"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What of a view is asked for: from where, how many records at most, how long to wait for the first."""

    view: str
    after: Start
    most: int
    wait_s: float


class Handed(NamedTuple):
    """Which record was given out; without a header where this bus did not write it."""

    partition: int
    offset: int
    header: RecordHeader | None


class Taking:
    """Takes a page's records, one from each partition in turn; where nothing more is, the turn passes on.

    Which record comes next never hangs on which partition happened to answer first.
    """

    def __init__(
        self,
        lanes: Mapping[int, Lane],
        turn: int,
        poll: Callable[[Mapping[int, Lane]], None],
        decoder: WireDecoder,
    ) -> None:
        """poll: takes more into the lanes, waiting a moment for it."""
        self.records: list[str] = []
        self.handed: list[Handed] = []
        self.undecodable: set[tuple[int, int]] = set()
        """Partition and offset of those of them that are told without their content."""
        self._poll = poll
        self._decoder = decoder
        self._lanes = lanes
        self._order = sorted(lanes)
        self._at = self._order.index(turn)
        self._last_source_ms: int | None = None

    @property
    def turn(self) -> int:
        """Partition whose turn is next."""
        return self._order[self._at]

    def run(self, wish: Wish, stopping: Callable[[], bool]) -> None:
        """Take until the page is full, or nothing is left and the wait over."""
        begun = time.monotonic()
        size, answer_by = 0, begun + ANSWER_S
        while len(self.records) < wish.most and size < MOST_BYTES:
            lane = self._lanes[self.turn]
            if not lane.is_known:
                if time.monotonic() > answer_by:
                    raise try_later(503, f"Kafka gave no answer within {ANSWER_S:.0f} s", AGAIN)
                self._poll(self._lanes)
                continue
            if (taken := lane.take()) is not None:
                self.records.append(self._text(*taken))
                size += len(self.records[-1])
                answer_by = time.monotonic() + ANSWER_S
                self._pass_on()
            elif lane.full:
                return
            elif not lane.is_known:
                continue
            elif not all(other.is_done for other in self._lanes.values()):
                self._pass_on()
            elif self.records or stopping() or time.monotonic() - begun > wish.wait_s:
                return
            else:
                self._poll(self._lanes)
                answer_by = time.monotonic() + ANSWER_S

    def lag_s(self) -> float | None:
        """Return how long ago the last record that was taken was committed in its source."""
        if self._last_source_ms is None:
            return None
        return max(0.0, round(time.time() - self._last_source_ms / 1000, 3))

    def _text(self, message: Message, header: RecordHeader | None) -> str:
        if header is not None:
            self._last_source_ms = header.source_ms
        received = received_of(self._decoder, message.topic() or "", message, header)
        self.handed.append(Handed(received.partition, received.offset, header))
        if received.problem:
            self.undecodable.add((received.partition, received.offset))
        return change_json(received)

    def _pass_on(self) -> None:
        self._at = (self._at + 1) % len(self._order)
