"""Whether a competitor's output is what was asked for: every record once, and masked where masking was asked.

A benchmark that cheats is a defect: it ends with exit code 1, and no figure is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Consumer, Message, TopicPartition

from bench import person
from exchange.change import HEADER, RecordHeader
from exchange.encoding import wire
from exchange.errors import ExchangeError, PartError
from exchange.librdkafka import PARTITION_EOF

LOOKED_INTO: Final = 20_000
"""Records of each output that are decoded and compared; all are counted."""


class WrongOutputError(ExchangeError):
    """A competitor's output is not what was asked for, so its rate means nothing."""


Judge = Callable[[bytes], None]
"""Looks into one record's value; raises WrongOutputError."""


@dataclass
class Outputs:
    """Reads what became visible on topics after `base`, and judges it."""

    client: dict[str, Any]
    base: Mapping[tuple[str, int], int]
    judges: Mapping[str, Judge]
    wanted: int
    counted: dict[str, int] = field(default_factory=dict)
    position_sums: dict[str, int] = field(default_factory=dict)
    sum_positions: bool = False

    def __post_init__(self) -> None:
        """Begin at the base."""
        self._next = dict(self.base)
        self._each = max(1, self.wanted // LOOKED_INTO)

    def complete(self) -> bool:
        """Read on until each topic has what was wanted, or to the end as it is now; return whether each has.

        Raises: PartError when Kafka no longer has what is to be read.
        """
        self._read(self._all_there)
        return self._all_there()

    def _all_there(self) -> bool:
        return all(self.counted.get(topic, 0) >= self.wanted for topic in self.judges)

    def check(self, expected_sum: int | None = None) -> None:
        """Compare with what was wanted. Raises: WrongOutputError when it is more, less or other."""
        self._read()
        for topic in self.judges:
            found = self.counted.get(topic, 0)
            if found != self.wanted:
                msg = f"{topic}: {found:,} records were delivered, {self.wanted:,} were asked for"
                raise WrongOutputError(msg)
            if expected_sum is not None and self.position_sums.get(topic) != expected_sum:
                msg = f"{topic}: as many records as asked for, but some came twice and others not at all"
                raise WrongOutputError(msg)

    def _read(self, enough: Callable[[], bool] = lambda: False) -> None:
        consumer = Consumer(
            self.client
            | {
                "group.id": "bench-verify",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "queued.max.messages.kbytes": 65_536,
                "log_level": 0,
            }
        )
        try:
            consumer.assign([TopicPartition(*place, offset) for place, offset in self._next.items()])
            unread = set(self._next)
            while unread and not enough():
                for message in consumer.consume(10_000, 1.0):
                    self._take(message, unread)
        finally:
            consumer.close()

    def _take(self, message: Message, unread: set[tuple[str, int]]) -> None:
        error = message.error()
        place = (message.topic() or "", message.partition() or 0)
        if error is not None:
            if error.code() != PARTITION_EOF:
                msg = f"{place[0]} [{place[1]}], read from offset {self._next.get(place, 0):,}: {error.str()}"
                raise PartError(msg)
            unread.discard(place)
            return
        self._next[place] = (message.offset() or 0) + 1
        seen = self.counted.get(place[0], 0)
        self.counted[place[0]] = seen + 1
        if seen % self._each == 0:
            self.judges[place[0]](bytes(message.value() or b""))
        if self.sum_positions:
            header = RecordHeader.unpack(bytes(dict(message.headers() or ()).get(HEADER) or b""))  # type: ignore[arg-type]
            if header is None:
                msg = f"{place[0]}: a record without the bus's header"
                raise WrongOutputError(msg)
            self.position_sums[place[0]] = self.position_sums.get(place[0], 0) + header.position.hash64()


def masked(schema: dict[str, Any], view: int) -> Judge:
    """Return the judge of masked records: each masked text as the view must show it, and nothing clear."""
    reader = wire.Reader(schema)

    def judge(value: bytes) -> None:
        number, after = _after(reader, value)
        wrong = [name for name, text in person.shown(number, view).items() if after.get(name) != text]
        if wrong:
            msg = f"not masked as view {view} asks for: {', '.join(wrong)}"
            raise WrongOutputError(msg)
        if any(text in value for text in person.clear_texts(number)):
            msg = "a masked record holds a clear value elsewhere"
            raise WrongOutputError(msg)

    return judge


def unaltered(schema: dict[str, Any]) -> Judge:
    """Return the judge of records passed through as they are."""
    reader = wire.Reader(schema)

    def judge(value: bytes) -> None:
        number, after = _after(reader, value)
        if after["id_number"] != person.row(number)["id_number"]:
            msg = "not the record that was written"
            raise WrongOutputError(msg)

    return judge


def _after(reader: wire.Reader, value: bytes) -> tuple[int, Mapping[str, Any]]:
    try:
        after = reader.decode(value)["after"]
        return int(after["person_id"]) - 1, after
    except (ValueError, KeyError, TypeError):
        msg = "a record that its schema does not describe"
        raise WrongOutputError(msg) from None
