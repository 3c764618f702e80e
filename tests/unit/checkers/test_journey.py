"""The journey checker accepts a faultless run and names every planted fault."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.checkers.journey import ExpectedTable, ExpectedView, Journey, Kind
from tests.checkers.source_log import Committed, Row

RAW, ALL, NORTH, REFUSED = "raw.s.public.t", "share.t.all", "share.t.north", "quarantine.t"
STREAM = 7


@dataclass(frozen=True)
class Fake:
    """Stands for a Kafka message."""

    topic_: str
    offset_: int
    place: tuple[int, int, int]
    op: str
    key_: bytes | None
    value_: bytes | None
    tombstone: bool = False
    partition_: int = 0
    stream: int = STREAM

    def topic(self) -> str:
        return self.topic_

    def partition(self) -> int:
        return self.partition_

    def offset(self) -> int:
        return self.offset_

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes | None:
        return self.value_

    def headers(self) -> list[tuple[str, bytes]]:
        packed = struct.pack(
            ">BcBxIQQIHxxQ", 1, self.op.encode(), int(self.tombstone), 1, self.stream, *self.place, 0
        )
        return [("x-exchange", packed)]


def table() -> ExpectedTable:
    return ExpectedTable(
        table="public.t",
        key=("id",),
        partitions=1,
        stream=STREAM,
        raw_topic=RAW,
        quarantine_topic=REFUSED,
        views=(
            ExpectedView(ALL, shows=lambda row: {"note": row["note"]}),
            ExpectedView(NORTH, in_scope=lambda row: row["region"] == "n"),
        ),
        acceptable=lambda row: row["note"] != "bad",
    )


def row(key: int, region: str = "n", note: str = "a") -> Row:
    return {"id": str(key), "region": region, "note": note}


TRUTH = [
    Committed("public.t", "c", 100, 0, None, row(1)),
    Committed("public.t", "c", 100, 1, None, row(2, "s")),
    Committed("public.t", "u", 200, 0, row(1), row(1, "n", "b")),
    Committed("public.t", "u", 300, 0, row(1, "n", "b"), row(1, "s", "b")),
    Committed("public.t", "u", 400, 0, row(2, "s"), row(2, "n")),
    Committed("public.t", "u", 500, 0, row(2), row(3)),
    Committed("public.t", "c", 600, 0, None, row(4, note="bad")),
    Committed("public.t", "d", 700, 0, row(3), None),
]


def raw(place: tuple[int, int, int], op: str, key: int) -> Fake:
    return Fake(RAW, 0, place, op, json.dumps({"id": key}).encode(), b"envelope")


def shown(topic: str, place: tuple[int, int, int], op: str, key: int, after: Row | None) -> list[Fake]:
    value = json.dumps({"op": op, "after": after}).encode()
    record = Fake(topic, 0, place, op, f"masked {key}".encode(), value)
    return [record, replace(record, value_=None, tombstone=True)] if op == "d" else [record]


def faultless() -> list[Fake]:
    """What a faultless bus writes for TRUTH, said by hand, numbered by `numbered`."""
    return [
        *(raw((100, index, 0), "c", index + 1) for index in range(2)),
        raw((200, 0, 0), "u", 1),
        raw((300, 0, 0), "u", 1),
        raw((400, 0, 0), "u", 2),
        raw((500, 0, 0), "d", 2),
        raw((500, 0, 1), "c", 3),
        raw((600, 0, 0), "c", 4),
        raw((700, 0, 0), "d", 3),
        *shown(ALL, (100, 0, 0), "c", 1, row(1)),
        *shown(ALL, (100, 1, 0), "c", 2, row(2, "s")),
        *shown(ALL, (200, 0, 0), "u", 1, row(1, "n", "b")),
        *shown(ALL, (300, 0, 0), "u", 1, row(1, "s", "b")),
        *shown(ALL, (400, 0, 0), "u", 2, row(2)),
        *shown(ALL, (500, 0, 0), "d", 2, None),
        *shown(ALL, (500, 0, 1), "c", 3, row(3)),
        *shown(ALL, (700, 0, 0), "d", 3, None),
        *shown(NORTH, (100, 0, 0), "c", 1, row(1)),
        *shown(NORTH, (200, 0, 0), "u", 1, row(1, "n", "b")),
        *shown(NORTH, (300, 0, 0), "d", 1, None),
        *shown(NORTH, (400, 0, 0), "c", 2, row(2)),
        *shown(NORTH, (500, 0, 0), "d", 2, None),
        *shown(NORTH, (500, 0, 1), "c", 3, row(3)),
        *shown(NORTH, (700, 0, 0), "d", 3, None),
        Fake(REFUSED, 0, (600, 0, 0), "c", b"header", b"sealed"),
    ]


def judge(records: list[Fake], truth: list[Committed] = TRUTH) -> Journey:
    journey = Journey(table(), json.loads)
    journey.source(truth)
    for offset, record in enumerate(records):
        journey.observe(replace(record, offset_=offset))
    return journey


def kinds(records: list[Fake], truth: list[Committed] = TRUTH) -> set[Kind]:
    return {problem.kind for problem in judge(records, truth).problems()}


def position_of(records: list[Fake], topic: str, place: tuple[int, int, int]) -> int:
    return next(i for i, record in enumerate(records) if (record.topic_, record.place) == (topic, place))


def test_a_faultless_run_has_no_problems() -> None:
    journey = judge(faultless())
    assert journey.problems() == []
    assert journey.outstanding == 0
    assert journey.count(ALL) == 8


def test_observations_may_come_before_the_truth() -> None:
    journey = Journey(table(), json.loads)
    for offset, record in enumerate(faultless()):
        journey.observe(replace(record, offset_=offset))
    assert {problem.kind for problem in journey.problems()} == {Kind.UNEXPLAINED}
    journey.source(TRUTH)
    assert journey.problems() == []


@pytest.mark.parametrize("topic", [RAW, ALL, NORTH])
def test_a_skipped_record_is_named_as_lost(topic: str) -> None:
    records = faultless()
    del records[position_of(records, topic, (200, 0, 0))]
    assert [(p.kind, p.topic, p.place) for p in judge(records).problems()] == [
        (Kind.LOST, topic, (200, 0, 0))
    ]


def test_a_record_missing_from_quarantine_is_lost() -> None:
    assert kinds(faultless()[:-1]) == {Kind.LOST}


@pytest.mark.parametrize("topic", [RAW, ALL, NORTH, REFUSED])
def test_a_record_written_twice_is_named_as_duplicate(topic: str) -> None:
    records = faultless()
    twice = next(record for record in records if record.topic_ == topic)
    assert Kind.DUPLICATE in kinds([*records, twice])


def test_swapped_records_of_one_key_are_named() -> None:
    records = faultless()
    first, second = position_of(records, ALL, (200, 0, 0)), position_of(records, ALL, (300, 0, 0))
    records[first], records[second] = records[second], records[first]
    assert kinds(records) == {Kind.ORDER}


def test_records_of_different_keys_may_be_swapped() -> None:
    records = faultless()
    first, second = position_of(records, ALL, (100, 0, 0)), position_of(records, ALL, (100, 1, 0))
    records[first], records[second] = records[second], records[first]
    assert kinds(records) == set()


def test_a_refused_record_that_is_shown_all_the_same_is_named() -> None:
    assert kinds([*faultless(), *shown(ALL, (600, 0, 0), "c", 4, row(4))]) == {Kind.UNWANTED}


def test_a_row_outside_the_views_scope_is_named() -> None:
    records = faultless()
    records.insert(0, shown(NORTH, (100, 1, 0), "c", 2, row(2))[0])
    assert kinds(records) == {Kind.UNWANTED}


def test_a_position_nobody_committed_is_named() -> None:
    assert kinds([*faultless(), *shown(ALL, (999, 0, 0), "c", 9, row(9))]) == {Kind.UNEXPLAINED}


def without_tombstone(records: list[Fake]) -> list[Fake]:
    return [record for record in records if not record.tombstone]


def with_late_tombstone(records: list[Fake]) -> list[Fake]:
    at = next(i for i, record in enumerate(records) if record.tombstone)
    return [*records[:at], records[at + 1], records[at], *records[at + 2 :]]


def with_valued_tombstone(records: list[Fake]) -> list[Fake]:
    return [replace(record, value_=b"full") if record.tombstone else record for record in records]


@pytest.mark.parametrize("plant", [without_tombstone, with_late_tombstone, with_valued_tombstone])
def test_a_delete_without_its_tombstone_behind_it_is_named(plant: Callable[[list[Fake]], list[Fake]]) -> None:
    assert kinds(plant(faultless())) == {Kind.TOMBSTONE}


def changed(topic: str, place: tuple[int, int, int], **fields: object) -> list[Fake]:
    records = faultless()
    at = position_of(records, topic, place)
    records[at] = replace(records[at], **fields)  # type: ignore[arg-type]
    return records


def test_an_altered_field_is_named() -> None:
    altered = json.dumps({"op": "u", "after": row(1, "n", "x")}).encode()
    assert kinds(changed(ALL, (200, 0, 0), value_=altered)) == {Kind.CONTENT}


def test_another_rows_key_is_named() -> None:
    assert Kind.KEY in kinds(changed(ALL, (200, 0, 0), key_=b"masked 2"))
    assert Kind.KEY in kinds(changed(RAW, (200, 0, 0), key_=b'{"id": 2}'))


def test_another_sources_stream_is_named() -> None:
    assert Kind.HEADER in kinds(changed(ALL, (200, 0, 0), stream=8))


def test_an_update_told_as_create_is_named() -> None:
    told = json.dumps({"op": "c", "after": row(1, "n", "b")}).encode()
    assert kinds(changed(ALL, (200, 0, 0), op="c", value_=told)) == {Kind.OPERATION}


def snapshot(commit: int) -> list[Fake]:
    return [
        *(raw((commit, key - 1, 0), "r", key) for key in (1, 2)),
        *shown(ALL, (commit, 0, 0), "r", 1, row(1)),
        *shown(ALL, (commit, 1, 0), "r", 2, row(2, "s")),
        *shown(NORTH, (commit, 0, 0), "r", 1, row(1)),
    ]


def test_a_snapshot_stands_for_all_that_was_committed_before_it() -> None:
    rest = [record for record in faultless() if record.place[0] > 150]
    assert kinds(snapshot(150) + rest) == set()


def test_a_row_missing_from_the_snapshot_is_lost() -> None:
    rest = [record for record in faultless() if record.place[0] > 150]
    assert Kind.LOST in kinds(snapshot(150)[1:] + rest)


def test_a_change_between_snapshot_and_stream_is_lost_when_neither_tells_it() -> None:
    rest = [record for record in faultless() if record.place[0] > 250]
    assert kinds(snapshot(150) + rest) == {Kind.LOST}


def test_a_snapshot_row_told_twice_is_named() -> None:
    rest = [record for record in faultless() if record.place[0] > 150]
    again = raw((150, 2, 0), "r", 1)
    assert Kind.UNEXPLAINED in kinds([*snapshot(150), again, *rest])


def test_an_early_committed_offset_shows_as_loss_of_what_was_in_flight() -> None:
    """A worker that commits offsets before its outputs and dies in between skips a run of records."""
    records = [record for record in faultless() if record.topic_ == RAW or record.place[0] not in (300, 400)]
    assert {(p.kind, p.place[0]) for p in judge(records).problems()} == {(Kind.LOST, 300), (Kind.LOST, 400)}
