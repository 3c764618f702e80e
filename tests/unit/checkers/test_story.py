"""The judge of the conformance suite finds what it is there to find."""

from __future__ import annotations

from exchange.change import Op, Position, RecordHeader
from tests.conformance.story import final_state, judge, out_of_order, told_by, twice
from tests.integration.capture import Record


def record(key: int, op: Op, commit: int, index: int = 0, name: str | None = None) -> Record:
    header = RecordHeader(Position(1, commit, index), op, 0)
    after = None if op is Op.DELETE else {"id": key, "name": name}
    return Record(0, header, {"id": key}, {"after": after})


GOOD = [
    record(1, Op.CREATE, 10, name="a"),
    record(2, Op.CREATE, 10, 1, name="b"),
    record(1, Op.UPDATE, 11, name="c"),
    record(2, Op.DELETE, 12),
]


def test_a_good_stream_has_nothing_wrong() -> None:
    assert (twice(GOOD), out_of_order(GOOD)) == ([], [])
    assert told_by(GOOD) == {1: [("c", "a"), ("u", "c")], 2: [("c", "b"), ("d", None)]}
    assert final_state(GOOD) == {1: {"id": 1, "name": "c"}}


def test_a_record_told_again_is_found() -> None:
    assert twice([*GOOD, GOOD[1]]) == [(10, 1, 0)]
    assert told_by([*GOOD, GOOD[1]]) != told_by(GOOD)


def test_a_record_left_out_is_found() -> None:
    for at in range(len(GOOD)):
        assert told_by(GOOD[:at] + GOOD[at + 1 :]) != told_by(GOOD)


def test_records_of_one_key_that_changed_places_are_found() -> None:
    swapped = [GOOD[2], GOOD[1], GOOD[0], GOOD[3]]
    assert out_of_order(swapped) == [{"id": 1}]
    assert told_by(swapped) != told_by(GOOD)


def test_the_judge_names_what_is_lost_told_twice_and_in_another_order() -> None:
    expected = told_by(GOOD)
    assert judge(GOOD, expected) == {}
    assert judge(GOOD[:-1], expected) == {"lost": [(2, ("d", None))]}
    assert judge([*GOOD, record(1, Op.UPDATE, 14, name="c")], expected) == {"twice": [(1, ("u", "c"))]}
    assert judge([GOOD[2], GOOD[1], GOOD[0], GOOD[3]], expected) == {"order": [1], "positions": [{"id": 1}]}


def test_a_truncate_empties_its_partition_only() -> None:
    emptied = Record(1, RecordHeader(Position(1, 13, 0), Op.TRUNCATE, 0), None, {"after": None})
    assert final_state([*GOOD, emptied]) == final_state(GOOD)
    here = Record(0, emptied.header, None, {"after": None})
    assert final_state([*GOOD, here]) == {}
