"""A subscriber's reader of one view: committed records, decoded, in order, without duplicates.

    with ViewReader(kafka, registry, "housing", "population.person.basic", Start("committed")) as reader:
        for record in reader.records(follow=True):
            ...                 # use it
            reader.done(record)
        reader.commit()

What it promises, in the order it does it:

1. only committed records, in offset order per partition;
2. a record that was seen before (same source position, see seen.py) is dropped and counted;
3. a record that cannot be decoded is handed out in its place with `problem` set, never skipped;
4. `commit` covers exactly the records that were `done`, and carries what `Seen` needs after a restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import (
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from exchange.change import HEADER, RecordHeader
from exchange.errors import ConfigError, PartError
from exchange.librdkafka import AUTHENTICATION, DENIED, PARTITION_EOF, quiet_logger
from exchange.subscriber.decoder import Schemas, WireDecoder, header_of
from exchange.subscriber.seen import Seen

_POLL_S: Final = 0.25
_FIRST_ANSWER_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin: `earliest`, `latest`, `committed`, or one partition at one offset."""

    kind: str
    partition: int = -1
    offset: int = -1

    @classmethod
    def parse(cls, text: str) -> Start:
        """Return the start that a command line names.

        Raises: ConfigError for anything else than earliest, latest, committed or <partition>:<offset>.
        """
        if text in ("earliest", "latest", "committed"):
            return cls(text)
        partition, colon, offset = text.partition(":")
        if colon and partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit():
            return cls("at", int(partition), int(offset))
        msg = f"--from {text}: give earliest, latest, committed or <partition>:<offset>, for instance 2:1500"
        raise ConfigError(msg)


@dataclass(frozen=True, slots=True)
class Received:
    """One record of a view as the subscriber sees it.

    key: the view's key record (None for a truncate); value: the envelope {before, after, source, op, ts_ms},
    None for a tombstone; problem: why key and value could not be decoded, empty when they could.
    """

    topic: str
    partition: int
    offset: int
    header: RecordHeader | None
    key: dict[str, Any] | None
    value: dict[str, Any] | None
    received_ms: int
    problem: str = ""

    @property
    def delay_ms(self) -> int | None:
        """Source commit to now, None without a header."""
        return None if self.header is None else self.received_ms - self.header.source_ms


class ViewReader:
    """Reads one view's topic as one subscriber, in the consumer group `<subscriber>.<view>`."""

    def __init__(
        self,
        kafka: dict[str, Any],
        schemas: Schemas,
        subscriber: str,
        view: str,
        start: Start,
        group: str | None = None,
    ) -> None:
        """Take the subscriber's librdkafka properties and a registry client; nothing connects yet.

        group: another consumer group; Kafka lets a subscriber use those that begin with `<subscriber>.`.
        """
        self.duplicates = 0
        self._topic = f"share.{view}"
        self._subscriber = subscriber
        self._start = start
        self._decoder = WireDecoder(schemas)
        self._seen: dict[int, Seen] = {}
        self._next: dict[int, tuple[int, str]] = {}
        self._at_end: set[int] = set()
        self._assigned: set[int] | None = None
        self._began = False
        self._server = kafka["bootstrap.servers"]
        self._refused_login = ""
        self._consumer = Consumer(
            kafka
            | {
                "group.id": group or f"{subscriber}.{view}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "error_cb": self._on_error,
            },
            logger=quiet_logger(),
        )

    def __enter__(self) -> Self:
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def records(self, *, follow: bool, until: Callable[[], bool] = lambda: False) -> Iterator[Received]:
        """Yield records until `until` says so; without `follow` to the end that every partition has now.

        Raises: ConfigError when Kafka denies the topic or the group; PartError when it does not answer or no
        longer has the offset asked for; TransientError when the registry is away (nothing is skipped: the
        record is read again next time).
        """
        deadline = time.monotonic() + _FIRST_ANSWER_S
        while (follow or not self._finished()) and not until():
            message = self._consumer.poll(_POLL_S)
            if message is None:
                self._expect_answer(deadline)
                continue
            received = self._receive(message)
            if received is not None:
                yield received

    def done(self, record: Received) -> None:
        """Say that a record has been used: the next `commit` covers it."""
        seen = self._seen.get(record.partition)
        self._next[record.partition] = (record.offset + 1, seen.marks() if seen is not None else "")

    def commit(self) -> None:
        """Store in Kafka how far this group has come.

        Raises: PartError when Kafka does not take it; the records will be read again.
        """
        offsets = [
            TopicPartition(self._topic, partition, offset, metadata=marks)
            for partition, (offset, marks) in self._next.items()
        ]
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            name = error.args[0].name()
            msg = f"{self._topic}: Kafka did not take the commit ({name}); the records will be read again"
            raise PartError(msg) from None
        self._next.clear()

    def _receive(self, message: Message) -> Received | None:
        """Return the record of a message; None for an end of partition or a duplicate."""
        error = message.error()
        if error is not None:
            self._judge(error, message)
            return None
        partition, offset = message.partition(), message.offset()
        if partition is None or offset is None:
            return None
        self._at_end.discard(partition)
        header = header_of(message)
        key, value, problem = self._decode(message, header)
        if header is not None and not self._seen.setdefault(partition, Seen()).is_new(header):
            self.duplicates += 1
            return None
        return Received(self._topic, partition, offset, header, key, value, int(time.time() * 1000), problem)

    def _decode(
        self, message: Message, header: RecordHeader | None
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None, str]:
        if header is None:
            return None, None, f"no valid {HEADER} header: not written by this bus"
        raw_key, raw_value = message.key(), message.value()
        try:
            key = self._decoder.decode(raw_key) if isinstance(raw_key, bytes) else None
            value = self._decoder.decode(raw_value) if isinstance(raw_value, bytes) else None
        except ValueError as error:
            return None, None, str(error)
        except LookupError:
            return None, None, "the registry does not know its schema id"
        return key, value, ""

    def _judge(self, error: KafkaError, message: Message) -> None:
        """Note the end of a partition; raise for everything else that will not pass by itself."""
        partition = message.partition()
        if error.code() == PARTITION_EOF and partition is not None:
            self._at_end.add(partition)
            return
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 public constant
            msg = (
                f"{self._topic} partition {partition}: the offset asked for is no longer (or not yet) there; "
                "records may have been removed by retention before they were read. "
                "Go on with --from earliest (accepting the gap) and ask the source for a new snapshot."
            )
            raise PartError(msg)
        if error.fatal() or not error.retriable():
            raise self._failure(error)

    def _failure(self, error: KafkaError) -> ConfigError | PartError:
        """Return what to tell about an error of Kafka that will not pass by itself."""
        if error.code() in DENIED:
            return ConfigError(
                f"{self._topic}: Kafka denies it to {self._subscriber} ({error.name()}): there is no grant, "
                "or no view of that name. Both stand in topology.yaml and take effect with `exchange apply`."
            )
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return ConfigError(
                f"{self._topic}: no such view; topology.yaml declares them, `exchange apply` makes them"
            )
        return PartError(f"{self._topic}: Kafka at {self._server} answered {error.name()}")

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == AUTHENTICATION:
            self._refused_login = error.name()

    def _expect_answer(self, deadline: float) -> None:
        if self._refused_login:
            msg = (
                f"Kafka at {self._server} does not accept {self._subscriber}'s password "
                f"({self._refused_login}); `exchange apply` sets the one that is in the secrets"
            )
            raise ConfigError(msg)
        if self._assigned is None and time.monotonic() > deadline:
            msg = f"Kafka at {self._server} gave no answer for {self._topic} within {_FIRST_ANSWER_S:.0f} s"
            raise PartError(msg)

    def _finished(self) -> bool:
        return self._assigned is not None and self._assigned <= self._at_end

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Begin where `start` says; when partitions come back later, where the group is by then."""
        if self._start.kind == "at":
            partitions = [each for each in partitions if each.partition == self._start.partition]
        try:
            if not partitions and self._start.kind == "at" and not self._began:
                raise self._not_ours(consumer)
            for each in consumer.committed(partitions, timeout=_FIRST_ANSWER_S):
                self._begin(consumer, each)
        except KafkaException as error:
            raise self._failure(error.args[0]) from None
        self._began = True
        self._assigned = {each.partition for each in partitions}
        self._at_end.clear()
        for each in partitions:
            each.offset = self._next[each.partition][0]
        consumer.assign(partitions)

    def _not_ours(self, consumer: Consumer) -> ConfigError | PartError:
        """Return why the partition to begin at is not among those this reader was given."""
        wanted = self._start.partition
        there = len(consumer.list_topics(self._topic, timeout=_FIRST_ANSWER_S).topics[self._topic].partitions)
        if wanted >= there:
            known = f"there are 0 to {there - 1}" if there > 1 else "there is only 0"
            return ConfigError(f"{self._topic}: there is no partition {wanted}; {known}")
        return PartError(
            f"{self._topic} partition {wanted}: another reader of {self._subscriber} in this group has it; "
            "stop that one first"
        )

    def _begin(self, consumer: Consumer, committed: TopicPartition) -> None:
        """Note where to begin a partition; take over the marks where the group goes on."""
        kind, partition = "committed" if self._began else self._start.kind, committed.partition
        self._seen[partition] = Seen()
        if kind == "at":
            self._next[partition] = self._start.offset, ""
        elif kind == "committed" and committed.offset != OFFSET_INVALID:
            self._seen[partition] = Seen(committed.metadata or "")
            self._next[partition] = committed.offset, committed.metadata or ""
        else:
            place = TopicPartition(self._topic, partition)
            first, end = consumer.get_watermark_offsets(place, timeout=_FIRST_ANSWER_S)
            self._next[partition] = end if kind == "latest" else first, ""

    def _on_revoke(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        """Another member takes over: what is done is committed while this one still owns it."""
        self.commit()
        self._assigned = None

    def _on_lost(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        """Another member has taken over already: it begins at the last commit."""
        self._next.clear()
        self._assigned = None
