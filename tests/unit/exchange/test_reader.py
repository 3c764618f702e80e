"""What a subscriber's reader takes for a duplicate, and where it begins."""

from __future__ import annotations

import io
import random
from typing import Any

import fastavro
import pytest

from exchange.change import Op, Position, RecordHeader
from exchange.encoding.wire import frame
from exchange.errors import ConfigError
from exchange.subscriber.decoder import WireDecoder
from exchange.subscriber.reader import Start
from exchange.subscriber.seen import Seen

STREAM = 7


def header(
    commit: int,
    index: int = 0,
    part: int = 0,
    *,
    tombstone: bool = False,
    redriven: bool = False,
    stream: int = STREAM,
) -> RecordHeader:
    return RecordHeader(
        Position(stream, commit, index, part), Op.UPDATE, 0, tombstone=tombstone, redriven=redriven
    )


def test_a_record_is_new_once() -> None:
    seen = Seen()
    assert [seen.is_new(header(commit)) for commit in (1, 2, 2, 1, 3)] == [True, True, False, False, True]


def test_a_tombstone_is_no_duplicate_of_its_delete() -> None:
    seen = Seen()
    first = [seen.is_new(header(5)), seen.is_new(header(5, tombstone=True))]
    again = [seen.is_new(header(5)), seen.is_new(header(5, tombstone=True))]
    assert (first, again) == ([True, True], [False, False])


def test_changes_of_one_commit_and_parts_of_one_change_are_told_apart() -> None:
    seen = Seen()
    assert all(seen.is_new(header(9, index, part)) for index in range(3) for part in range(2))
    assert not any(seen.is_new(header(9, index, part)) for index in range(3) for part in range(2))


def test_a_redriven_record_is_new_the_first_time_though_its_position_is_old() -> None:
    seen = Seen()
    assert seen.is_new(header(10))
    assert seen.is_new(header(4, redriven=True))
    assert not seen.is_new(header(4, redriven=True))
    assert seen.is_new(header(11))


def test_a_redriven_record_does_not_move_the_mark() -> None:
    seen = Seen()
    assert seen.is_new(header(100, redriven=True))
    assert seen.is_new(header(50))


def test_a_restored_database_begins_a_mark_of_its_own() -> None:
    seen = Seen()
    assert seen.is_new(header(1000))
    assert seen.is_new(header(1, stream=8))
    assert not seen.is_new(header(1000))


def test_marks_carry_over_a_restart() -> None:
    before = Seen()
    assert before.is_new(header(20, 3, 1, tombstone=True))
    assert before.is_new(header(2, stream=2**64 - 1))
    after = Seen(before.marks())
    assert not after.is_new(header(20, 3, 1, tombstone=True))
    assert not after.is_new(header(2, stream=2**64 - 1))
    assert after.is_new(header(20, 4))


@pytest.mark.parametrize(
    "marks", ["", "x", "1/2/3", "1/2/3/4/5/6", ";;", "zz/1/1/1/1", "offset by another client"]
)
def test_marks_of_another_program_are_ignored(marks: str) -> None:
    assert Seen(marks).is_new(header(1))


def test_memory_stays_bounded() -> None:
    seen = Seen()
    for number in range(20_000):
        seen.is_new(header(number, redriven=True))
        seen.is_new(header(1, stream=number))
    assert len(seen.marks()) < 4096
    assert not seen.is_new(header(19_999, redriven=True))


def test_any_repetition_of_a_log_shows_each_record_once() -> None:
    draw = random.Random(3)
    log = [header(commit, index) for commit in range(50) for index in range(draw.randint(1, 3))]
    replayed: list[RecordHeader] = []
    for at, each in enumerate(log):
        replayed.append(each)
        if draw.random() < 0.2:
            replayed += log[max(0, at - draw.randint(0, 10)) : at + 1]
    seen = Seen()
    assert [each for each in replayed if seen.is_new(each)] == log


@pytest.mark.parametrize(
    ("text", "start"),
    [("earliest", Start("earliest")), ("committed", Start("committed")), ("2:1500", Start("at", 2, 1500))],
)
def test_a_start_is_read(text: str, start: Start) -> None:
    assert Start.parse(text) == start


@pytest.mark.parametrize("text", ["", "first", "2", "2:", ":5", "-1:5", "a:b", "1:2:3", "２:5"])
def test_a_start_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="2:1500"):
        Start.parse(text)


SCHEMA: dict[str, Any] = {"type": "record", "name": "Person", "fields": [{"name": "name", "type": "string"}]}


class Registry:
    def schema(self, schema_id: int) -> dict[str, Any]:
        if schema_id != 5:
            raise LookupError
        return SCHEMA


def test_a_record_is_decoded_through_the_registry() -> None:
    assert WireDecoder(Registry()).decode(encoded("王")) == {"name": "王"}


@pytest.mark.parametrize(
    "broken", [b"", b"\x01aaaa", b"\x00\x00\x00\x00\x05\x02a!", b"\x00\x00\x00\x00\x05\x10a"]
)
def test_bytes_that_are_no_whole_record_are_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"record|wire format"):
        WireDecoder(Registry()).decode(broken)


def test_an_unknown_schema_is_told_apart_from_a_broken_record() -> None:
    with pytest.raises(LookupError):
        WireDecoder(Registry()).decode(frame(6, b"\x02a"))


def encoded(name: str) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, {"name": name})
    return frame(5, out.getvalue())
