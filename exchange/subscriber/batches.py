"""A view read in batches from places that its reader keeps itself, for delivery into a store.

    reader = BatchReader(kafka, registry, "tax", "population.person.tax", group, partitions=4)
    reader.begin(reader.committed())
    batch = reader.read(max_records=10_000, linger_s=0)

All partitions are read by one reader that is in no group; whoever keeps the places keeps others away. What it
promises of records is what ViewReader promises (reader.py): committed ones, in offset order per partition,
each once by its source position, an undecodable one in its place with `problem` set.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition

from exchange.change import HEADER, RecordHeader
from exchange.errors import ConfigError, ExchangeError, PartError, TransientError
from exchange.librdkafka import AUTHENTICATION, DENIED, PARTITION_EOF, quiet_logger
from exchange.subscriber.decoder import Schemas, WireDecoder, header_of
from exchange.subscriber.reader import Received
from exchange.subscriber.seen import Seen

_POLL_S: Final = 0.25
_ANSWER_S: Final = 10.0
_MAX_BYTES: Final = 16 * 1024 * 1024


class DeniedError(ConfigError):
    """Kafka denies a view to its subscriber: the grant has ended, or was never applied."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a partition has been used: the next offset, and what `Seen` needs to go on there."""

    offset: int
    marks: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Records in offset order per partition, and the place behind the last of each partition.

    A place may lie behind more than its records: what had been seen before was dropped.
    """

    records: Sequence[Received] = ()
    places: Mapping[int, Place] = field(default_factory=dict)


def received_of(decoder: WireDecoder, topic: str, message: Message, header: RecordHeader | None) -> Received:
    """Return the record of a message, whose header was read; an undecodable one says why.

    Raises: TransientError when the registry is away.
    """
    now_ms, key, value = int(time.time() * 1000), None, None
    problem = "" if header is not None else f"no valid {HEADER} header: not written by this bus"
    raw_key, raw_value = message.key(), message.value()
    try:
        if header is not None:
            key = decoder.decode(raw_key) if isinstance(raw_key, bytes) else None
            value = decoder.decode(raw_value) if isinstance(raw_value, bytes) else None
    except ValueError as error:
        key, value, problem = None, None, str(error)
    except LookupError:
        key, value, problem = None, None, "the registry does not know its schema id"
    partition, offset = message.partition() or 0, message.offset() or 0
    return Received(topic, partition, offset, header, key, value, now_ms, problem)


def failure(topic: str, subscriber: str, error: KafkaError) -> ExchangeError:
    """Return what to raise for an error that does not pass by itself: DeniedError or TransientError."""
    if error.code() in DENIED:
        return DeniedError(
            f"{topic}: Kafka denies it to {subscriber} ({error.name()}): there is no grant "
            "any more. Grants stand in topology.yaml and take effect with `exchange apply`"
        )
    return TransientError(f"{topic}: Kafka answered {error.name()}")


class BatchReader:
    """committed → begin → read* → close, all in one thread; `lag_records` from any."""

    def __init__(
        self,
        kafka: dict[str, Any],
        schemas: Schemas,
        subscriber: str,
        view: str,
        group: str,
        partitions: int,
    ) -> None:
        """Take the subscriber's librdkafka properties and a registry client; nothing connects yet."""
        self.duplicates = 0
        self._topic = f"share.{view}"
        self._subscriber = subscriber
        self._partitions = range(partitions)
        self._decoder = WireDecoder(schemas)
        self._seen: dict[int, Seen] = {}
        self.starts: dict[int, int] = {}
        """Offsets that `begin` has gone to."""
        self._next: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._passed: dict[int, int] = {}
        """Where the last end of a partition was met: before it there is nothing more to read."""
        self._refused_login = False
        self._consumer = Consumer(
            kafka
            | {
                "group.id": group,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "error_cb": self._on_error,
                "fetch.queue.backoff.ms": 5,
                "queued.max.messages.kbytes": 32_768,
            },
            logger=quiet_logger(),
        )

    @property
    def group_metadata(self) -> Any:
        """What a producer needs to keep the group's places in its transaction."""
        return self._consumer.consumer_group_metadata()

    def committed(self) -> dict[int, Place]:
        """Return the places that the group holds in Kafka; a partition it has none of is left out.

        Raises: DeniedError; TransientError when Kafka does not answer.
        """
        wanted = [TopicPartition(self._topic, partition) for partition in self._partitions]
        found = self._ask(lambda: self._consumer.committed(wanted, timeout=_ANSWER_S))
        return {
            each.partition: Place(each.offset, each.metadata or "")
            for each in found
            if each.offset != OFFSET_INVALID
        }

    def begin(self, places: Mapping[int, Place]) -> bool:
        """Read from these places on, a partition that has none from its first record.

        Returns whether records that nobody has read were removed before such a partition's first.

        Raises: PartError when a place is not there any more: records are missing; else as `committed`.
        """
        starts, incomplete = [], False
        for partition in self._partitions:
            at = TopicPartition(self._topic, partition)
            first, end = self._ask(lambda at=at: self._span(at))  # type: ignore[misc]
            place = places.get(partition)
            if place is not None and not first <= place.offset <= end:
                raise self._gap(partition, place.offset, first, end)
            incomplete |= place is None and first > 0
            self._seen[partition] = Seen(place.marks if place else "")
            at.offset = self._next[partition] = place.offset if place else first
            self.starts[partition] = at.offset
            self._ends[partition] = end
            starts.append(at)
        self._consumer.assign(starts)
        return incomplete

    def read(self, max_records: int, linger_s: float, until: Callable[[], bool] = lambda: False) -> Batch:
        """Return what is there, waiting a moment for the first record and `linger_s` for those after it.

        Raises: DeniedError; PartError where records are missing; TransientError when Kafka or the registry
        is away: begin anew then.
        """
        records: list[Received] = []
        places: dict[int, Place] = {}
        size_bytes, due = 0, 0.0
        while len(records) < max_records and size_bytes < _MAX_BYTES and not until():
            found = self._consumer.poll(_POLL_S)
            messages = [] if found is None else [found, *self._more(max_records - len(records) - 1)]
            for message in messages:
                size_bytes += self._take(message, records, places)
            now = time.monotonic()
            due = due or (now + linger_s if places else 0.0)
            if not places or now >= due:
                break
        self._expect_login()
        self._note_ends()
        return Batch(
            records, {at: Place(place.offset, self._seen[at].marks()) for at, place in places.items()}
        )

    def lag_records(self, places: Mapping[int, Place]) -> int:
        """Return how many offsets lie between places (else the start) and the ends."""
        reached = self.starts | {at: place.offset for at, place in places.items()}
        return sum(max(0, end - reached.get(at, end)) for at, end in dict(self._ends).items())

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _more(self, room: int) -> list[Message]:
        return self._consumer.consume(room, timeout=0) if room > 0 else []

    def _take(self, message: Message, records: list[Received], places: dict[int, Place]) -> int:
        """Take one message in; return its size."""
        partition, offset = message.partition(), message.offset()
        error = message.error()
        if error is not None:
            self._judge(error, partition, offset)
            return 0
        if partition is None or offset is None:
            return 0
        received = received_of(self._decoder, self._topic, message, header_of(message))
        self._next[partition] = offset + 1
        places[partition] = Place(offset + 1)
        if received.header is not None and not self._seen[partition].is_new(received.header):
            self.duplicates += 1
        else:
            records.append(received)
        return len(message)

    def _note_ends(self) -> None:
        for partition in self._ends:
            at = TopicPartition(self._topic, partition)
            _, end = self._consumer.get_watermark_offsets(at, cached=True)
            if end > self._passed.get(partition, -1):
                self._ends[partition] = max(self._ends[partition], end)

    def _span(self, at: TopicPartition) -> tuple[int, int]:
        found = self._consumer.get_watermark_offsets(at, timeout=_ANSWER_S)
        if found is None:
            msg = f"{self._topic}: Kafka gave no answer within {_ANSWER_S:.0f} s"
            raise TransientError(msg)
        return found

    def _ask(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except KafkaException as error:
            self._consumer.poll(0)  # a refused login is told through error_cb, which only poll() serves
            self._expect_login()
            raise failure(self._topic, self._subscriber, self._reason(error.args[0])) from None

    def _reason(self, problem: KafkaError) -> KafkaError:
        """Return what Kafka says of the topic where its client only says that it knows no such partition."""
        if problem.code() != KafkaError._UNKNOWN_PARTITION:  # noqa: SLF001 public constant
            return problem
        try:
            topic = self._consumer.list_topics(self._topic, timeout=_ANSWER_S).topics[self._topic]
        except KafkaException:
            return problem
        return topic.error or problem

    def _judge(self, error: KafkaError, partition: int | None, offset: int | None) -> None:
        """Pass over the end of a partition and what passes by itself; raise for everything else."""
        if error.code() == PARTITION_EOF and partition is not None:
            self._passed[partition] = offset or 0
            self._ends[partition] = self._next[partition]
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 public constant
            raise self._gap(partition, offset)
        if error.fatal() or not error.retriable():
            raise failure(self._topic, self._subscriber, error)

    def _gap(self, partition: int | None, *numbers: int | None) -> PartError:
        place, there = numbers[0], f" (there are {numbers[1]} to {numbers[2]})" if len(numbers) > 1 else ""
        return PartError(
            f"{self._topic} partition {partition}: offset {place}, where delivery stands, is no longer (or "
            f"not yet) in Kafka{there}: records were removed before they were delivered, or the topic was "
            "made anew"
        )

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == AUTHENTICATION:
            self._refused_login = True

    def _expect_login(self) -> None:
        if self._refused_login:
            msg = (
                f"Kafka does not accept {self._subscriber}'s password; `exchange apply` sets the one that is "
                "in the secrets"
            )
            raise ConfigError(msg)
