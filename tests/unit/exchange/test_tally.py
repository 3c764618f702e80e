from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.account import Account, content_hash, minute_of
from exchange.block import NONE, Outgoing, ReadBlock, Record, WriteBlock
from exchange.change import Op, Position, RecordHeader
from tests.unit.exchange.natively import both

NOW_MS = 1_790_000_000_000
BYTES = st.none() | st.binary(max_size=70)
HEADERS = st.builds(
    RecordHeader,
    st.builds(
        Position,
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**16 - 1),
    ),
    st.sampled_from(Op),
    st.integers(NOW_MS - 200_000, NOW_MS + 5),
    tombstone=st.booleans(),
)
RECORDS = st.lists(st.tuples(HEADERS | st.none(), BYTES, BYTES, st.sampled_from("abc")), max_size=40)


def booked(records: list[Any], reads_count_delay: bool, *, by_topic: bool) -> dict[tuple[str, int], Account]:
    """The figures by the account's own, slow methods."""
    accounts: dict[tuple[str, int], Account] = {}
    for header, key, value, topic in records:
        if header is None:
            continue
        minute = minute_of(header.source_ms)
        account = accounts.setdefault(
            (topic if by_topic else "", minute), Account("process", "w", "r", "t", minute)
        )
        position, content = header.position.hash64(), content_hash(header.position, key, value)
        if header.tombstone:
            account.content_sum = (account.content_sum + content) % 2**64
            continue
        account.came_in(position, content)
        if reads_count_delay or header.op is not Op.READ:
            account.took(NOW_MS - header.source_ms)
    return accounts


@pytest.mark.parametrize("module", both("exchange.tally"))
@given(RECORDS, st.booleans())
def test_sums_of_a_written_block_are_those_of_the_accounts(
    module: ModuleType, records: list[Any], reads: bool
) -> None:
    block = WriteBlock()
    for header, key, value, topic in records:
        block.add(Outgoing(topic, 0, key, value, header and header.pack()))
    sums = module.tally(block, 0, len(block), NOW_MS, reads_count_delay=reads)
    accounts = booked(records, reads, by_topic=True)
    assert {(block.topics[topic], minute) for topic, minute in sums} == set(accounts)
    for (topic, minute), found in sums.items():
        account = accounts[block.topics[topic], minute]
        assert found.changes == account.changes
        assert found.position_sum == account.position_sum
        assert found.content_sum == account.content_sum
        assert found.delays == account.delays


@pytest.mark.parametrize("module", both("exchange.tally"))
@given(RECORDS, st.data())
def test_part_of_a_read_block_is_summed_up_alone(
    module: ModuleType, records: list[Any], data: st.DataObject
) -> None:
    block = ReadBlock()
    for number, (header, key, value, _) in enumerate(records):
        block.add(Record(number, NONE, key, value, header and header.pack()))
    first = data.draw(st.integers(0, len(records)))
    last = data.draw(st.integers(first, len(records)))
    sums = module.tally(block, first, last, NOW_MS)
    accounts = booked(records[first:last], True, by_topic=False)
    assert {minute: found.content_sum for (_, minute), found in sums.items()} == {
        minute: account.content_sum for (_, minute), account in accounts.items()
    }
    own = [first + at for at, (header, *_) in enumerate(records[first:last]) if header is not None]
    assert min((found.first for found in sums.values()), default=None) == (own[0] if own else None)
    assert max((found.last for found in sums.values()), default=None) == (own[-1] if own else None)


@pytest.mark.parametrize("module", both("exchange.tally"))
def test_no_record_no_sums(module: ModuleType) -> None:
    assert module.tally(ReadBlock(), 0, 0, NOW_MS) == {}
