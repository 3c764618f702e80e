"""The registry's log: the topic `_schemas`, read from its start, written with one record at a time."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from exchange import log
from exchange.admin import admin_client
from exchange.errors import TransientError
from exchange.librdkafka import send
from monitor import kafka
from monitor.registry.compatibility import Level, incompatibilities
from monitor.registry.state import Registered, State, canonical, level_record, schema_record

SCHEMAS_TOPIC: Final = "_schemas"

_log = log.get(__name__)


class IncompatibleError(Exception):
    """A schema may not follow the earlier versions of its subject; `problems` says why."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Store:
    """The registry's state, and the only way to change it.

    A write 1. catches up with the log, 2. decides, 3. appends one record and waits for all replicas,
    4. reads it back and applies it in its place in the log. The state thus never shows what a restart would
    not. Reads answer from memory, also while Kafka is away. One process writes the topic: the monitor.
    """

    def __init__(self, client: dict[str, Any], topic: str = SCHEMAS_TOPIC) -> None:
        self.state = State()
        self.loaded = False
        self._client = client
        self._topic = topic
        self._lock = threading.Lock()
        self._next_offset = 0
        self._consumer: Consumer | None = None
        self._producer: Producer | None = None

    def open(self) -> None:
        """Make the topic where there is none, and read it to its end.

        Raises: TransientError while Kafka is not answering; PartError when it refuses.
        """
        with self._lock:
            ensure_topic(admin_client(self._client), self._topic)
            self._producer = Producer(
                {
                    **kafka.quiet(self._client),
                    "acks": "all",
                    "enable.idempotence": True,
                    "delivery.timeout.ms": int(kafka.TIMEOUT_S * 1000),
                    "linger.ms": 0,
                }
            )
            self._consumer = Consumer({**kafka.reader(self._client), "enable.partition.eof": False})
            self._consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
            self._catch_up()
        self.loaded = True
        _log.info("registry_loaded", topic=self._topic, offset=self._next_offset)

    def register(self, subject: str, schema: str) -> Registered:
        """Make a schema the subject's next version, unless it is one already.

        Raises: InvalidSchemaError, IncompatibleError; TransientError when Kafka does not answer.
        """
        with self._lock:
            self._catch_up()
            if known := self.state.lookup(subject, schema):
                return known
            earlier = [(found.version, found.schema) for found in self.state.versions(subject)]
            if problems := incompatibilities(schema, earlier, self.state.level_in_force(subject)):
                raise IncompatibleError(problems)
            new = Registered(subject, self.state.next_version(subject), self.state.id_for(schema), schema)
            self._append(*schema_record(new))
            stored = self.state.lookup(subject, schema)
            if stored is None or canonical(stored.schema) != canonical(schema):
                msg = f"another process wrote {self._topic} at the same time; try again"
                raise TransientError(msg)
            return stored

    def delete(self, versions: list[Registered]) -> None:
        """Mark versions as deleted; their ids stay readable. Raises: TransientError."""
        with self._lock:
            for found in versions:
                gone = Registered(found.subject, found.version, found.id, found.schema, deleted=True)
                self._append(*schema_record(gone))

    def set_level(self, subject: str | None, level: Level | None) -> None:
        """Set the compatibility level of a subject, or of the registry (None). Raises: TransientError."""
        with self._lock:
            self._append(*level_record(subject, level))

    def close(self) -> None:
        """Close the connections; reads still answer."""
        with self._lock:
            if self._consumer is not None:
                self._consumer.close()
            self._consumer = self._producer = None

    def _append(self, key: bytes, value: bytes | None) -> None:
        if self._producer is None:
            msg = f"{self._topic} is not open"
            raise TransientError(msg)
        written: list[Message] = []
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(error)
            else:
                written.append(message)

        send(self._producer, delivered, topic=self._topic, key=key, value=value, partition=0)
        self._producer.flush(kafka.TIMEOUT_S + 1)
        if not written:
            code = failed[0].name() if failed else "no answer"
            msg = f"{self._topic}: write not acknowledged by Kafka ({code})"
            raise TransientError(msg)
        self._read_to(int(written[0].offset() or 0) + 1)

    def _catch_up(self) -> None:
        if self._consumer is None:
            msg = f"{self._topic} is not open"
            raise TransientError(msg)
        partition = TopicPartition(self._topic, 0)
        try:
            low, high = self._consumer.get_watermark_offsets(partition, timeout=kafka.TIMEOUT_S)
        except KafkaException as error:
            raise kafka.trouble(self._topic, kafka.cause_of(error)) from None
        if low < high:
            self._read_to(high)

    def _read_to(self, end: int) -> None:
        """Apply records until the log's position is `end`; gaps of compaction are passed by position."""
        deadline = time.monotonic() + kafka.TIMEOUT_S
        while self._next_offset < end:
            if time.monotonic() > deadline or self._consumer is None:
                msg = f"{self._topic}: offset {self._next_offset} not read within {kafka.TIMEOUT_S:.0f} s"
                raise TransientError(msg)
            message = self._consumer.poll(0.1)
            if message is not None:
                self._take(message)
                deadline = time.monotonic() + kafka.TIMEOUT_S
            elif (position := self._position()) > self._next_offset:
                self._next_offset = position

    def _position(self) -> int:
        if self._consumer is None:
            return -1
        return int(self._consumer.position([TopicPartition(self._topic, 0)])[0].offset)

    def _take(self, message: Message) -> None:
        if (error := message.error()) is not None:
            raise kafka.trouble(self._topic, error)
        key, offset = kafka.as_bytes(message.key()), int(message.offset() or 0)
        try:
            if key is not None:
                self.state.apply(key, kafka.as_bytes(message.value()))
        except ValueError:
            _log.error("registry_record_unreadable", topic=self._topic, offset=offset)
        self._next_offset = offset + 1


def ensure_topic(admin: AdminClient, topic: str) -> None:
    """Create the registry's compacted topic, unless it exists.

    Raises: TransientError while Kafka is not answering; PartError when it refuses.
    """
    new = NewTopic(topic, num_partitions=1, replication_factor=-1, config={"cleanup.policy": "compact"})
    try:
        known = admin.list_topics(topic, timeout=kafka.TIMEOUT_S).topics.get(topic)
        if known is not None and known.error is None:
            return
        admin.create_topics([new], request_timeout=kafka.TIMEOUT_S)[topic].result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise kafka.trouble(topic, kafka.cause_of(error)) from None
