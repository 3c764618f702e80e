"""Blocks to and from a real Kafka: the compiled way and the plain one give the same."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from exchange import blockio
from exchange.block import Outgoing, ReadBlock, Record, WriteBlock
from exchange.blockio import BlockConsumer, BlockProducer, Reading
from exchange.change import HEADER
from exchange.cluster import TopicSpec
from exchange.librdkafka import PARTITION_EOF
from streams.poller import consumer_config
from tests.stack import Stack, running_stack, wait_for

PARTITIONS = 3
LARGE = bytes(range(256)) * 3600
SHAPES = [
    Outgoing("", 0, b"key", b"value", b"header"),
    Outgoing("", 0, None, b"value", b"h" * 40),
    Outgoing("", 1, b"key", None, b"h" * 40),
    Outgoing("", 1, None, None, None),
    Outgoing("", 2, b"", b"", b""),
    Outgoing("", 2, b"\0\0", b"\0", None),
    Outgoing("", 0, b"k" * 10_000, LARGE, b"h" * 5_000),
]

NATIVE, PLAIN = pytest.param(True, id="native"), pytest.param(False, id="plain")
both_ways = pytest.mark.parametrize("native", [NATIVE, PLAIN])


@pytest.fixture(scope="module")
def kafka() -> Iterator[Stack]:
    with running_stack(("kafka",)) as running:
        yield running


class Rig:
    """One test's topics, and clients of the one way or the other."""

    def __init__(self, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stack = stack
        self.client = stack.settings.kafka_client("admin")
        self.topic = self.made_topic()
        self._monkeypatch = monkeypatch

    def made_topic(self) -> str:
        topic = f"raw.t{uuid.uuid4().hex[:8]}.public.a"
        self.stack.admin.ensure_topics([TopicSpec(topic, PARTITIONS, {})])
        return topic

    def go(self, *, native: bool) -> None:
        """Make the clients to come native or plain."""
        self._monkeypatch.setenv("EXCHANGE_NATIVE", "on" if native else "off")
        blockio.native_client.cache_clear()

    def producer(self, **config: Any) -> tuple[Producer, BlockProducer]:
        producer = Producer(self.client | {"message.max.bytes": 1_040_000} | config)
        return producer, BlockProducer(producer)

    def consumer(self, **config: Any) -> tuple[Consumer, BlockConsumer]:
        name = uuid.uuid4().hex
        consumer = Consumer(consumer_config(self.client, name, name) | config)
        return consumer, BlockConsumer(consumer)

    def read_all(self, topic: str, *, native: bool, random_sizes: random.Random | None = None) -> Read:
        """Read a topic to the ends of its partitions."""
        self.go(native=native)
        _, blocks = self.consumer()
        assert blocks.is_native is native
        blocks.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        records: dict[int, list[Record]] = {}
        ends: dict[int, int] = {}
        deadline = time.monotonic() + 60
        while len(ends) < PARTITIONS:
            assert time.monotonic() < deadline
            reading, limit = Reading(), random_sizes.randint(1, 3000) if random_sizes else 5000
            blocks.read(reading, limit, 1 << 30, 0.2)
            assert not reading.strays
            assert reading.records <= limit
            for (_, partition), block in reading.blocks.items():
                records.setdefault(partition, []).extend(block)
            for error in reading.errors:
                assert error.error.code() == PARTITION_EOF
                assert error.topic == topic
                ends[error.partition] = error.offset
        blocks.close()
        return Read(records, ends)


class Read(NamedTuple):
    records: dict[int, list[Record]]
    ends: dict[int, int]


@pytest.fixture
def rig(kafka: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    yield Rig(kafka, monkeypatch)
    blockio.native_client.cache_clear()


def block_of(topic: str, records: list[Outgoing]) -> WriteBlock:
    block = WriteBlock()
    for record in records:
        block.add(record._replace(topic=topic))
    return block


def parts(read: Read) -> dict[int, list[tuple[bytes | None, bytes | None, bytes | None]]]:
    return {
        partition: [(record.key, record.value, record.header) for record in records]
        for partition, records in read.records.items()
    }


@both_ways
def test_every_shape_of_record_arrives_as_it_was(rig: Rig, native: bool) -> None:
    rig.go(native=native)
    producer, blocks = rig.producer()
    assert blocks.is_native is native
    assert blocks.write(block_of(rig.topic, SHAPES)) == len(SHAPES)
    assert producer.flush(30) == 0
    wanted = {at: [(r.key, r.value, r.header) for r in SHAPES if r.partition == at] for at in range(3)}
    for reading_native in (True, False):
        assert parts(rig.read_all(rig.topic, native=reading_native)) == wanted


def test_headers_of_others_and_of_none_are_read_the_same_both_ways(rig: Rig) -> None:
    headers: list[Any] = [
        None,
        [(HEADER, b"1")],
        [(HEADER, None)],
        [(HEADER, b"")],
        [("other", b"o"), (HEADER, b"2"), ("x", None)],
        [(HEADER, b"1"), (HEADER, b"1")],
        [("x-exchange-not", b"o"), ("", b"")],
    ]
    producer = Producer(rig.client)
    for header in headers:
        producer.produce(rig.topic, b"v", b"k", 0, headers=header)
    producer.flush(30)
    native, plain = (rig.read_all(rig.topic, native=way) for way in (True, False))
    assert native == plain
    assert [record.header for record in native.records[0]] == [None, b"1", None, b"", b"2", None, None]


@both_ways
def test_a_full_queue_says_where_to_go_on(rig: Rig, native: bool) -> None:
    rig.go(native=native)
    producer, blocks = rig.producer(**{"queue.buffering.max.messages": 10})
    block = block_of(rig.topic, [Outgoing("", 0, None, b"%d" % at, None) for at in range(100)])
    stops = []
    written = blocks.write(block)
    while written < block.count:
        stops.append(written)
        producer.poll(0.05)
        written = blocks.write(block, written)
    assert stops[0] == 10
    producer.flush(30)
    read = rig.read_all(rig.topic, native=native)
    assert [record.value for record in read.records[0]] == [b"%d" % at for at in range(100)]


@both_ways
def test_what_librdkafka_refuses_is_raised_after_the_records_before_it(rig: Rig, native: bool) -> None:
    rig.go(native=native)
    producer, blocks = rig.producer()
    records = [Outgoing("", 0, None, value, None) for value in (b"1", bytes(1_100_000), b"3")]
    with pytest.raises(KafkaException) as raised:
        blocks.write(block_of(rig.topic, records))
    assert raised.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    producer.flush(30)
    assert [r.value for r in rig.read_all(rig.topic, native=native).records[0]] == [b"1"]


@both_ways
def test_a_partition_or_topic_that_is_not_there_is_refused(rig: Rig, native: bool) -> None:
    rig.go(native=native)
    for topic, partition in ((rig.topic, 99), ("raw.nothing", 0)):
        producer, blocks = rig.producer(**{"topic.metadata.propagation.max.ms": 500})
        block = block_of(topic, [Outgoing("", partition, None, b"v", None)])
        code = wait_for(partial(refusal, blocks, block), "a refusal", 20)
        assert code in (KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC)
        producer.purge()


def refusal(blocks: BlockProducer, block: WriteBlock) -> int | None:
    try:
        blocks.write(block)
    except KafkaException as error:
        return int(error.args[0].code())
    return None


@both_ways
def test_a_record_that_fails_after_it_was_queued_fails_the_commit(rig: Rig, native: bool) -> None:
    """The broker takes less than this client allows: nobody hears of it but the transaction."""
    rig.go(native=native)
    producer, blocks = rig.producer(**{"transactional.id": uuid.uuid4().hex, "message.max.bytes": 4_000_000})
    producer.init_transactions(30)
    producer.begin_transaction()
    blocks.write(block_of(rig.topic, [Outgoing("", 0, None, bytes(3_000_000), None)]))
    with pytest.raises(KafkaException) as raised:
        producer.commit_transaction(30)
    assert raised.value.args[0].txn_requires_abort()
    producer.abort_transaction(30)


def test_an_index_that_points_outside_its_block_is_refused(rig: Rig) -> None:
    rig.go(native=True)
    _, blocks = rig.producer()
    block = block_of(rig.topic, [Outgoing("", 0, b"k", b"v", None)])
    block.index[5] = 10_000
    with pytest.raises(ValueError, match="outside the block"):
        blocks.write(block)


@pytest.mark.parametrize("seed", range(5))
def test_random_topics_with_aborted_transactions_are_read_the_same_both_ways(rig: Rig, seed: int) -> None:
    rng = random.Random(seed)
    producer, blocks = rig.producer(**{"transactional.id": uuid.uuid4().hex})
    producer.init_transactions(30)
    for _ in range(rng.randint(1, 8)):
        producer.begin_transaction()
        records = [random_record(rng) for _ in range(rng.choice((1, 10, 3000)))]
        assert blocks.write(block_of(rig.topic, records)) == len(records)
        if rng.random() < 0.4:
            producer.flush(30)
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
    native = rig.read_all(rig.topic, native=True, random_sizes=rng)
    assert native == rig.read_all(rig.topic, native=False)


def random_record(rng: random.Random) -> Outgoing:
    def part(most: int) -> bytes | None:
        return None if rng.random() < 0.2 else rng.randbytes(rng.randint(0, most))

    return Outgoing("", rng.randrange(PARTITIONS), part(20), part(rng.choice((10, 300, 20_000))), part(40))


@both_ways
def test_seeking_and_pausing_outdate_what_has_already_been_fetched(rig: Rig, native: bool) -> None:
    rig.go(native=native)
    producer, written = rig.producer()
    records = [Outgoing("", at % 3, None, b"%d" % at, None) for at in range(3000)]
    written.write(block_of(rig.topic, records))
    producer.flush(30)
    consumer, blocks = rig.consumer()
    blocks.assign([TopicPartition(rig.topic, partition, 0) for partition in range(PARTITIONS)])
    read_some(blocks, 300)
    consumer.pause([TopicPartition(rig.topic, 1)])
    for partition, offset in ((0, 500), (1, 700)):
        consumer.seek(TopicPartition(rig.topic, partition, offset))
    found = read_some(blocks, 500, of=0)
    assert [record.offset for record in found[0]] == list(range(500, 1000))
    assert 1 not in found
    consumer.resume([TopicPartition(rig.topic, 1)])
    consumer.seek(TopicPartition(rig.topic, 1, 900))
    found = read_some(blocks, 1, of=1)
    assert [record.offset for record in found[1]] == list(range(900, 1000))
    blocks.close()


def read_some(blocks: BlockConsumer, records: int, of: int | None = None) -> dict[int, ReadBlock]:
    """Read at least so many records, of one partition if that is wanted."""
    reading, deadline = Reading(), time.monotonic() + 30
    while True:
        blocks.read(reading, 5000, 1 << 30, 0.2)
        found = {partition: block for (_, partition), block in reading.blocks.items()}
        if sum(len(block) for partition, block in found.items() if of in (None, partition)) >= records:
            assert not reading.strays
            return found
        assert time.monotonic() < deadline


def test_a_client_of_unknown_make_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """No client of confluent_kafka."""

    monkeypatch.delenv("EXCHANGE_NATIVE", raising=False)
    blockio.native_client.cache_clear()
    assert not BlockProducer(Other()).is_native  # type: ignore[arg-type]


def test_versions_whose_layouts_nobody_checked_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockio, "_CHECKED", range(1))
    blockio.native_client.cache_clear()
    assert blockio.native_client() is None
    blockio.native_client.cache_clear()
