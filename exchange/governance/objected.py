"""Finds in Kafka what an objection speaks of: the record of the view, its change, and later ones of the row.

The partition of a view's record is that of its change in the raw topic, and a row's changes stand in one
partition in their order. Of raw records only the header and the key are looked at, sealed or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from exchange.blockio import record_of
from exchange.boxes import BoxOpener
from exchange.change import Op, Position, RecordHeader
from exchange.encoding.wire import schema_id, unframe
from exchange.errors import GovernanceError, TransientError
from exchange.governance.objection import Place
from exchange.librdkafka import PARTITION_EOF, explain, quiet_logger
from exchange.subscriber.decoder import header_of
from exchange.subscriber.plain import position_text

_ANSWER_S: Final = 20.0
_CLOCKS_MS: Final = 3_600_000
"""How much later than Kafka's clock a source's may be, before its change is looked for from the beginning."""
_CHANGES: Final = (Op.CREATE, Op.UPDATE, Op.DELETE)


@dataclass(frozen=True, slots=True)
class Found:
    """A change in the raw topic: its offset, header, and the bytes of its key without the schema's id."""

    offset: int
    header: RecordHeader
    key: bytes

    @property
    def place(self) -> Place:
        """Its place as an objection keeps it."""
        return Place(offset=self.offset, position=position_text(self.header) or "")


def shown(client: dict[str, Any], topic: str, partition: int, offset: int, group: str) -> RecordHeader:
    """Return the header of a view's record, read as the subscriber whose librdkafka properties `client` are.

    Raises: GovernanceError when no record stands there, PartError when Kafka denies it.
    """
    with _Reader(client, topic, partition, group) as reader:
        first, end = reader.span()
        if first <= offset < end:
            for message in reader.messages(offset):
                header = header_of(message)
                if message.offset() == offset and header is not None and not header.tombstone:
                    return header
                break
    msg = f"{topic} {partition}:{offset}: no record of a change stands there; `exchange consume` shows places"
    raise GovernanceError(msg)


def change_of(
    client: dict[str, Any], raw_topic: str, partition: int, header: RecordHeader, opener: BoxOpener
) -> Place:
    """Return the place in the raw topic of the change that a view's record shows.

    Raises: GovernanceError when it is no longer there; ConfigError when a sealed record's key is missing.
    """
    with _Reader(client, raw_topic, partition, opener=opener) as reader:
        return _change(reader, header.position, header.source_ms).place


def later_changes(
    client: dict[str, Any], raw_topic: str, partition: int, place: Place, opener: BoxOpener
) -> list[Place]:
    """Return the later changes of the same row, in order; what was re-driven or read again is none.

    Raises: GovernanceError when the change itself is no longer there; ConfigError as `change_of`.
    """
    found: list[Place] = []
    with _Reader(client, raw_topic, partition, opener=opener) as reader:
        changes = reader.changes(place.offset)
        first = next(changes, None)
        if first is None or first.place != place:
            raise GovernanceError(_gone(raw_topic, partition))
        for change in changes:
            if change.key == first.key and _follows(change.header, first.header):
                found.append(change.place)
    return found


def _follows(header: RecordHeader, first: RecordHeader) -> bool:
    if header.op not in _CHANGES or header.redriven or header.tombstone:
        return False
    return header.position.stream != first.position.stream or header.position > first.position


def _change(reader: _Reader, position: Position, source_ms: int) -> Found:
    near = reader.offset_at(source_ms - _CLOCKS_MS)
    for start, until in ((near, None), (reader.span()[0], near)):
        for change in reader.changes(start):
            if change.header.position == position and not change.header.tombstone:
                return change
            if until is not None and change.offset >= until:
                break
    raise GovernanceError(_gone(reader.topic, reader.partition))


def _gone(topic: str, partition: int) -> str:
    return f"{topic} partition {partition}: the change is no longer there; topics keep seven days"


class _Reader:
    """Reads one partition, committed records alone, without a group's offsets."""

    def __init__(
        self,
        client: dict[str, Any],
        topic: str,
        partition: int,
        group: str = "",
        opener: BoxOpener | None = None,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self._opener = opener or BoxOpener()
        self._consumer = Consumer(
            client
            | {
                "group.id": group or "exchange-objections",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
            },
            logger=quiet_logger(),
        )

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def span(self) -> tuple[int, int]:
        """Return the first offset and the end. Raises: as `_asked`."""
        span = self._asked(lambda: self._consumer.get_watermark_offsets(self._at(0), timeout=_ANSWER_S))
        if span is None:
            raise TransientError(self._silent())
        first, end = span
        return first, end

    def offset_at(self, time_ms: int) -> int:
        """Return the first offset whose record is not older, the end where all are. Raises: as `_asked`."""
        wanted = [self._at(max(0, time_ms))]
        (at,) = self._asked(lambda: self._consumer.offsets_for_times(wanted, timeout=_ANSWER_S))
        if at.error is not None:
            raise explain(self.topic, at.error)
        return int(at.offset) if at.offset >= 0 else self.span()[1]

    def changes(self, offset: int) -> Iterator[Found]:
        """Yield the changes from an offset to the end. Raises: ConfigError when a box's key is missing."""
        for record in map(record_of, self.messages(offset)):
            header = RecordHeader.unpack(record.header)
            if header is None or record.header is None:
                continue
            opened = self._opener.open(self.topic, self.partition, record.header, record.key, record.value)
            key = None if opened is None else opened[0]
            if key is not None:
                yield Found(record.offset, header, key if schema_id(key) is None else unframe(key)[1])

    def messages(self, offset: int) -> Iterator[Message]:
        """Yield the records from an offset to the end. Raises: as `explain`, and when Kafka is silent."""
        self._consumer.assign([self._at(offset)])
        heard = time.monotonic()
        while time.monotonic() - heard < _ANSWER_S:
            message = self._consumer.poll(1.0)
            if message is None:
                continue
            error = message.error()
            if error is None:
                heard = time.monotonic()
                yield message
            elif error.code() == PARTITION_EOF:
                return
            else:
                raise explain(self.topic, error)
        raise TransientError(self._silent())

    def _asked(self, call: Callable[[], Any]) -> Any:
        """Return what Kafka answers. Raises: as `explain`; GovernanceError for no such partition."""
        try:
            return call()
        except KafkaException as error:
            problem = error.args[0]
        if problem.code() != KafkaError._UNKNOWN_PARTITION:  # noqa: SLF001 - a public constant
            raise explain(self.topic, problem)
        try:
            topic = self._consumer.list_topics(self.topic, timeout=_ANSWER_S).topics[self.topic]
        except KafkaException as error:
            raise explain(self.topic, error.args[0]) from None
        if topic.error is not None:
            raise explain(self.topic, topic.error)
        msg = f"{self.topic} has no partition {self.partition}; there are {len(topic.partitions)}, from 0"
        raise GovernanceError(msg)

    def _silent(self) -> str:
        return f"{self.topic}: Kafka gave no answer within {_ANSWER_S:.0f} s"

    def _at(self, offset: int) -> TopicPartition:
        return TopicPartition(self.topic, self.partition, offset)
