"""Under which keys the records of raw topics are sealed: their heads alone are looked at, nothing is opened.

What workers have not processed is read whole, as they would halt on each record of it; of what lies behind
them some places are, spread evenly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from exchange.boxes import sealed_under
from exchange.errors import TransientError
from exchange.librdkafka import PARTITION_EOF, explain, quiet_logger

Key = tuple[int, bytes]
"""Version and id of a key."""
_TOPICS: Final = "list of topics"
_PLACES: Final = 16
_BATCH: Final = 10_000
_POLL_S: Final = 0.25
_ANSWER_S: Final = 20.0
_TELL_EVERY_S: Final = 2.0


@dataclass(slots=True)
class Found:
    """Records alike: how many were looked at, and the first of them as <partition>:<offset>."""

    place: str
    records: int = 0


@dataclass(slots=True)
class Looked:
    """What was seen of one raw topic, by key; None: in clear. ahead: of the workers; newest: by partition."""

    ahead: dict[Key | None, Found] = field(default_factory=dict)
    behind: dict[Key | None, Found] = field(default_factory=dict)
    newest: dict[int, Key | None] = field(default_factory=dict)


class RawLook:
    """Reads committed records as a worker may, outside of its group, in one thread."""

    def __init__(self, client: dict[str, Any], group: str, tell: Callable[[str], None]) -> None:
        """`group`: of the workers, for their offsets; `tell` is given a line every two seconds."""
        self._tell = tell
        self._consumer = Consumer(
            client
            | {
                "group.id": group,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            },
            logger=quiet_logger(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def topics(self) -> dict[str, int]:
        """Return the topics that are there, with their number of partitions. Raises: as `look`."""
        try:
            known = self._consumer.list_topics(timeout=_ANSWER_S).topics
        except KafkaException as error:
            raise explain(_TOPICS, error.args[0]) from None
        return {name: len(one.partitions) for name, one in known.items()}

    def look(self, topic: str, partitions: int) -> Looked:
        """Return what a topic holds.

        Raises: PartError when Kafka denies it; TransientError when it does not answer.
        """
        looked = Looked()
        for partition in range(partitions):
            first, reached, end = self._span(topic, partition)
            for place in _places(first, reached):
                message = next(self._records(topic, partition, place, end), None)
                if message is not None and (message.offset() or 0) < reached:
                    _note(looked.behind, looked, message)
            told = time.monotonic()
            for count, message in enumerate(self._records(topic, partition, reached, end), 1):
                _note(looked.ahead, looked, message)
                if time.monotonic() - told > _TELL_EVERY_S:
                    told = time.monotonic()
                    self._tell(
                        f"{topic} {partition}: {count:,} of at most {end - reached:,} records looked at"
                    )
        return looked

    def _span(self, topic: str, partition: int) -> tuple[int, int, int]:
        """Return the first offset, that which the workers go on from, and the end."""
        at = TopicPartition(topic, partition)
        try:
            [known] = self._consumer.committed([at], timeout=_ANSWER_S)
            span = self._consumer.get_watermark_offsets(at, timeout=_ANSWER_S)
        except KafkaException as error:
            raise explain(topic, error.args[0]) from None
        if span is None or known.error is not None:
            msg = f"{topic}: Kafka gave no answer within {_ANSWER_S:.0f} s"
            raise TransientError(msg)
        first, end = span
        return first, min(max(known.offset, first), end), end

    def _records(self, topic: str, partition: int, start: int, end: int) -> Iterator[Message]:
        """Yield the records from an offset to the end, as it was or as far as transactions are over."""
        if start >= end:
            return
        self._consumer.assign([TopicPartition(topic, partition, start)])
        deadline = time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline:
            for message in self._consumer.consume(_BATCH, _POLL_S):
                error = message.error()
                if error is not None and error.code() == PARTITION_EOF:
                    return
                if error is not None and not (error.retriable() and not error.fatal()):
                    raise explain(topic, error)
                if error is None:
                    if (message.offset() or 0) >= end:
                        return
                    yield message
                    deadline = time.monotonic() + _ANSWER_S
        msg = f"{topic}: Kafka gave no answer within {_ANSWER_S:.0f} s"
        raise TransientError(msg)


def _places(first: int, end: int) -> list[int]:
    """Return offsets spread over a range, and its last two: one of them may be a transaction's mark."""
    spread = {first + (end - first) * n // _PLACES for n in range(_PLACES)} | {end - 2, end - 1}
    return sorted(place for place in spread if first <= place < end)


def _note(into: dict[Key | None, Found], looked: Looked, message: Message) -> None:
    value, partition = message.value(), message.partition() or 0
    under = sealed_under(None if value is None else bytes(value))
    into.setdefault(under, Found(f"{partition}:{message.offset()}")).records += 1
    looked.newest[partition] = under
