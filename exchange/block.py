"""Kafka records laid end to end in one buffer, so that none of them needs an object of its own.

A block is bytes and an index: eight 64-bit numbers a record (`COLUMNS`), the last six of which say where its
key, value and header lie. The first two are, of a record that was read, its offset and its timestamp; of one
to be written, the number of its topic and its partition.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

COLUMNS: Final = 8
OFFSET, TIMESTAMP_MS = 0, 1
TOPIC, PARTITION = 0, 1
KEY_AT, KEY_SIZE, VALUE_AT, VALUE_SIZE, HEADER_AT, HEADER_SIZE = range(2, COLUMNS)
_ZERO: Final = array("q", [0])
NONE: Final = -1
"""In place of a size: there is no key, no value (a tombstone), no header; as a timestamp: there is none."""


class Record(NamedTuple):
    """One record that was read.

    timestamp_ms: when it was written, since 1970-01-01 UTC, NONE where Kafka does not say; header: value of
    the `x-exchange` header, None unless there is exactly one.
    """

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    header: bytes | None


class Outgoing(NamedTuple):
    """One record to write; header is the value of `x-exchange`, None for a record without."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    header: bytes | None


class Block:
    """What blocks have in common: bytes and index, and the parts of each record.

    data and index may be longer than what is in use: `count` records, `used_bytes` bytes.
    """

    __slots__ = ("count", "data", "index", "used_bytes")

    def __init__(self, data: bytearray | None = None, index: array[int] | None = None) -> None:
        """Take over what a native reader has filled; without arguments the block is empty."""
        self.data = bytearray() if data is None else data
        self.index = array("q") if index is None else index
        self.count = len(self.index) // COLUMNS
        self.used_bytes = len(self.data)

    def __len__(self) -> int:
        return self.count

    def key(self, number: int) -> bytes | None:
        """Return a record's key."""
        return self._part(number, KEY_AT)

    def value(self, number: int) -> bytes | None:
        """Return a record's value; None is a tombstone."""
        return self._part(number, VALUE_AT)

    def header(self, number: int) -> bytes | None:
        """Return the value of a record's `x-exchange` header."""
        return self._part(number, HEADER_AT)

    def reserve(self, records: int, size_bytes: int) -> None:
        """Make room for so much more behind what is in use; at least doubles, so that it is rarely needed."""
        wanted = (self.count + records) * COLUMNS
        if wanted > len(self.index):
            self.index.extend(_ZERO * (max(wanted, 2 * len(self.index)) - len(self.index)))
        if self.used_bytes + size_bytes > len(self.data):
            more = bytearray(max(size_bytes, len(self.data)))
            self.data = self.data + more if self.used_bytes else more

    def clear(self) -> None:
        """Forget all records; the room that they had is kept."""
        self.count = self.used_bytes = 0

    def _part(self, number: int, column: int) -> bytes | None:
        at, size = self.index[number * COLUMNS + column], self.index[number * COLUMNS + column + 1]
        return None if size == NONE else bytes(self.data[at : at + size])

    def _add(
        self, first: int, second: int, key: bytes | None, value: bytes | None, header: bytes | None
    ) -> None:
        parts = (key, value, header)
        self.reserve(1, sum(len(part) for part in parts if part is not None))
        row = [first, second]
        for part in parts:
            row += [self.used_bytes, NONE if part is None else len(part)]
            if part is not None:
                self.data[self.used_bytes : self.used_bytes + len(part)] = part
                self.used_bytes += len(part)
        start = self.count * COLUMNS
        self.index[start : start + COLUMNS] = array("q", row)
        self.count += 1


class ReadBlock(Block):
    """Records of one partition as they were read, in offset order."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Record]:
        return map(self.record, range(self.count))

    def add(self, record: Record) -> None:
        """Append a record."""
        self._add(record.offset, record.timestamp_ms, record.key, record.value, record.header)

    def offset(self, number: int) -> int:
        """Return a record's offset; negative numbers count from the end."""
        return self.index[(number if number >= 0 else self.count + number) * COLUMNS + OFFSET]

    def record(self, number: int) -> Record:
        """Return a record as an object of its own, for the few that need one."""
        start = number * COLUMNS
        offset, timestamp_ms = self.index[start + OFFSET], self.index[start + TIMESTAMP_MS]
        return Record(offset, timestamp_ms, self.key(number), self.value(number), self.header(number))


class WriteBlock(Block):
    """Records to be written, in order; `topics` holds the names that the index numbers."""

    __slots__ = ("_numbers", "topics")

    def __init__(self) -> None:
        super().__init__()
        self.topics: list[str] = []
        self._numbers: dict[str, int] = {}

    def __iter__(self) -> Iterator[Outgoing]:
        return map(self.record, range(self.count))

    def topic_number(self, topic: str) -> int:
        """Return the number that stands for a topic in this block."""
        if topic not in self._numbers:
            self._numbers[topic] = len(self.topics)
            self.topics.append(topic)
        return self._numbers[topic]

    def clear(self) -> None:
        """Forget all records and topics; the room that they had is kept."""
        super().clear()
        self.topics, self._numbers = [], {}

    def add(self, record: Outgoing) -> None:
        """Append a record."""
        number = self.topic_number(record.topic)
        self._add(number, record.partition, record.key, record.value, record.header)

    def record(self, number: int) -> Outgoing:
        """Return a record as an object of its own."""
        start = number * COLUMNS
        topic, partition = self.topics[self.index[start + TOPIC]], self.index[start + PARTITION]
        return Outgoing(topic, partition, self.key(number), self.value(number), self.header(number))
