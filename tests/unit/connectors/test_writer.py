"""What the writer sends, and what it makes of librdkafka's refusals; its producers are not Kafka's."""

from __future__ import annotations

import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from pydantic import SecretStr

from connectors import writer as module
from connectors.source import Batch, Captured, Framing, Shape
from connectors.writer import Writer
from exchange import rawkeys
from exchange.account import Account, content_hash
from exchange.block import Outgoing, WriteBlock
from exchange.boxes import BoxOpener, BoxSealer, first_keys, is_box
from exchange.change import HEADER, Op, Position, RecordHeader
from exchange.errors import ConfigError, FencedError, PartError, RestartError
from exchange.keys import Sealer
from exchange.plan import ACCOUNTS_TOPIC, PlannedResource
from exchange.position import PositionCodec, SourcePosition
from exchange.settings import Secrets

ENDED = KafkaError(KafkaError._FATAL)
"""All that produce() says once the client has ended: no flag, and not by what."""


class FakeProducer:
    """Refuses every record; `abort_transaction` says why where a reason is given."""

    refusal: KafkaError
    reason: KafkaError | None

    def __init__(self, *_arguments: Any, **_named: Any) -> None:
        self.aborted = 0

    def begin_transaction(self) -> None:
        """Begin."""

    def produce(self, *_arguments: Any, **_named: Any) -> None:
        raise KafkaException(self.refusal)

    def abort_transaction(self, _timeout_s: float) -> None:
        self.aborted += 1
        if self.reason is not None:
            raise KafkaException(self.reason)


def outcome_of(monkeypatch: pytest.MonkeyPatch, refusal: KafkaError, reason: KafkaError | None) -> Exception:
    monkeypatch.setattr(module, "Producer", FakeProducer)
    monkeypatch.setattr(FakeProducer, "refusal", refusal, raising=False)
    monkeypatch.setattr(FakeProducer, "reason", reason, raising=False)
    codec = PositionCodec("s", SecretStr("secret"))
    writer = Writer({}, "cdc-s", {}, 1, lambda _subject, _schema: 1, codec, Sealer({}))
    with pytest.raises(Exception, match="cdc-s") as raised:
        writer.write(Batch([], SourcePosition("s", "1", 1, "slot", 1)))
    return raised.value


def test_a_writer_fenced_between_two_records_leaves_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken for a passing trouble, it would begin anew and fence its successor back."""
    fenced = KafkaError(KafkaError._FENCED, "x", fatal=True)
    assert isinstance(outcome_of(monkeypatch, ENDED, fenced), FencedError)


def test_a_client_that_ended_for_another_reason_wants_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    other = KafkaError(KafkaError.INVALID_TXN_STATE, "x", fatal=True)
    assert isinstance(outcome_of(monkeypatch, ENDED, other), RestartError)


def test_a_refused_topic_is_a_matter_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert isinstance(outcome_of(monkeypatch, refused, None), PartError)


class NotingProducer:
    """Notes every record; commits when told to."""

    def __init__(self, *_arguments: Any, **_named: Any) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.commit = threading.Event()
        self.commit.set()

    def begin_transaction(self) -> None:
        """Begin."""

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes | None = None,
        partition: int = -1,
        *more: Any,
        headers: Any = None,
    ) -> None:
        self.sent.append((topic, value, key, partition, headers or (more[-1] if more else None)))

    def commit_transaction(self, _timeout_s: float) -> None:
        assert self.commit.wait(10)


RESOURCE = PlannedResource(
    name="town.person",
    system="town",
    table="public.person",
    department="dept",
    raw_topic="raw.town.public.person",
    quarantine_topic="quarantine.town.person",
    partitions=3,
    contract={},
    steward_public_key="",
    views=(),
)
RAW_KEYS = first_keys()
SHAPE = Shape("public.person", {}, {})


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    monkeypatch.setattr(module, "Producer", NotingProducer)
    codec = PositionCodec("s", SecretStr("secret"))
    return Writer({}, "cdc-s", {"public.person": RESOURCE}, 1, lambda _subject, _schema: 7, codec, Sealer({}))


def captured(number: int, source_ms: int, op: Op = Op.CREATE) -> Captured:
    key = str(number).encode()
    return Captured(SHAPE, Position(9, 100, number), op, source_ms, key, b"value of " + key)


def in_a_block(changes: list[Captured], framing: Framing) -> WriteBlock:
    block = WriteBlock()
    for change in changes:
        partition = zlib.crc32(change.key or b"") % framing.partitions
        header = RecordHeader(change.position, change.op, change.source_ms).pack()
        key, value = framing.key_prefix + (change.key or b""), framing.value_prefix + change.value
        block.add(Outgoing(framing.topic, partition, key, value, header))
    return block


def sent_of(writer: Writer, batch: Batch) -> tuple[list[Any], list[Account]]:
    """The records of a batch, and its accounts."""
    producer: Any = writer._producer
    producer.sent.clear()
    writer.write(batch)
    records = [
        (*record[:4], dict(record[4] or [])) for record in producer.sent if record[0] != ACCOUNTS_TOPIC
    ]
    return records, [Account.decode(value) for topic, value, *_ in producer.sent if topic == ACCOUNTS_TOPIC]


def test_block_among_single_records_is_sent_and_counted_as_if_they_were_single_too(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_790_000_000_000_000_000)
    now_ms = 1_790_000_000_000
    changes = [captured(at, now_ms - 40 * at, Op.READ if at % 7 == 0 else Op.UPDATE) for at in range(3000)]
    framing = writer.framing(SHAPE)
    mixed: list[Captured | WriteBlock] = [
        *changes[:10],
        in_a_block(changes[10:2000], framing),
        changes[2000],
        in_a_block(changes[2001:], framing),
    ]
    assert sent_of(writer, Batch(mixed)) == sent_of(writer, Batch(changes))


@pytest.fixture
def sealing(monkeypatch: pytest.MonkeyPatch) -> Writer:
    monkeypatch.setattr(module, "Producer", NotingProducer)
    codec = PositionCodec("s", SecretStr("secret"))
    sealed = {"public.person": RESOURCE.model_copy(update={"sealed": True})}
    return Writer({}, "cdc-s", sealed, 1, lambda _subject, _schema: 7, codec, Sealer({}), BoxSealer(RAW_KEYS))


def test_sealed_records_are_those_in_clear_whether_they_come_one_by_one_or_in_a_block(
    writer: Writer, sealing: Writer
) -> None:
    changes = [captured(at, 1_790_000_000_000) for at in range(300)]
    framing = writer.framing(SHAPE)
    mixed: list[Captured | WriteBlock] = [*changes[:10], in_a_block(changes[10:], framing)]
    sealing.framing(SHAPE)
    (clear, _), (boxes, [account]) = sent_of(writer, Batch(changes)), sent_of(sealing, Batch(mixed))
    opener = BoxOpener(lambda: RAW_KEYS)
    assert all(key is None and is_box(value) for _, value, key, *_ in boxes)
    opened = [opener.open(topic, at, named[HEADER], key, value) for topic, value, key, at, named in boxes]
    assert opened == [(key, value) for _, value, key, *_ in clear]
    assert [box[3:] for box in boxes] == [one[3:] for one in clear]
    assert account.content_sum == sum(
        content_hash(change.position, None, box[1]) for change, box in zip(changes, boxes, strict=True)
    ) % (1 << 64)


def test_a_connector_of_a_sealed_resource_does_not_begin_without_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = Secrets(tmp_path)
    assert rawkeys.sealer(secrets, []) is None
    with pytest.raises(ConfigError, match=r"raw\.a\.b\.c is sealed, and secret EXCHANGE_RAW_KEYS is missing"):
        rawkeys.sealer(secrets, ["raw.a.b.c"])
    monkeypatch.setenv("EXCHANGE_RAW_KEYS", "1:abc")
    with pytest.raises(ConfigError, match="64 hex digits"):
        rawkeys.sealer(secrets, ["raw.a.b.c"])


def test_commit_goes_on_while_the_next_batch_is_read(writer: Writer) -> None:
    producer: Any = writer._producer
    producer.commit.clear()
    batch = Batch([captured(1, 5)])
    writer.start(batch)
    producer.commit.set()
    assert writer.finish() is batch
    assert writer.finish() is None


def test_failed_commit_is_told_when_it_is_waited_for(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_timeout_s: float) -> None:
        raise KafkaException(KafkaError(KafkaError._FENCED, "x", fatal=True))

    monkeypatch.setattr(writer._producer, "commit_transaction", refuse)
    writer.start(Batch([captured(1, 5)]))
    with pytest.raises(FencedError):
        writer.finish()
