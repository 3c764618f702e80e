"""Raw records as a connector writes them, made without a database: the same codec, header and compression."""

from __future__ import annotations

import pickle
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from bench import person
from bench.ground import DATABASE, PARTITIONS, SYSTEM, Ground, Table
from connectors.sources.postgres.envelope import Moment, ShapeColumn, TableShape
from connectors.sources.postgres.types import mapping
from exchange.change import HEADER, Op, Position, RecordHeader, stream_id
from exchange.encoding import wire
from exchange.librdkafka import quiet_logger
from exchange.registry import for_writing

AS_CAPTURED: Final = "lz4"
"""Compression of connectors/writer.py."""
PER_TRANSACTION: Final = 100
"""Rows of one transaction of the source, as in the capture benchmark."""
_STREAM: Final = stream_id(SYSTEM, "0", 1)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record but for its header: key and value on the wire, and its partition."""

    key: bytes
    value: bytes
    partition: int


@dataclass(frozen=True)
class RawRecords:
    """The records of a table; after PEOPLE (or fewer, where fewer are needed) they come round again."""

    table: Table
    records: Sequence[RawRecord]
    value_schema: dict[str, Any]
    source_ms: int
    """Commit time that the envelopes name; the header must name the same."""

    @classmethod
    def make(cls, ground: Ground, table: Table, wanted: int) -> RawRecords:
        """Register the table's raw schemas and encode as many different records as are wanted."""
        shape = _shape(table)
        with for_writing(ground.settings) as registry:
            key_id = registry.register(f"{table.raw}-key", shape.shape.key_schema)
            value_id = registry.register(f"{table.raw}-value", shape.shape.value_schema)
        now_ms = int(time.time() * 1000)
        moment = Moment(source_ms=now_ms, lsn=1, xid=1, captured_ms=now_ms)
        people = min(wanted, person.PEOPLE)
        records = [_encode(shape, number, moment, key_id, value_id) for number in range(people)]
        return cls(table, records, shape.shape.value_schema, now_ms)

    def save(self, file: Path) -> None:
        """Write the records where a program of the benchmark can read them."""
        file.write_bytes(pickle.dumps(list(self.records)))

    def fill(
        self,
        ground: Ground,
        topic: str,
        count: int,
        *,
        headers: bool,
        first: int = 0,
        compression: str = AS_CAPTURED,
    ) -> int:
        """Write `count` records, from record number `first` on; return the number of the next one.

        headers: with the bus's header, or bare.
        """
        producer = _producer(ground, compression)
        for number in range(first, first + count):
            header = [(HEADER, _header(number, self.source_ms))] if headers else []
            send(producer, topic, self.records[number % len(self.records)], header)
        flush(producer)
        return first + count


def send(producer: Producer, topic: str, record: RawRecord, headers: list[tuple[str, bytes]]) -> None:
    """Queue a record; waits while the producer's queue is full."""
    while True:
        try:
            # positional: topic, value, key, partition, callback, on_delivery, timestamp, headers
            producer.produce(topic, record.value, record.key, record.partition, None, None, 0, headers)  # type: ignore[arg-type]
            return
        except BufferError:
            producer.poll(0.05)


def flush(producer: Producer) -> None:
    """Wait until all is written. Raises: KafkaException when it is not after two minutes."""
    if producer.flush(120):
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - librdkafka's code


def position_sum(first: int, count: int) -> int:
    """Return the sum of the hashes of records' positions: what came once and whole adds up to it."""
    return sum(_position(number).hash64() for number in range(first, first + count))


def packed(position: Position, source_ms: int) -> bytes:
    """Return the header of an insert."""
    return RecordHeader(position, Op.CREATE, source_ms).pack()


def timed_position(sent_ns: int, number: int) -> Position:
    """Return a position that carries a time: it goes through the bus as it is."""
    return Position(_STREAM, sent_ns, number)


def _producer(ground: Ground, compression: str) -> Producer:
    failures: list[KafkaError] = []
    return Producer(
        ground.client
        | {
            "linger.ms": 20,
            "batch.size": 262_144,
            "compression.type": compression,
            "queue.buffering.max.messages": 1_000_000,
            "enable.idempotence": True,
            "on_delivery": lambda error, _: failures.append(error),
            "delivery.report.only.error": True,
        },
        logger=quiet_logger(),
    )


def _header(number: int, source_ms: int) -> bytes:
    return packed(_position(number), source_ms)


def _position(number: int) -> Position:
    transaction, index = divmod(number, PER_TRANSACTION)
    return Position(_STREAM, transaction + 1, index)


def _shape(table: Table) -> TableShape:
    columns = tuple(
        ShapeColumn(
            name,
            name == "person_id",
            mapping(oid, person.NUMERIC_14_2 if name == "annual_income" else -1, lambda _: None),
        )
        for name, _, oid in person.COLUMNS
    )
    return TableShape(SYSTEM, DATABASE, "public", table.name, columns)


def _encode(shape: TableShape, number: int, moment: Moment, key_id: int, value_id: int) -> RawRecord:
    cells = tuple(text.encode() for text in person.row(number).values())
    key, after = shape.key(cells), shape.row(cells)
    if not isinstance(key, bytes) or not isinstance(after, bytes):
        msg = f"row {number} of the benchmark cannot be encoded"
        raise TypeError(msg)
    value = shape.envelope(Op.CREATE, None, after, moment, (1, 1))
    return RawRecord(wire.frame(key_id, key), wire.frame(value_id, value), zlib.crc32(key) % PARTITIONS)
