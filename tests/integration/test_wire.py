"""The producer of whole batches on a real Kafka: what is committed is there, once, and nothing else is."""

from __future__ import annotations

import random
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from exchange.block import Outgoing, Record, WriteBlock
from exchange.blockio import record_of
from exchange.cluster import TopicSpec
from exchange.local import kafka as local_kafka
from exchange.wire import connection, transactional
from exchange.wire.brokers import Of
from exchange.wire.connection import NotSpokenError
from exchange.wire.messages import END_TXN, NO_TAGS, PRODUCE, Kind
from exchange.wire.transactional import BatchProducer
from streams.producers import LibrdkafkaProducer
from streams.transaction import Outbox
from tests.stack import Stack, running_stack, wait_for

PARTITIONS = 3
TIMEOUT_S = 20.0
PRODUCERS = pytest.mark.parametrize("made_by", [BatchProducer, LibrdkafkaProducer])


@pytest.fixture(scope="module")
def kafka() -> Iterator[Stack]:
    """A Kafka that says at once when it is still at the end of the transaction before, to be asked again."""
    usual = local_kafka._properties

    def impatient(*given: Any) -> str:
        return usual(*given) + "add.partitions.to.txn.retry.backoff.max.ms=0\n"

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(local_kafka, "_properties", impatient)
        with running_stack(("kafka",)) as running:
            yield running


class Rig:
    """One test's topic and transactional.id."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.name = uuid.uuid4().hex[:8]
        self.topic = f"share.t{self.name}.v"
        self.client = stack.settings.kafka_client("admin") | {
            "transactional.id": f"stream-{self.name}",
            "transaction.timeout.ms": 30_000,
        }
        self._made: list[Any] = []
        stack.admin.ensure_topics([TopicSpec(self.topic, PARTITIONS, {})])

    def made(self, made_by: Any = BatchProducer, **client: Any) -> Any:
        self._made.append(made_by(self.client | client))
        return self._made[-1]

    def started(self, made_by: Any = BatchProducer) -> Any:
        producer = self.made(made_by)
        producer.init_transactions(TIMEOUT_S)
        return producer

    def close(self) -> None:
        for producer in self._made:
            producer.purge()

    def block(self, count: int, mark: bytes = b"v", size: int = 40) -> WriteBlock:
        block = WriteBlock()
        for number in range(count):
            key = b"%s%d" % (mark, number)
            block.add(Outgoing(self.topic, number % PARTITIONS, key, key * size, b"h" * 40))
        return block

    def written(self, producer: Any, mark: bytes, count: int = 9) -> None:
        """Commit a transaction of records with a mark."""
        producer.begin_transaction()
        producer.write(self.block(count, mark), 0)
        producer.commit_transaction(TIMEOUT_S)

    def read(self) -> dict[int, list[Record]]:
        """Return what a read_committed consumer finds; it must get past every transaction."""
        consumer = Consumer(
            self.stack.settings.kafka_client("admin")
            | {"group.id": self.name, "isolation.level": "read_committed", "enable.partition.eof": True}
        )
        found: dict[int, list[Record]] = {number: [] for number in range(PARTITIONS)}
        try:
            consumer.assign([TopicPartition(self.topic, number, 0) for number in range(PARTITIONS)])
            ended: set[int] = set()
            while len(ended) < PARTITIONS:
                message = consumer.poll(TIMEOUT_S)
                assert message is not None, "an open transaction holds the reader up"
                error = message.error()
                if error is None:
                    found[message.partition() or 0].append(record_of(message))
                else:
                    assert error.code() == KafkaError._PARTITION_EOF
                    ended.add(message.partition() or 0)
        finally:
            consumer.close()
        return found

    def keys(self) -> list[bytes]:
        return sorted(record.key or b"" for records in self.read().values() for record in records)


@pytest.fixture
def rig(kafka: Stack) -> Iterator[Rig]:
    made = Rig(kafka)
    yield made
    made.close()


def code_of(error: pytest.ExceptionInfo[KafkaException]) -> Any:
    return error.value.args[0].code()


@PRODUCERS
def test_what_is_committed_is_read_as_it_was_written(rig: Rig, made_by: Any) -> None:
    producer = rig.started(made_by)
    shapes = [(None, b"v", None), (b"k", None, b"h"), (b"", b"", b""), (b"k", b"x" * 900_000, None)]
    for _ in range(3):
        producer.begin_transaction()
        block = WriteBlock()
        for key, value, header in shapes:
            block.add(Outgoing(rig.topic, 1, key, value, header))
        assert producer.write(block, 0) == block.count
        producer.commit_transaction(TIMEOUT_S)
    found = rig.read()
    assert [(one.key, one.value, one.header) for one in found[1]] == shapes * 3
    assert all(abs(time.time() * 1000 - one.timestamp_ms) < 600_000 for one in found[1])
    assert found[0] == found[2] == []


@PRODUCERS
def test_what_is_aborted_is_never_read(rig: Rig, made_by: Any) -> None:
    producer = rig.started(made_by)
    rig.written(producer, b"before", 3)
    producer.begin_transaction()
    producer.write(rig.block(60_000, b"aborted"), 0)
    producer.abort_transaction(TIMEOUT_S)
    rig.written(producer, b"after", 3)
    assert rig.keys() == sorted(b"%s%d" % (mark, at) for mark in (b"before", b"after") for at in range(3))


def test_a_transaction_of_many_batches_keeps_their_order(rig: Rig) -> None:
    producer, count = rig.started(), 60_000
    producer.begin_transaction()
    for part in range(2):
        producer.write(rig.block(count, b"%d-" % part), 0)
    producer.commit_transaction(TIMEOUT_S)
    wanted = {
        number: [b"%d-%d" % (part, at) for part in range(2) for at in range(number, count, PARTITIONS)]
        for number in range(PARTITIONS)
    }
    assert {number: [one.key for one in found] for number, found in rig.read().items()} == wanted


@PRODUCERS
def test_offsets_are_committed_with_what_was_written_or_not_at_all(rig: Rig, made_by: Any) -> None:
    def joined() -> Consumer:
        consumer = Consumer(
            rig.stack.settings.kafka_client("admin")
            | {"group.id": f"group-{rig.name}", "enable.auto.commit": False, "group.instance.id": "one"}
        )
        consumer.subscribe([rig.topic])
        wait_for(lambda: consumer.poll(0.1) is None and consumer.assignment(), "an assignment")
        return consumer

    consumer = joined()
    producer = rig.started(made_by)

    def committed() -> int:
        return consumer.committed([TopicPartition(rig.topic, 0)], timeout=TIMEOUT_S)[0].offset

    for offset, is_committed in ((5, True), (9, False), (7, True)):
        producer.begin_transaction()
        producer.send_offsets_to_transaction(
            [TopicPartition(rig.topic, 0, offset)], consumer.consumer_group_metadata(), TIMEOUT_S
        )
        (producer.commit_transaction if is_committed else producer.abort_transaction)(TIMEOUT_S)
        assert committed() == (offset if is_committed else 5)

    stale = consumer.consumer_group_metadata()
    consumer.close()
    joined().close()
    producer.begin_transaction()
    with pytest.raises(KafkaException) as refused:
        producer.send_offsets_to_transaction([TopicPartition(rig.topic, 0, 8)], stale, TIMEOUT_S)
    assert code_of(refused) == KafkaError.FENCED_INSTANCE_ID


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (BatchProducer, BatchProducer),
        (BatchProducer, LibrdkafkaProducer),
        (LibrdkafkaProducer, BatchProducer),
    ],
)
def test_a_later_producer_fences_an_earlier_one_and_ends_its_transaction(
    rig: Rig, first: Any, second: Any
) -> None:
    earlier = rig.started(first)
    earlier.begin_transaction()
    earlier.write(rig.block(9, b"earlier"), 0)
    later = rig.started(second)
    with pytest.raises(KafkaException) as fenced:
        earlier.commit_transaction(TIMEOUT_S)
    assert fenced.value.args[0].fatal()
    rig.written(later, b"later", 3)
    assert rig.keys() == [b"later0", b"later1", b"later2"]


def test_what_arrives_late_of_an_ended_transaction_is_refused(rig: Rig) -> None:
    producer = rig.started()
    rig.written(producer, b"one", 3)
    before = producer._producer_id, producer._epoch
    rig.written(producer, b"two", 3)
    assert producer._epoch > before[1] or producer._producer_id != before[0], "each has its own epoch"

    producer.begin_transaction()
    producer.write(rig.block(3, b"three"), 0)
    producer._settle(time.monotonic() + TIMEOUT_S)
    coordinator = producer._brokers.coordinator(Of.TRANSACTION, producer._id, time.monotonic() + TIMEOUT_S)
    late = coordinator.ask(END_TXN, (producer._id, *before, False, NO_TAGS), time.monotonic() + TIMEOUT_S)
    assert late[1] in {KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED}
    [records] = producer._encoder.encode(rig.block(1, b"late"))
    batch = records.batch(*before, 3)
    topics = [(rig.topic, [(0, batch, NO_TAGS)], NO_TAGS)]
    answer = coordinator.ask(
        PRODUCE, (producer._id, -1, 5_000, topics, NO_TAGS), time.monotonic() + TIMEOUT_S
    )
    assert answer[0][0][1][0][1] == KafkaError.INVALID_PRODUCER_EPOCH
    producer.commit_transaction(TIMEOUT_S)
    assert rig.keys() == [b"%s%d" % (mark, at) for mark in (b"one", b"three", b"two") for at in range(3)]


def test_what_is_refused_in_passing_is_sent_again_in_its_order(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right after a commit Kafka is busy with its end: batches come too early, and those behind them."""
    refused: list[str] = []
    receive = connection.Connection.receive

    def noticing(self: connection.Connection, deadline_s: float) -> tuple[Any, ...]:
        answer = receive(self, deadline_s)
        topics = answer[0] if isinstance(answer[0], list) else []
        codes = {one[1] for _, partitions, *_ in topics for one in partitions} - {0}
        refused.extend(KafkaError(code).name() for code in codes)
        return answer

    monkeypatch.setattr(connection.Connection, "receive", noticing)
    monkeypatch.setattr(transactional, "_SENT_FROM_BYTES", 1)
    producer, transactions = rig.started(), 0
    while "CONCURRENT_TRANSACTIONS" not in refused or transactions < 5:
        producer.begin_transaction()
        for part in range(3):
            producer.write(rig.block(30, b"%d-%d-" % (transactions, part)), 0)
        producer.commit_transaction(TIMEOUT_S)
        transactions += 1
        assert transactions < 1_000, "Kafka was never busy"
    wanted = [
        b"%d-%d-%d" % (number, part, at)
        for number in range(transactions)
        for part in range(3)
        for at in range(0, 30, PARTITIONS)
    ]
    assert [one.key for one in rig.read()[0]] == wanted


def test_a_record_that_kafka_does_not_take_ends_the_transaction(rig: Rig) -> None:
    producer = rig.started()
    producer.begin_transaction()
    block = WriteBlock()
    block.add(Outgoing(rig.topic, 0, b"k", random.Random(1).randbytes(1_600_000), None))
    producer.write(block, 0)
    with pytest.raises(KafkaException) as refused:
        producer.commit_transaction(TIMEOUT_S)
    assert code_of(refused) == KafkaError.MSG_SIZE_TOO_LARGE
    assert not refused.value.args[0].fatal()


@pytest.mark.parametrize(("topic", "partition"), [("share.nowhere.v", 0), ("", PARTITIONS)])
def test_a_topic_or_partition_that_is_not_there_is_named_by_its_error(
    rig: Rig, topic: str, partition: int
) -> None:
    producer = rig.started()
    producer.begin_transaction()
    block = WriteBlock()
    block.add(Outgoing(topic or rig.topic, partition, b"k", b"v", None))
    producer.write(block, 0)
    with pytest.raises(KafkaException) as refused:
        producer.commit_transaction(1)
    assert code_of(refused) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_lost_connection_leaves_the_end_to_the_next_producer(rig: Rig) -> None:
    producer = rig.started()
    producer.begin_transaction()
    producer.write(rig.block(9), 0)
    for one in producer._brokers.open():
        one._socket.shutdown(socket.SHUT_RDWR)
    with pytest.raises(KafkaException) as lost:
        producer.commit_transaction(TIMEOUT_S)
    assert code_of(lost) == KafkaError._TRANSPORT
    assert not lost.value.args[0].fatal()
    rig.written(rig.started(), b"next", 1)
    assert rig.keys() == [b"next0"]


def test_connections_that_were_idle_are_made_anew(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    producer = rig.started()
    rig.written(producer, b"a", 1)
    old = list(producer._brokers.open())
    monkeypatch.setattr(connection, "_IDLE_S", 0.0)
    for one in old:
        one._socket.shutdown(socket.SHUT_RDWR)
    rig.written(producer, b"b", 1)
    assert not set(old) & set(producer._brokers.open())
    assert rig.keys() == [b"a0", b"b0"]


def test_an_answer_that_is_late_is_waited_for_and_asked_for_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = rig.started()
    rig.written(producer, b"u", 3)
    producer.begin_transaction()
    producer.write(rig.block(3), 0)
    sent: list[str] = []
    send = connection.Connection.send

    def noticing(self: connection.Connection, kind: Kind, fields: tuple[Any, ...]) -> None:
        sent.append(kind.name)
        send(self, kind, fields)

    monkeypatch.setattr(connection.Connection, "send", noticing)
    monkeypatch.setattr(transactional, "_LONG_PAUSE_S", 0.0001)  # batches may come too early here
    timeouts = 0
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        try:
            producer.commit_transaction(0.0005)
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
            timeouts += 1
        else:
            break
    assert timeouts, "Kafka had answered within half a millisecond"
    assert sent.count("EndTxn") == 1
    assert len(rig.keys()) == 6


def test_what_is_sent_has_its_own_time(rig: Rig) -> None:
    """However little was left to hear the answer before."""
    producer = rig.started()
    rig.written(producer, b"u", 3)
    for one in producer._brokers.open():
        one._socket.settimeout(0.0001)
    producer.begin_transaction()
    block, chance = WriteBlock(), random.Random(1)
    for number in range(240):
        block.add(Outgoing(rig.topic, number % PARTITIONS, b"k", chance.randbytes(100_000), None))
    producer.write(block, 0)
    producer.commit_transaction(TIMEOUT_S)
    assert len(rig.keys()) == 243


def test_a_wrong_password_is_said_without_it(rig: Rig) -> None:
    client = {"sasl.password": "not-the-password"}
    with pytest.raises(KafkaException) as refused:
        rig.made(**client).init_transactions(TIMEOUT_S)
    assert code_of(refused) == KafkaError.SASL_AUTHENTICATION_FAILED
    assert "not-the-password" not in str(refused.value)


UPDATE_FEATURES = Kind(
    "UpdateFeatures",
    57,
    1,
    Schema(
        ("timeout_ms", Int32),
        (
            "features",
            CompactArray(
                ("name", CompactString("utf-8")), ("level", Int16), ("kind", Int8), ("tags", TaggedFields)
            ),
        ),
        ("validate_only", Boolean),
        ("tags", TaggedFields),
    ),
    Schema(("throttle_time_ms", Int32), ("error_code", Int16)),
)
UPGRADE, SAFE_DOWNGRADE = 1, 2


def older_connection(address: tuple[str, int], client: dict[str, Any]) -> connection.Connection:
    """Return a connection that is there whatever version the broker has of what this test changes."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(connection, "_TRANSACTION_VERSION", "metadata.version")
        return connection.Connection(address, connection.Login.of(client), "test", TIMEOUT_S)


def set_transaction_version(rig: Rig, level: int, kind: int) -> None:
    [host, port] = rig.client["bootstrap.servers"].split(":")
    admin = older_connection((host, int(port)), rig.client)
    fields = (10_000, [("transaction.version", level, kind, NO_TAGS)], False, NO_TAGS)
    assert admin.ask(UPDATE_FEATURES, fields, time.monotonic() + TIMEOUT_S)[1] == 0
    admin.close()


def test_a_kafka_of_older_transactions_is_left_to_librdkafka(rig: Rig) -> None:
    """Without an epoch for each transaction, what arrives late could end the next one."""

    def refusal() -> str:
        try:
            rig.started()
        except NotSpokenError as reason:
            return str(reason)
        return ""

    older = Outbox(rig.client, rig.client["transactional.id"], threading.Event())
    set_transaction_version(rig, 1, SAFE_DOWNGRADE)
    try:
        assert wait_for(refusal, "the older version is announced") == "transaction.version 2"
        older.start()
        older.begin()
        older.write(rig.block(3))
        older.commit()
        older.close()
    finally:
        set_transaction_version(rig, 2, UPGRADE)
    wait_for(lambda: not refusal(), "the newer version is announced")
    assert len(rig.keys()) == 3
