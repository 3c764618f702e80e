"""Records as they go to Kafka: what is encoded is what Kafka's format says, compiled or not."""

from __future__ import annotations

import struct
from types import ModuleType
from typing import Any, NamedTuple

import lz4.frame
import pytest
from aiokafka.record.util import calc_crc32c, decode_varint
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given
from hypothesis import strategies as st

from exchange.block import COLUMNS, Outgoing, WriteBlock
from exchange.change import HEADER
from exchange.wire import messages
from exchange.wire.batches import Records
from exchange.wire.connection import Login, NotSpokenError
from exchange.wire.transactional import BatchProducer, Member, _Batch
from tests.unit.exchange.natively import both

FORMS = both("exchange.wire.encoder")
both_forms = pytest.mark.parametrize("form", FORMS, ids=["installed", "plain"])

PARTS = st.none() | st.binary(max_size=300)
OUTGOING = st.builds(
    Outgoing,
    st.sampled_from(["share.a.one", "share.a.two", "quarantine.a"]),
    st.integers(0, 3),
    PARTS,
    PARTS,
    PARTS,
)


class Decoded(NamedTuple):
    """A batch, read by what the format says."""

    producer_id: int
    epoch: int
    sequence: int
    records: list[Outgoing]


def decoded(topic: str, partition: int, batch: bytes) -> Decoded:
    base, length, leader_epoch, magic, checksum = struct.unpack_from(">qiibI", batch)
    assert (base, length, leader_epoch, magic) == (0, len(batch) - 12, -1, 2)
    assert checksum == calc_crc32c(batch[21:])
    attributes, last, first_ms, last_ms, producer_id, epoch, sequence, count = struct.unpack_from(
        ">hiqqqhii", batch, 21
    )
    assert attributes & 0x10, "it is part of a transaction"
    assert last == count - 1
    assert first_ms == last_ms > 1_700_000_000_000
    body = batch[61:]
    if attributes & 7:
        assert attributes & 7 == 3
        body = lz4.frame.decompress(body)
    records, at = [], 0
    for number in range(count):
        size, at = decode_varint(body, at)
        end = at + size
        assert body[at : at + 2] == b"\0\0"
        delta, at = decode_varint(body, at + 2)
        assert delta == number
        key, at = part(body, at)
        value, at = part(body, at)
        headers, at = decode_varint(body, at)
        header = None
        if headers:
            name, at = part(body, at)
            header, at = part(body, at)
            assert (headers, name) == (1, HEADER.encode())
        assert at == end
        records.append(Outgoing(topic, partition, key, value, header))
    assert at == len(body)
    return Decoded(producer_id, epoch, sequence, records)


def part(body: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = decode_varint(body, at)
    return (None, at) if size < 0 else (body[at : at + size], at + size)


def block_of(records: list[Outgoing]) -> WriteBlock:
    block = WriteBlock()
    for record in records:
        block.add(record)
    return block


def by_place(records: list[Outgoing]) -> dict[tuple[str, int], list[Outgoing]]:
    found: dict[tuple[str, int], list[Outgoing]] = {}
    for record in records:
        found.setdefault((record.topic, record.partition), []).append(record)
    return found


def read_back(encoded: list[Records]) -> list[Outgoing]:
    return [
        record for one in encoded for record in decoded(one.topic, one.partition, one.batch(7, 3, 0)).records
    ]


@both_forms
@given(records=st.lists(OUTGOING, max_size=60), first=st.integers(0, 5), max_bytes=st.integers(1, 2_000))
def test_what_is_encoded_is_read_back(
    form: ModuleType, records: list[Outgoing], first: int, max_bytes: int
) -> None:
    encoder = form.Encoder()
    encoder.encode(block_of(records[::-1]))  # its room is used again
    found = encoder.encode(block_of(records), first, max_bytes)
    assert by_place(read_back(found)) == by_place(records[first:])
    assert all(one.count == 1 or len(one.encoded) <= max_bytes for one in found)


@both_forms
def test_more_batches_than_there_was_room_for(form: ModuleType) -> None:
    records = [Outgoing("share.a.one", number % 700, b"k", b"v", None) for number in range(2_100)]
    assert by_place(read_back(form.Encoder().encode(block_of(records)))) == by_place(records)


@both_forms
@pytest.mark.parametrize(
    ("column", "value"), [(0, 1), (0, -1), (2, -1), (3, -2), (3, 9), (4, 1 << 40), (7, 1 << 62)]
)
def test_an_index_that_points_outside_is_refused(form: ModuleType, column: int, value: int) -> None:
    block = block_of([Outgoing("share.a.one", 0, b"k", b"v", b"h")] * 2)
    block.index[COLUMNS + column] = value
    with pytest.raises(ValueError, match="outside the block"):
        form.Encoder().encode(block)
    block.count = 1000
    with pytest.raises(ValueError, match="shorter than the block"):
        form.Encoder().encode(block)


def test_a_batch_says_whose_and_which_it_is() -> None:
    [records] = FORMS[0].Encoder().encode(block_of([Outgoing("t", 5, b"k", b"v" * 1000, None)]))
    batch = records.batch(1 << 40, 32_767, 1 << 30)
    assert decoded("t", 5, batch)[:3] == (1 << 40, 32_767, 1 << 30)
    assert len(batch) < 200, "it is compressed"


def test_the_group_member_is_read_from_what_the_consumer_says() -> None:
    written = b"CGMDv2:" + (5).to_bytes(4, "little") + b"group\0member\0"
    assert Member.of(written + b"\0instance\0") == Member("group", 5, "member", "instance")
    assert Member.of(written + b"\x01") == Member("group", 5, "member", None)
    with pytest.raises(NotSpokenError):
        Member.of(b"CGMDv3:" + written)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"ssl.key.location": "k"}, "ssl.key.location"),
        ({"sasl.mechanism": "PLAIN"}, "PLAIN"),
        ({"sasl.mechanism": "OAUTHBEARER"}, "OAUTHBEARER"),
    ],
)
def test_a_login_that_is_not_understood_is_left_to_librdkafka(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(NotSpokenError, match=said):
        Login.of({"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"} | given_)


def test_a_password_is_not_shown() -> None:
    login = Login.of(
        {"security.protocol": "sasl_ssl", "sasl.mechanism": "SCRAM-SHA-512", "sasl.password": "secret"}
    )
    assert "secret" not in repr(login)


def answered(place: tuple[str, int], code: int) -> Any:
    topic, partition = place
    return [(topic, [(partition, code, 0, 0, 0, [], None, {})], {})], 0, {}


def test_what_followed_a_batch_refused_in_passing_goes_again_behind_it() -> None:
    place = ("share.a.one", 1)
    first, second, other = (_Batch(place, encoded) for encoded in (b"1", b"2", b"3"))
    server = {"bootstrap.servers": "127.0.0.1:1"}
    producer = BatchProducer(server | {"transactional.id": "t", "transaction.timeout.ms": 1})

    with pytest.raises(KafkaException):
        producer._judge([second], answered(place, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER))
    producer._judge([first], answered(place, KafkaError.CONCURRENT_TRANSACTIONS))
    producer._judge([second], answered(place, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER))
    producer._judge([other], answered(place, KafkaError.DUPLICATE_SEQUENCE_NUMBER))
    with pytest.raises(KafkaException):
        producer._judge([other], answered(place, KafkaError.MSG_SIZE_TOO_LARGE))

    assert producer._refused == {place: [first, second]}


@pytest.mark.parametrize(
    "frame", [b"", b"\0\0\0", b"\0\0\0\1", b"\0\0\0\1\0\0\0", b"\0\0\0\1\0\0\0\0\0\0\x09"]
)
def test_an_answer_that_is_cut_off_is_an_error(frame: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        messages.END_TXN.decode(frame)
