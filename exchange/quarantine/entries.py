"""Reading what was refused, as the department's steward: quarantine topics, and raw topics beside them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from exchange.change import RecordHeader
from exchange.errors import ConfigError, NoEntryError, PartError
from exchange.keys import QuarantineRecord
from exchange.librdkafka import PARTITION_EOF, quiet_logger
from exchange.plan import quarantine_topic

_POLL_S: Final = 0.5
_ANSWER_S: Final = 20.0

Isolation = Literal["read_committed", "read_uncommitted"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of a quarantine topic; `record` is None when the bytes are no quarantine record."""

    partition: int
    offset: int
    record: QuarantineRecord | None

    @property
    def place(self) -> str:
        """How commands name it: <partition>:<offset>."""
        return f"{self.partition}:{self.offset}"

    @property
    def header(self) -> RecordHeader | None:
        """The refused record's header, None when it had no valid one."""
        return None if self.record is None else RecordHeader.unpack(self.record.header)


class Topics:
    """Reads topics from offset to offset, outside of any consumer group."""

    def __init__(self, kafka: dict[str, Any], group: str) -> None:
        """Take a principal's librdkafka properties; `group` is never joined, but librdkafka wants a name."""
        self._kafka = kafka | {
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
        }

    def spans(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return first offset and end (high watermark) of each partition.

        Raises: ConfigError when Kafka denies the topic or has none of that name; PartError when it is away.
        """
        with _open(self._kafka) as consumer:
            return {
                partition: _call(topic, consumer.get_watermark_offsets, TopicPartition(topic, partition))
                for partition in _partitions(consumer, topic)
            }

    def read(
        self, topic: str, partition: int, first: int, isolation: Isolation = "read_committed"
    ) -> Iterator[Message]:
        """Yield messages from `first` to the end there is when it gets there.

        Raises: ConfigError or PartError as `spans`.
        """
        with _open(self._kafka | {"isolation.level": isolation}) as consumer:
            consumer.assign([TopicPartition(topic, partition, first)])
            waited_s = 0.0
            while waited_s < _ANSWER_S:
                message = consumer.poll(_POLL_S)
                if message is None:
                    waited_s += _POLL_S
                    continue
                waited_s = 0.0
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == PARTITION_EOF:
                    return
                elif error.fatal() or not error.retriable():
                    raise _explained(topic, error)
        msg = f"{topic}: Kafka gave no answer within {_ANSWER_S:.0f} s"
        raise PartError(msg)


def entries(
    topics: Topics, resource: str, after: str = "", ends: Mapping[int, int] | None = None
) -> Generator[Entry, None, None]:
    """Yield what is in a resource's quarantine, partition by partition in the order it was refused.

    after: the place behind which to begin; ends: partition → offset before which to end.

    Raises: ConfigError when `after` is no place.
    """
    topic = quarantine_topic(resource)
    from_partition, behind = _place(after) if after else (-1, -1)
    for partition, (first, last) in sorted(topics.spans(topic).items()):
        begin = max(first, behind + 1) if partition == from_partition else first
        end = last if ends is None else min(last, ends.get(partition, 0))
        if partition >= from_partition and begin < end:
            for message in topics.read(topic, partition, begin):
                if ends is not None and (message.offset() or 0) >= end:
                    break
                yield _entry(partition, message)


def chosen(topics: Topics, resource: str, places: Iterable[str]) -> list[Entry]:
    """Return the entries at `<partition>:<offset>` places.

    Raises: ConfigError when a place is not of that form; NoEntryError when nothing is there.
    """
    topic = quarantine_topic(resource)
    spans = topics.spans(topic)
    return [_at(topics, topic, spans, place) for place in places]


def _at(topics: Topics, topic: str, spans: dict[int, tuple[int, int]], place: str) -> Entry:
    partition, offset = _place(place)
    first, end = spans.get(partition, (0, 0))
    if first <= offset < end:
        message = next(topics.read(topic, partition, offset), None)
        if message is not None and message.offset() == offset:
            return _entry(partition, message)
    msg = f"{topic} {place}: nothing is there; `exchange quarantine list` shows the places"
    raise NoEntryError(msg)


def _place(text: str) -> tuple[int, int]:
    partition, _, offset = text.partition(":")
    if not (text.isascii() and partition.isdigit() and offset.isdigit()):
        msg = f"{text!r} is not <partition>:<offset>; `exchange quarantine list` shows the places"
        raise ConfigError(msg)
    return int(partition), int(offset)


def _entry(partition: int, message: Message) -> Entry:
    value = message.value()
    try:
        record = QuarantineRecord.decode(value if isinstance(value, bytes) else b"")
    except ValueError:
        record = None
    return Entry(partition, message.offset() or 0, record)


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    found = _call(topic, consumer.list_topics, topic).topics[topic]
    if found.error is not None:
        raise _explained(topic, found.error)
    return sorted(found.partitions)


def _call(topic: str, ask: Any, *arguments: Any) -> Any:
    try:
        return ask(*arguments, timeout=_ANSWER_S)
    except KafkaException as error:
        raise _explained(topic, error.args[0]) from None


def _explained(topic: str, error: KafkaError) -> ConfigError | PartError:
    if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
        return ConfigError(
            f"{topic}: Kafka denies it; is `exchange apply` done, and is it the right department?"
        )
    if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        return ConfigError(f"{topic}: there is no such topic; `exchange apply` makes the topics")
    return PartError(f"{topic}: Kafka answered {error.name()}")


class _open:
    """A consumer that is closed at the end of a with block and keeps librdkafka's log lines to itself."""

    def __init__(self, properties: dict[str, Any]) -> None:
        self._consumer = Consumer(properties, logger=quiet_logger())

    def __enter__(self) -> Consumer:
        return self._consumer

    def __exit__(self, *_: object) -> None:
        self._consumer.close()
