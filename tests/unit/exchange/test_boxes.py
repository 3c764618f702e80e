"""Boxes: what is sealed comes out as it went in, in its own place alone, and shows nothing on the way."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.account import Account
from exchange.block import NONE, Outgoing, ReadBlock, Record, WriteBlock
from exchange.boxes import BoxOpener, BoxSealer, RawKeys, first_keys, is_box
from exchange.change import Op, Position, Reason, RecordHeader, view_number
from exchange.errors import ConfigError
from exchange.keys import QuarantineRecord, Sealer, read_key
from exchange.process import Processed, Programs, process_batch
from exchange.tally import tally
from tests.unit.exchange.samples import (
    KEYS,
    NOW_MS,
    PERSON,
    PERSON_VIEW,
    STEWARD_PRIVATE,
    STEWARD_PUBLIC,
    Table,
    header,
    id_number,
    person_row,
    resource,
)

TOPIC, OTHER, PARTITION = "raw.town.public.person", "raw.town.public.street", 2
ONE = first_keys()
TWO = ONE.with_next()
HEADER = RecordHeader(Position(9, 100, 1), Op.CREATE, NOW_MS).pack()
KEY, VALUE = b"\0\0\0\0\7key of a row", b"\0\0\0\0\7value of a row"
PART = st.none() | st.binary(max_size=40)


def opener(keys: RawKeys | None = ONE) -> BoxOpener:
    return BoxOpener(lambda: keys)


def read_back(written: WriteBlock, topic: str) -> ReadBlock:
    """Return what a reader of one partition gets of a block."""
    made = ReadBlock()
    for number, one in enumerate(written):
        if one.topic == topic:
            made.add(Record(number, NONE, one.key, one.value, one.header))
    return made


@given(st.lists(st.tuples(st.sampled_from([TOPIC, OTHER]), PART, PART, PART)))
def test_a_sealed_block_is_opened_to_what_it_was(parts: list[tuple[str, None, None, None]]) -> None:
    block = WriteBlock()
    for topic, key, value, packed in parts:
        block.add(Outgoing(topic, PARTITION, key, value, packed))
    sealed = BoxSealer(ONE).seal_block(block, {TOPIC})
    assert all(
        now == was if was.topic == OTHER else now.key is None and is_box(now.value)
        for now, was in zip(sealed, block, strict=True)
    )
    boxes = read_back(sealed, TOPIC)
    opened, reached = opener().open_block(boxes, 0, TOPIC, PARTITION)
    assert reached == len(boxes)
    assert list(opened) == list(read_back(block, TOPIC))
    one_by_one = [opener().open(TOPIC, PARTITION, r.header or b"", r.key, r.value) for r in boxes]
    assert one_by_one == [(r.key, r.value) for r in opened]


def box(sealer: BoxSealer | None = None) -> bytes:
    return (sealer or BoxSealer(ONE)).seal(TOPIC, PARTITION, HEADER, KEY, VALUE)


def test_a_box_shows_nothing_of_what_is_in_it_and_is_never_the_same() -> None:
    sealer = BoxSealer(ONE)
    boxes = [box(sealer) for _ in range(100)] + [box() for _ in range(100)]
    assert len(set(boxes)) == 200
    assert len({sealed[4:30] for sealed in boxes}) == 200, "a nonce came twice under one key"
    assert not any(b"row" in sealed or KEY[5:] in sealed for sealed in boxes)


OTHER_PLACES = {
    "topic": (OTHER, PARTITION, HEADER),
    "partition": (TOPIC, PARTITION + 1, HEADER),
    "position": (TOPIC, PARTITION, RecordHeader(Position(9, 100, 2), Op.CREATE, NOW_MS).pack()),
    "operation": (TOPIC, PARTITION, RecordHeader(Position(9, 100, 1), Op.DELETE, NOW_MS).pack()),
}


def moved(place: tuple[str, int, bytes], sealed: bytes) -> Any:
    return opener().open(*place, None, sealed)


@pytest.mark.parametrize("place", OTHER_PLACES.values(), ids=OTHER_PLACES)
def test_a_box_that_was_moved_does_not_open(place: tuple[str, int, bytes]) -> None:
    assert moved((TOPIC, PARTITION, HEADER), box()) == (KEY, VALUE)
    assert moved(place, box()) is None


class Unbound:
    """A planted fault: what is sealed is not bound to its place."""

    def __init__(self, cipher: Any) -> None:
        self.cipher = cipher

    def encrypt(self, nonce: bytes, plain: bytes, _place: bytes) -> Any:
        return self.cipher.encrypt(nonce, plain, None)

    def decrypt(self, nonce: bytes, sealed: bytes, _place: bytes) -> Any:
        return self.cipher.decrypt(nonce, sealed, None)


@pytest.mark.parametrize("place", OTHER_PLACES.values(), ids=OTHER_PLACES)
def test_the_check_of_moved_boxes_sees_one_that_is_bound_to_nothing(
    place: tuple[str, int, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    cipher = RawKeys.cipher

    def unbound(keys: RawKeys, version: int, salt: bytes, _topic: str) -> Any:
        return Unbound(cipher(keys, version, salt, ""))

    monkeypatch.setattr(RawKeys, "cipher", unbound)
    assert moved(place, box()) == (KEY, VALUE)


def test_a_box_that_was_cut_off_or_altered_does_not_open() -> None:
    sealed = box()
    for size in range(4, len(sealed)):
        assert opener().open(TOPIC, PARTITION, HEADER, None, sealed[:size]) is None
    for at in range(10, len(sealed)):
        altered = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        assert opener().open(TOPIC, PARTITION, HEADER, None, altered) is None


def test_another_key_of_the_same_version_is_a_missing_one_and_refuses_nothing() -> None:
    with pytest.raises(ConfigError, match=r"under version 1 \(\w{8}\) .* here is version 1 \(\w{8}\)"):
        opener(first_keys()).open(TOPIC, PARTITION, HEADER, None, box())


def test_after_a_rotation_the_newest_key_seals_and_the_older_one_still_opens() -> None:
    old, new = box(), box(BoxSealer(TWO))
    assert (int.from_bytes(old[4:6]), int.from_bytes(new[4:6])) == (1, 2)
    assert all(opener(TWO).open(TOPIC, PARTITION, HEADER, None, one) == (KEY, VALUE) for one in (old, new))
    with pytest.raises(ConfigError, match=r"version 1 \(\w{8}\) of EXCHANGE_RAW_KEYS; here is version 2"):
        opener(TWO.without(1)).open(TOPIC, PARTITION, HEADER, None, old)


def test_a_key_that_comes_later_is_taken_without_a_new_start() -> None:
    there: list[RawKeys | None] = [None]
    late = BoxOpener(lambda: there[-1])
    for keys in (None, ONE):
        there.append(keys)
        with pytest.raises(ConfigError, match="version 2"):
            late.open(TOPIC, PARTITION, HEADER, None, box(BoxSealer(TWO)))
    there.append(TWO)
    assert late.open(TOPIC, PARTITION, HEADER, None, box(BoxSealer(TWO))) == (KEY, VALUE)


DIGITS = "0f" * 32


@pytest.mark.parametrize(
    "text",
    ["", " ", DIGITS, f"x:{DIGITS}", f"0:{DIGITS}", f"65536:{DIGITS}", f"1:{DIGITS[:-2]}", f"1:{DIGITS}00",
     f"1:{DIGITS} 1:{DIGITS}", f"1:{DIGITS},2:{DIGITS}", f"1:{'zz' * 32}"],
)  # fmt: skip
def test_keys_of_another_form_are_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="EXCHANGE_RAW_KEYS: expected") as refused:
        RawKeys.parse(text)
    assert DIGITS[:16] not in str(refused.value)


def test_keys_are_written_as_they_are_read_and_are_not_shown() -> None:
    assert RawKeys.parse(TWO.text()) == TWO
    assert RawKeys.parse(TWO.text().replace("\n", "  ")) == TWO
    assert TWO.by_version[1].hex() not in repr(TWO)
    assert TWO.by_version[1] == ONE.by_version[1] != TWO.by_version[2]


# --- in a batch --------------------------------------------------------------------------------------------

PEOPLE = Table(PERSON)
RESOURCE = resource(PERSON, PERSON_VIEW)
RAW = RESOURCE.raw_topic


def changes(count: int, **marks: Any) -> list[Record]:
    made = []
    for number in range(count):
        packed = header(Op.CREATE, position=Position(1, 1000 + number, 0), **marks)
        row = person_row(id_number=id_number(number))
        value = PEOPLE.value(Op.CREATE, None, row, packed.source_ms)
        made.append(Record(number, NOW_MS, PEOPLE.key(row), value, packed.pack()))
    return made


def sealed(records: list[Record], sealer: BoxSealer) -> list[Record]:
    return [
        one._replace(key=None, value=sealer.seal(RAW, PARTITION, one.header or b"", one.key, one.value))
        for one in records
    ]


def process(records: list[Record], keys: RawKeys | None) -> Processed:
    batch = ReadBlock()
    for one in records:
        batch.add(one)
    return process_batch(
        batch,
        RAW,
        PARTITION,
        RESOURCE,
        Programs(RESOURCE, KEYS, PEOPLE.schema_of),
        Sealer({RESOURCE.name: STEWARD_PUBLIC}),
        None if keys is None else opener(keys),
        writer="stream-1",
        plan_version=7,
        now_ms=NOW_MS + 250,
    )


def without_content(accounts: list[Account]) -> list[Account]:
    for account in accounts:
        account.content_sum = 0
    return accounts


@pytest.mark.parametrize(
    "marks", [{}, {"plan_version": 7, "only_view": view_number("v0")}], ids=["all", "one view"]
)
def test_sealed_changes_become_what_clear_ones_do_whatever_stands_between(marks: dict[str, Any]) -> None:
    clear = changes(40, **marks)
    old, new = BoxSealer(TWO.without(2)), BoxSealer(TWO)
    mixed = [*clear[:5], *sealed(clear[5:20], old), *clear[20:25], *sealed(clear[25:], new)]
    wanted, found = process(clear, None), process(mixed, TWO)
    assert wanted.outgoing
    assert list(found.outgoing) == list(wanted.outgoing)
    assert found.next_offset == 40
    assert found.halt is None
    assert without_content(found.accounts) == without_content(wanted.accounts)


def test_the_sums_of_both_sides_are_of_the_boxes() -> None:
    clear, block = changes(30), WriteBlock()
    for one in clear:
        block.add(Outgoing(RAW, PARTITION, one.key, one.value, one.header))
    boxes = BoxSealer(ONE).seal_block(block, {RAW})
    written = tally(boxes, 0, len(boxes), NOW_MS)
    records = [one._replace(offset=number) for number, one in enumerate(read_back(boxes, RAW))]
    processed = process(records, ONE)
    [sums] = written.values()
    [account] = processed.accounts
    assert (sums.content_sum, sums.position_sum) == (account.content_sum, account.position_sum)
    assert process(clear, None).accounts[0].content_sum != account.content_sum


def test_a_change_whose_key_is_missing_halts_its_partition_there() -> None:
    clear = changes(10)
    mixed = [*clear[:3], *sealed(clear[3:6], BoxSealer(ONE)), *sealed(clear[6:], BoxSealer(TWO))]
    for keys, reached in ((None, 3), (ONE, 6)):
        found = process(mixed, keys)
        assert found.halt is not None
        assert (found.next_offset, found.halt.offset) == (reached, reached)
        assert "EXCHANGE_RAW_KEYS" in found.halt.reason
        assert [one.value for one in found.outgoing] == [
            one.value for one in process(clear[:reached], None).outgoing
        ]


def test_boxes_that_do_not_open_are_refused_where_they_stand_and_hold_up_nothing() -> None:
    clear = changes(6)
    boxes = sealed(clear, BoxSealer(ONE))
    boxes[1] = boxes[1]._replace(value=boxes[2].value)
    boxes[3] = boxes[3]._replace(value=(boxes[3].value or b"")[:-1])
    boxes[4] = boxes[4]._replace(value=(boxes[4].value or b"")[:9])
    found = process(boxes, ONE)
    assert found.halt is None
    refused = [one for one in found.outgoing if one.topic == RESOURCE.quarantine_topic]
    entries = [QuarantineRecord.decode(one.value or b"") for one in refused]
    assert [(entry.offset, entry.reason) for entry in entries] == [(n, Reason.UNREADABLE) for n in (1, 3, 4)]
    assert entries[0].open(read_key(STEWARD_PRIVATE, "test")) == (None, boxes[1].value)
    delivered = [one.value for one in found.outgoing if one.topic != RESOURCE.quarantine_topic]
    assert delivered == [one.value for one in process([clear[n] for n in (0, 2, 5)], None).outgoing]


def test_other_bytes_behind_the_mark_of_a_box_are_refused_or_halt() -> None:
    [one] = changes(1)
    for _ in range(50):
        odd = one._replace(key=None, value=b"\x01raw" + os.urandom(60))
        found = process([odd], ONE)
        assert found.halt is not None or found.outgoing.topics == [RESOURCE.quarantine_topic]
