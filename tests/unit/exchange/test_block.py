from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exchange.block import NONE, Outgoing, ReadBlock, Record, WriteBlock

PART = st.none() | st.binary(max_size=40)


@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(-1, 2**50), PART, PART, PART)))
def test_records_come_out_of_a_read_block_as_they_went_in(
    parts: list[tuple[int, int, None, None, None]],
) -> None:
    records = [Record(*part) for part in parts]
    block = ReadBlock()
    for record in records:
        block.add(record)
    assert list(block) == records
    assert len(block) == len(records)
    if records:
        assert (block.offset(0), block.offset(-1)) == (records[0].offset, records[-1].offset)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 99), PART, PART, PART)))
def test_records_come_out_of_a_write_block_as_they_went_in(
    parts: list[tuple[str, int, None, None, None]],
) -> None:
    records = [Outgoing(*part) for part in parts]
    block = WriteBlock()
    for record in records:
        block.add(record)
    assert list(block) == records
    assert len(block.topics) == len({record.topic for record in records})


def test_empty_and_missing_parts_are_told_apart() -> None:
    block = ReadBlock()
    block.add(Record(1, NONE, b"", None, b""))
    assert block.record(0) == Record(1, NONE, b"", None, b"")
