"""Records of a view as the worker writes them, invented, each known: what a sink must make of them is counted
here and not taken from the code under test."""

from __future__ import annotations

import io
import random
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from datetime import time as clock
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
from confluent_kafka import Producer

from exchange.change import HEADER, Op, Position, RecordHeader
from exchange.encoding import wire
from tests.background import Background

PARTITIONS = 3
STREAM = 7
_ADDRESS = {
    "type": "record",
    "name": "address",
    "fields": [
        {"name": "city", "type": ["null", "string"], "default": None},
        {
            "name": "since",
            "type": ["null", {"type": "int", "logicalType": "date"}],
            "default": None,
        },
    ],
}
TYPES: dict[str, Any] = {
    "name": "string",
    "flag": "boolean",
    "small": "int",
    "large": "long",
    "single": "float",
    "double": "double",
    "raw": "bytes",
    "sort": {"type": "enum", "name": "sort", "symbols": ["GOOD", "BAD"]},
    "uid": {"type": "string", "logicalType": "uuid"},
    "day": {"type": "int", "logicalType": "date"},
    "clock": {"type": "long", "logicalType": "time-micros"},
    "instant": {"type": "long", "logicalType": "timestamp-micros"},
    "local": {"type": "long", "logicalType": "local-timestamp-micros"},
    "amount": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 4},
    "address": _ADDRESS,
    "tags": {"type": "array", "items": "string"},
}
FULL: dict[str, Any] = {
    "name": '欧阳 🙂 "quoted"\tLine\nŁ,;\'\\',
    "flag": True,
    "small": -(2**31),
    "large": 2**63 - 1,
    "single": 1.5,
    "double": -0.1,
    "raw": b"\x00\xff\n",
    "sort": "BAD",
    "uid": UUID("12345678-1234-5678-1234-567812345678"),
    "day": date(1949, 10, 1),
    "clock": clock(23, 59, 59, 999999),
    "instant": datetime(2024, 2, 29, 12, 34, 56, 789012, UTC),
    "local": datetime(2024, 2, 29, 12, 34, 56, 789012),  # noqa: DTZ001 - a timestamp without zone
    "amount": Decimal("-1234567890123456.7891"),
    "address": {"city": "杭州", "since": date(2001, 2, 3)},
    "tags": ["甲", "b,c", ""],
}
EMPTY: dict[str, Any] = dict.fromkeys(TYPES)


def key_schema(name: str) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "Key",
        "namespace": f"share.{name}",
        "fields": [{"name": "id", "type": "long", "doc": "编号 / Number"}],
    }


def value_schema(name: str, types: dict[str, Any]) -> dict[str, Any]:
    fields = [{"name": "id", "type": "long", "doc": "编号 / Number"}] + [
        {"name": field, "type": ["null", type_], "default": None, "doc": f"{field} / {field}"}
        for field, type_ in types.items()
    ]
    source = [
        {"name": "name", "type": "string"},
        {"name": "ts_ms", "type": "long"},
        {"name": "snapshot", "type": "boolean"},
    ]
    value = {"type": "record", "name": "Value", "fields": fields}
    return {
        "type": "record",
        "name": "Envelope",
        "namespace": f"share.{name}",
        "fields": [
            {"name": "before", "type": ["null", value], "default": None},
            {"name": "after", "type": ["null", f"share.{name}.Value"], "default": None},
            {"name": "source", "type": {"type": "record", "name": "Source", "fields": source}},
            {"name": "op", "type": "string"},
            {"name": "ts_ms", "type": ["null", "long"], "default": None},
        ],
    }


class Feed:
    """Writes changes of one view, transaction by transaction, and remembers what they leave.

    state: key → row; story: key → operations with the name after them; positions: of every change.
    """

    def __init__(self, client: dict[str, Any], view: str) -> None:
        self.view = view
        self.topic = f"share.{view}"
        self.plan_version = 1
        self.state: dict[int, dict[str, Any]] = {}
        self.story: dict[int, list[tuple[str, str | None]]] = {}
        self.positions: list[Position] = []
        self._commit = 0
        self._key: tuple[int, Any] = (0, None)
        self._value: tuple[int, Any] = (0, None)
        self._producer = Producer(
            client | {"transactional.id": f"feed-{view}", "linger.ms": 2, "log_level": 0}
        )
        self._producer.init_transactions(30)

    def use(self, key_id: int, key: dict[str, Any], value_id: int, value: dict[str, Any]) -> None:
        """Write with these registered schemas from now on."""
        self._key = key_id, fastavro.parse_schema(key)
        self._value = value_id, fastavro.parse_schema(value)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything put within is committed at once; nothing where the body raises."""
        self._commit += 1
        self._index = 0
        self._producer.begin_transaction()
        yield
        self._producer.commit_transaction(30)

    def put(self, key: int, row: dict[str, Any], op: Op | None = None) -> None:
        """Create or update a row."""
        op = op or (Op.UPDATE if key in self.state else Op.CREATE)
        row = {"id": key, **row}
        self._change(op, key, row)
        self.state[key] = row
        self.story.setdefault(key, []).append((op.value, row.get("name")))

    def delete(self, key: int) -> None:
        """Delete a row: a record and its tombstone."""
        self._change(Op.DELETE, key, None)
        del self.state[key]
        self.story.setdefault(key, []).append(("d", None))

    def truncate(self) -> None:
        """Empty the view: one record a partition."""
        for partition in range(PARTITIONS):
            header = self._header(Op.TRUNCATE, partition)
            value = self._framed(self._value, self._envelope(Op.TRUNCATE, None))
            self._produce(partition, None, value, header)
        self.state.clear()

    def raw(self, partition: int, key: bytes | None, value: bytes | None, *, header: bool = True) -> None:
        """Write bytes that are no record; they have a position all the same."""
        packed = self._header(Op.CREATE, 0) if header else None
        self._produce(partition, key, value, packed)

    def partition_of(self, key: int) -> int:
        return zlib.crc32(self._framed(self._key, {"id": key})) % PARTITIONS

    def _change(self, op: Op, key: int, row: dict[str, Any] | None) -> None:
        header = self._header(op, 0)
        framed, partition = self._framed(self._key, {"id": key}), self.partition_of(key)
        self._produce(partition, framed, self._framed(self._value, self._envelope(op, row)), header)
        if op is Op.DELETE:
            last = RecordHeader.unpack(header)
            assert last is not None
            tombstone = RecordHeader(last.position, op, last.source_ms, self.plan_version, tombstone=True)
            self._produce(partition, framed, None, tombstone.pack())

    def _header(self, op: Op, part: int) -> bytes:
        position = Position(STREAM, self._commit, self._index, part)
        self._index += 1
        self.positions.append(position)
        return RecordHeader(position, op, int(time.time() * 1000), self.plan_version).pack()

    def _envelope(self, op: Op, row: dict[str, Any] | None) -> dict[str, Any]:
        source = {"name": self.view, "ts_ms": 1, "snapshot": op is Op.READ}
        return {"before": None, "after": row, "source": source, "op": op.value, "ts_ms": None}

    def _framed(self, schema: tuple[int, Any], record: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema[1], record)
        return wire.prefix(schema[0]) + out.getvalue()

    def _produce(self, partition: int, key: bytes | None, value: bytes | None, header: bytes | None) -> None:
        headers: Any = [(HEADER, header)] if header is not None else None
        while True:
            try:
                self._producer.produce(self.topic, value, key, partition, headers=headers)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return


class Writer(Background):
    """Changes rows at random in the background, the same way for the same seed."""

    def __init__(self, feed: Feed, seed: int) -> None:
        super().__init__(0.01)
        self._feed = feed
        self._dice = random.Random(seed)
        self._count = 0

    def transaction(self) -> None:
        """Make a few changes."""
        with self._feed.transaction():
            for _ in range(self._dice.randrange(1, 40)):
                self._change()

    def _change(self) -> None:
        key = self._dice.randrange(120)
        self._count += 1
        choice = self._dice.random()
        if choice < 0.002:
            self._feed.truncate()
        elif choice < 0.2 and key in self._feed.state:
            self._feed.delete(key)
        else:
            self._feed.put(key, EMPTY | {"name": f"名-{self._count}", "amount": Decimal(self._count)})
