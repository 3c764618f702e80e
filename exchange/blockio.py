"""Blocks to and from Kafka: by librdkafka's C API where it can be used, else message by message.

Both ways do the same; the compiled one makes no Python object for a record. It calls librdkafka on the handle
that a client of confluent_kafka holds, so it is used only where

- the setting EXCHANGE_NATIVE does not forbid it, and `exchange/_librdkafka.pyx` was compiled;
- confluent_kafka and librdkafka are of versions whose layouts were checked, see docs/adr/0006;
- the library that confluent_kafka runs on offers the functions, and the handle proves to be the client's.

Otherwise the log says once why it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from exchange import log
from exchange.block import NONE, ReadBlock, Record, WriteBlock
from exchange.change import HEADER
from exchange.errors import ConfigError
from exchange.settings import read_settings

_CHECKED: Final = range(0x020D_0000, 0x0211_0000)
"""librdkafka 2.13 to 2.16: the structs of rdkafka.h are the same from 2.12.1 on."""
_CHECKED_CLIENTS: Final = range(13, 17)
"""Minor versions of confluent_kafka 2: the same ones."""
_SERVE_S: Final = 0.05
"""How long a rebalance may wait for a consumer that has nothing to read; also far below a heartbeat."""

_log = log.get(__name__)


class BlockProducer:
    """Queues the records of blocks on a producer. Let go of it before the producer is closed."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        native = native_client()
        self._native = None
        if native is not None and _proven(native, producer, native.PRODUCER):
            self._native = native.Writer(producer)

    @property
    def is_native(self) -> bool:
        """True when records are queued without a Python object for each."""
        return self._native is not None

    def write(self, block: WriteBlock, first: int = 0) -> int:
        """Queue records from number `first` on, in order.

        Returns the number of the first that was not queued because the producer's queue is full: poll the
        producer and call again from there. It is `block.count` when all are queued. Keys, values and headers
        are copied; the block may be changed afterwards.

        Raises: KafkaException when librdkafka refuses a record for any other reason; those before it are
        queued.
        """
        if self._native is not None:
            return int(self._native.write(block, first))
        return self._write(block, first)

    def _write(self, block: WriteBlock, first: int) -> int:
        produce = self._producer.produce
        for number in range(first, block.count):
            topic, partition, key, value, header = block.record(number)
            headers: Any = None if header is None else [(HEADER, header)]
            try:
                # positional: topic, value, key, partition, callback, on_delivery, timestamp, headers
                produce(topic, value, key, partition, None, None, 0, headers)
            except BufferError:
                return number
        return block.count


@dataclass(frozen=True, slots=True)
class ReadError:
    """What came in place of a record: the end of a partition, or why it cannot be read at `offset`.

    topic is empty where the error is the consumer's own.
    """

    topic: str
    partition: int
    offset: int
    error: KafkaError


@dataclass(slots=True)
class Reading:
    """What was read since `blocks` was empty. strays: see BlockConsumer.read."""

    blocks: dict[tuple[str, int], ReadBlock] = field(default_factory=dict)
    errors: list[ReadError] = field(default_factory=list)
    records: int = 0
    size_bytes: int = 0
    strays: bool = False


class BlockConsumer:
    """Reads a consumer's records into blocks by topic and partition. All calls come from one thread.

    1 assign: in the consumer's on_assign callback, instead of consumer.assign()
    2 read: calls the consumer's callbacks too
    3 close: instead of consumer.close()
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        native = native_client()
        self._native = None
        if native is not None and _proven(native, consumer, native.CONSUMER):
            self._native = native.Reader(consumer)

    @property
    def is_native(self) -> bool:
        """True when records are read without a Python object for each."""
        return self._native is not None

    def assign(self, positions: Sequence[TopicPartition]) -> None:
        """Read these partitions from these offsets on."""
        self.forward(positions)
        self._consumer.assign(list(positions))

    def forward(self, partitions: Iterable[TopicPartition]) -> None:
        """Take the messages of partitions past the consumer's own queue.

        Done before they are assigned: librdkafka leaves alone the forwarding that it finds set.
        Source: librdkafka 2.15.0, src/rdkafka_partition.c, rd_kafka_toppar_op_fetch_start
        """
        if self._native is not None:
            for partition in partitions:
                self._native.forward(partition.topic, partition.partition)

    def read(self, into: Reading, max_records: int, max_bytes: int, wait_s: float) -> None:
        """Add what has arrived, up to about so much in all; wait for the first message only.

        `into.strays` is set when a record came by a way on which its order is not known; it was dropped:
        forward the partitions again and go back to an offset before what was read.
        """
        if self._native is None:
            self._read_messages(into, max_records, wait_s)
            return
        while (message := self._consumer.poll(0)) is not None:
            _note(message, into)
        found: list[tuple[str, int, int, int]] = []
        wait_ms = 0 if into.strays else round(1000 * min(wait_s, _SERVE_S))
        records, size = self._native.read(
            into.blocks, found, max_records - into.records, max_bytes - into.size_bytes, wait_ms
        )
        into.records += records
        into.size_bytes += size
        into.errors += [ReadError(topic, at, offset, KafkaError(code)) for topic, at, offset, code in found]

    def close(self) -> None:
        """Leave the group."""
        if self._native is not None:
            self._native.close()
        self._consumer.close()

    def _read_messages(self, into: Reading, max_records: int, wait_s: float) -> None:
        room = max_records - into.records
        if room <= 0:
            return
        first = self._consumer.poll(wait_s)
        messages = [] if first is None else [first]
        if room > 1:
            messages += self._consumer.consume(room - 1, 0)
        for message in messages:
            if not _note_error(message, into):
                at = message.topic() or "", message.partition() or 0
                into.blocks.setdefault(at, ReadBlock()).add(record_of(message))
        into.records += len(messages)


def record_of(message: Message) -> Record:
    """Return a message that is no error as a record of a block."""
    kind, timestamp_ms = message.timestamp()
    named: Any = message.headers() or ()
    headers = [value for name, value in named if name == HEADER]
    header = headers[0] if len(headers) == 1 else None
    return Record(
        offset=message.offset() or 0,
        timestamp_ms=timestamp_ms if kind else NONE,
        key=_bytes(message.key()),
        value=_bytes(message.value()),
        header=_bytes(header),
    )


def _bytes(part: str | bytes | None) -> bytes | None:
    return part.encode() if isinstance(part, str) else part


def _note(message: Message, into: Reading) -> None:
    if not _note_error(message, into):
        into.strays = True


def _note_error(message: Message, into: Reading) -> bool:
    error = message.error()
    if error is not None:
        at = message.topic() or "", message.partition() or 0
        into.errors.append(ReadError(*at, message.offset() or 0, error))
    return error is not None


@cache
def native_client() -> ModuleType | None:
    """Return the compiled module, ready for use, or None where the plain way has to do."""
    reason = ""
    try:
        if not read_settings().native:
            reason = "EXCHANGE_NATIVE=off"
        else:
            from exchange import _librdkafka

            versions = _librdkafka.load(_library()), confluent_kafka.libversion()[1]
            if versions[0] == versions[1] and versions[0] in _CHECKED and _is_checked_client():
                return _librdkafka
            reason = (
                f"confluent_kafka {confluent_kafka.__version__} on librdkafka "
                f"{confluent_kafka.libversion()[0]} has not been checked"
            )
    except (ImportError, ConfigError, OSError) as error:
        reason = str(error)
    _log.info("native_client_unused", reason=reason)
    return None


def _is_checked_client() -> bool:
    """Whether confluent_kafka is one of those whose handle begins with librdkafka's."""
    major, minor = str(confluent_kafka.__version__).split(".")[:2]
    return major == "2" and minor.isdigit() and int(minor) in _CHECKED_CLIENTS


def _proven(native: ModuleType, client: Any, kind: int) -> bool:
    whole = Producer if kind == native.PRODUCER else Consumer
    if isinstance(client, whole) and native.proves(client, kind):
        return True
    _log.warning("native_client_unused", reason=f"handle of {type(client).__name__} not recognised")
    return False


def _library() -> str:
    """Return the file of the librdkafka that is loaded. Raises: ImportError when it is not told."""
    maps = Path("/proc/self/maps")
    if maps.exists():
        for line in maps.read_text().splitlines():
            file = line.partition("/")[2]
            if Path(file).name.startswith("librdkafka"):
                return "/" + file
    msg = "no loaded librdkafka is named in /proc/self/maps"
    raise ImportError(msg)
