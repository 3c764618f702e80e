from __future__ import annotations

from collections import Counter
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange import process as processing
from exchange.account import content_hash
from exchange.block import NONE, Outgoing, ReadBlock, Record, WriteBlock
from exchange.change import Op, Position, Reason, RecordHeader, view_number
from exchange.errors import SealError, TransientError
from exchange.keys import QuarantineRecord, Sealer, read_key
from exchange.process import Processed, Programs, process_batch
from tests.unit.exchange.samples import (
    KEYS,
    NOW_MS,
    PERSON,
    PERSON_VIEW,
    RAW_VALUE_ID,
    STEWARD_PRIVATE,
    STEWARD_PUBLIC,
    Table,
    header,
    id_number,
    person_row,
    resource,
    spec,
)

PEOPLE = Table(PERSON)
SCOPED = spec(PERSON, {"id_number": "token"}, ({"field": "region_code", "prefix": ["3301"]},))
RESOURCE = resource(PERSON, PERSON_VIEW, SCOPED)
TOPIC, PARTITION = RESOURCE.raw_topic, 2
ALL, NEAR = (view.topic for view in RESOURCE.views)
MODULUS = 1 << 64
WRITTEN_MS = NOW_MS - 120_000


def record(offset: int, row: dict[str, Any], op: Op = Op.CREATE, **changes: Any) -> Record:
    made = header(op, position=Position(1, 1000 + offset, 0), **changes)
    before, after = (None, row) if op is Op.CREATE else (row, None)
    value = PEOPLE.value(op, before, after, made.source_ms)
    return Record(offset, WRITTEN_MS, PEOPLE.key(row), value, made.pack())


def block(*records: Record) -> ReadBlock:
    made = ReadBlock()
    for one in records:
        made.add(one)
    return made


def process(
    *records: Record,
    schema_of: Any = PEOPLE.schema_of,
    public: str = STEWARD_PUBLIC,
    outgoing: WriteBlock | None = None,
) -> Processed:
    return process_batch(
        block(*records),
        TOPIC,
        PARTITION,
        RESOURCE,
        Programs(RESOURCE, KEYS, schema_of),
        Sealer({RESOURCE.name: public}),
        writer="stream-1",
        plan_version=7,
        now_ms=NOW_MS + 250,
        outgoing=outgoing,
    )


NEAR_ROW = person_row()
FAR_ROW = person_row(id_number=id_number(2), region_code="320102")
BAD_ROW = person_row(id_number=id_number(3), mobile="123")


def test_records_go_to_the_partition_they_came_from_with_position_and_plan_version() -> None:
    done = process(record(10, NEAR_ROW))
    assert [(out.topic, out.partition) for out in done.outgoing] == [(ALL, PARTITION), (NEAR, PARTITION)]
    for out in done.outgoing:
        stamped = RecordHeader.unpack(out.header)
        assert stamped is not None
        assert (stamped.position, stamped.op) == (Position(1, 1010, 0), Op.CREATE)
        assert (stamped.plan_version, stamped.source_ms, stamped.tombstone) == (7, NOW_MS, False)
    assert (done.next_offset, done.halt) == (11, None)


def test_a_block_used_before_holds_what_a_new_one_would() -> None:
    used = process(*(record(at, FAR_ROW | {"person_id": at + 1}) for at in range(20))).outgoing
    used.clear()
    assert (list(used), used.topics) == ([], [])
    again = (record(30, NEAR_ROW), record(31, BAD_ROW), record(32, FAR_ROW, Op.DELETE))
    reused, fresh = process(*again, outgoing=used), process(*again)
    assert reused.outgoing is used
    assert [out for out in reused.outgoing if out.topic in (ALL, NEAR)] == [
        out for out in fresh.outgoing if out.topic in (ALL, NEAR)
    ]
    assert len(reused.outgoing) == len(fresh.outgoing)
    assert [account.encode() for account in reused.accounts] == [
        account.encode() for account in fresh.accounts
    ]


def test_delete_and_its_tombstone_carry_one_position_and_only_the_second_the_flag() -> None:
    done = process(record(10, NEAR_ROW, Op.DELETE))
    stamps = [RecordHeader.unpack(out.header) for out in done.outgoing if out.topic == ALL]
    assert [stamp and stamp.tombstone for stamp in stamps] == [False, True]
    assert len({stamp and stamp.position for stamp in stamps}) == 1
    assert [out.value is None for out in done.outgoing if out.topic == ALL] == [False, True]
    assert done.accounts[0].views[ALL].records == 2
    assert done.accounts[0].views[ALL].delivered == 1


def test_row_leaving_the_scope_is_stamped_as_the_delete_it_becomes() -> None:
    made = header(Op.UPDATE)
    value = PEOPLE.value("u", NEAR_ROW, NEAR_ROW | {"region_code": "320102"})
    done = process(Record(5, WRITTEN_MS, PEOPLE.key(NEAR_ROW), value, made.pack()))
    ops = {out.topic: stamp.op for out in done.outgoing if (stamp := RecordHeader.unpack(out.header))}
    assert ops == {ALL: Op.UPDATE, NEAR: Op.DELETE}


def test_refused_record_is_sealed_for_its_steward_and_nothing_of_it_is_in_clear() -> None:
    bad = record(10, BAD_ROW)
    done = process(bad)
    (out,) = done.outgoing
    entry = QuarantineRecord.decode(out.value or b"")
    assert (out.topic, out.partition) == (RESOURCE.quarantine_topic, PARTITION)
    assert (entry.reason, entry.field, entry.offset, entry.stage) == (
        Reason.CN_MOBILE,
        "mobile",
        10,
        "process",
    )
    assert (entry.plan_version, entry.at_ms) == (7, NOW_MS + 250)
    assert entry.open(read_key(STEWARD_PRIVATE, "test")) == (bad.key, bad.value)
    written = (out.key or b"") + (out.value or b"") + (out.header or b"")
    for secret in (BAD_ROW["id_number"], BAD_ROW["name"], "330106"):
        assert secret.encode() not in written
    assert RecordHeader.unpack(out.key) is not None


def test_quarantine_keeps_the_header_as_it_came_so_that_a_redrive_can_use_it() -> None:
    bad = record(10, BAD_ROW)
    entry = QuarantineRecord.decode(process(bad).outgoing.record(0).value or b"")
    assert entry.header == bad.header


def for_one_view(view: int, since: int, key: bool = True) -> Record:
    whole = record(10, NEAR_ROW, Op.CREATE)
    number = view_number(RESOURCE.views[view].name)
    stamped = header(Op.CREATE, position=Position(1, 1010, 0), only_view=number, plan_version=since).pack()
    return whole._replace(header=stamped, key=whole.key if key else None)


@pytest.mark.parametrize(("view", "other"), [(0, 1), (1, 0)])
def test_a_row_for_one_view_is_filtered_for_the_others_and_balances(view: int, other: int) -> None:
    done = process(record(9, NEAR_ROW), for_one_view(view, 7), record(11, NEAR_ROW))
    mine, theirs = (RESOURCE.views[at].topic for at in (view, other))
    assert Counter(out.topic for out in done.outgoing) == {mine: 3, theirs: 2}
    (account,) = done.accounts
    assert (account.views[mine].delivered, account.views[theirs].delivered) == (3, 2)
    assert (account.views[theirs].filtered, account.changes) == (1, 3)
    stamps = [RecordHeader.unpack(out.header) for out in done.outgoing]
    assert {(stamp.only_view, stamp.plan_version) for stamp in stamps if stamp} == {(None, 7)}


@pytest.mark.parametrize("key", [True, False])
def test_rows_for_a_view_of_a_later_plan_are_waited_for(key: bool) -> None:
    done = process(record(9, NEAR_ROW), for_one_view(0, 8, key=key), record(11, NEAR_ROW))
    assert done.halt is not None
    assert (done.halt.offset, done.next_offset) == (10, 10)
    assert "plan version 8" in done.halt.reason


def test_the_mark_that_such_rows_begin_is_for_nobody_and_balances() -> None:
    done = process(for_one_view(0, 7, key=False))
    (account,) = done.accounts
    assert (len(done.outgoing), account.changes) == (0, 1)
    assert [account.views[topic].filtered for topic in (ALL, NEAR)] == [1, 1]


def test_rows_for_a_view_that_is_gone_are_for_nobody() -> None:
    stamped = header(Op.CREATE, only_view=view_number("gone"), plan_version=3).pack()
    done = process(record(10, NEAR_ROW)._replace(header=stamped))
    assert (len(done.outgoing), done.halt) == (0, None)


@pytest.mark.parametrize(
    "broken",
    [
        lambda r: r._replace(header=None),
        lambda r: r._replace(header=b"short"),
        lambda r: r._replace(key=b"\xff", value=b"random", header=None),
        lambda r: r._replace(key=None, value=None, header=None),
    ],
)
def test_record_this_bus_did_not_write_is_foreign(broken: Any) -> None:
    done = process(broken(record(10, NEAR_ROW)))
    (out,) = done.outgoing
    entry = QuarantineRecord.decode(out.value or b"")
    assert entry.reason is Reason.FOREIGN
    synthesised = RecordHeader.unpack(entry.header)
    assert synthesised is not None
    assert synthesised.position == Position(0, 10, PARTITION)
    (account,) = done.accounts
    assert (account.foreign, account.changes, account.refused, account.views) == (1, 0, {}, {})
    assert account.minute == (NOW_MS - 120_000) // 60_000


def test_foreign_record_without_a_timestamp_is_booked_now() -> None:
    foreign = Record(10, NONE, None, b"x", None)
    assert process(foreign).accounts[0].minute == (NOW_MS + 250) // 60_000


@pytest.mark.parametrize(("key", "value"), [(b"k", b"\x00\x00"), (b"", b""), (b"abcdef", None), (None, None)])
def test_our_record_with_broken_bytes_is_malformed(key: bytes | None, value: bytes | None) -> None:
    done = process(Record(10, WRITTEN_MS, key, value, header(Op.CREATE).pack()))
    assert done.accounts[0].refused == {(Reason.MALFORMED, ""): 1}
    assert done.next_offset == 11


def missing(schema_id: int) -> dict[str, Any]:
    raise LookupError(schema_id)


def unreachable(_schema_id: int) -> dict[str, Any]:
    message = "registry does not answer"
    raise TransientError(message)


def renamed(schema_id: int) -> dict[str, Any]:
    return Table(PERSON, mobile=None).schema_of(schema_id)


@pytest.mark.parametrize(
    ("schema_of", "told"),
    [
        (missing, "schema id 12 is not in the registry"),
        (unreachable, "does not answer"),
        (renamed, "no column 'mobile'"),
    ],
)
def test_record_that_cannot_be_judged_now_halts_there(schema_of: Any, told: str) -> None:
    done = process(record(10, NEAR_ROW), record(11, NEAR_ROW), schema_of=schema_of)
    assert done.halt is not None
    assert done.halt.offset == 10
    assert told in done.halt.reason
    assert (done.next_offset, list(done.outgoing), done.accounts) == (10, [], [])


def test_halt_keeps_what_came_before_and_leaves_what_comes_after() -> None:
    stranger = record(11, NEAR_ROW)
    unknown = Record(11, WRITTEN_MS, stranger.key, b"\x00\x00\x00\x03\xe7rest", header(Op.CREATE).pack())

    def schema_of(schema_id: int) -> dict[str, Any]:
        return missing(schema_id) if schema_id == 999 else PEOPLE.schema_of(schema_id)

    done = process(record(10, NEAR_ROW), unknown, record(12, NEAR_ROW), schema_of=schema_of)
    assert done.halt is not None
    assert (done.halt.offset, done.next_offset) == (11, 11)
    assert {stamp.position.commit for out in done.outgoing if (stamp := RecordHeader.unpack(out.header))} == {
        1010
    }
    assert sum(account.changes for account in done.accounts) == 1


def test_failed_look_up_is_tried_again_and_a_good_one_kept() -> None:
    answers: list[Any] = [unreachable, PEOPLE.schema_of, PEOPLE.schema_of]
    programs = Programs(RESOURCE, KEYS, lambda schema_id: answers.pop(0)(schema_id))
    with pytest.raises(TransientError):
        programs.get(RAW_VALUE_ID, 11)
    assert programs.get(RAW_VALUE_ID, 11) is programs.get(RAW_VALUE_ID, 11)


def test_nothing_is_refused_in_clear_when_it_cannot_be_sealed() -> None:
    no_key = Sealer({})
    with pytest.raises(SealError):
        process_batch(
            block(record(10, BAD_ROW)),
            TOPIC,
            PARTITION,
            RESOURCE,
            Programs(RESOURCE, KEYS, PEOPLE.schema_of),
            no_key,
            writer="w",
            plan_version=1,
            now_ms=NOW_MS,
        )


def test_one_account_for_each_source_minute_with_its_own_offsets() -> None:
    times = [NOW_MS, NOW_MS + 60_000, NOW_MS]
    done = process(*(record(10 + at, NEAR_ROW, source_ms=ms) for at, ms in enumerate(times)))
    figures = [
        (account.minute, account.changes, account.first_offset, account.last_offset)
        for account in done.accounts
    ]
    minute = NOW_MS // 60_000
    assert figures == [(minute, 2, 10, 12), (minute + 1, 1, 11, 11)]
    account = done.accounts[0]
    assert (account.stage, account.writer, account.resource) == ("process", "stream-1", RESOURCE.name)
    assert (account.topic, account.partition, account.plan_version) == (TOPIC, PARTITION, 7)
    assert account.made_at_ms == NOW_MS + 250


def test_empty_batch_is_nothing() -> None:
    done = process()
    assert (done.next_offset, list(done.outgoing), done.accounts, done.halt) == (0, [], [], None)


KINDS = st.sampled_from(["near", "far", "bad", "foreign", "garbage", "deleted", "truncated"])


def make(kind: str, offset: int) -> Record:
    position = Position(1, 1000 + offset, 0)
    match kind:
        case "near":
            return record(offset, NEAR_ROW, source_ms=NOW_MS + 40_000 * offset)
        case "far":
            return record(offset, FAR_ROW)
        case "bad":
            return record(offset, BAD_ROW)
        case "deleted":
            return record(offset, NEAR_ROW, Op.DELETE)
        case "truncated":
            packed = header(Op.TRUNCATE, position=position).pack()
            return Record(offset, WRITTEN_MS, None, PEOPLE.value("t", None, None), packed)
        case "garbage":
            return Record(offset, WRITTEN_MS, b"k", b"v", header(Op.CREATE, position=position).pack())
        case _:
            return Record(offset, WRITTEN_MS, b"k", b"v", None)


@given(st.lists(KINDS, max_size=12), st.sampled_from([1, 3, 1_000]))
@settings(max_examples=60)
def test_accounts_balance_for_any_batch_in_any_portions(kinds: list[str], portion: int) -> None:
    records = [make(kind, offset) for offset, kind in enumerate(kinds)]
    with patch.object(processing, "_PORTION", portion):
        done = process(*records)
    assert done.next_offset == len(records)
    own = [(r, h) for r in records if (h := RecordHeader.unpack(r.header))]
    assert sum(account.changes for account in done.accounts) == len(own)
    assert sum(account.foreign for account in done.accounts) == len(records) - len(own)
    expected = sum(content_hash(h.position, r.key, r.value) for r, h in own) % MODULUS
    assert sum(account.content_sum for account in done.accounts) % MODULUS == expected
    for account in done.accounts:
        refused = sum(account.refused.values())
        for view in account.views.values():
            assert account.changes == view.delivered + view.filtered + refused
            sums = view.delivered_sum + view.filtered_sum + account.refused_sum
            assert sums % MODULUS == account.position_sum
        if not account.views:
            assert (refused, account.refused_sum) == (account.changes, account.position_sum)
        assert sum(account.delays.values()) == account.changes
    for topic in (ALL, NEAR):
        written = [out for out in done.outgoing if out.topic == topic]
        booked = [account.views[topic] for account in done.accounts if topic in account.views]
        assert sum(view.records for view in booked) == len(written)
        hashes = [
            content_hash(stamp.position, out.key, out.value)
            for out in written
            if (stamp := RecordHeader.unpack(out.header))
        ]
        assert sum(view.content_sum for view in booked) % MODULUS == sum(hashes) % MODULUS
    quarantined = [out for out in done.outgoing if out.topic == RESOURCE.quarantine_topic]
    refused_all = sum(sum(account.refused.values()) + account.foreign for account in done.accounts)
    assert len(quarantined) == refused_all


@pytest.mark.parametrize("view", [0, 1])
def test_rows_for_one_view_come_from_the_kernel_as_from_the_reference(view: int) -> None:
    number = view_number(RESOURCE.views[view].name)

    def marked(offset: int, row: dict[str, Any], view: int = number) -> Record:
        made = record(offset, row)
        stamped = header(Op.CREATE, position=Position(1, 1000 + offset, 0), only_view=view, plan_version=7)
        return made._replace(header=stamped.pack())

    rows = [NEAR_ROW, FAR_ROW, BAD_ROW, NEAR_ROW, FAR_ROW]
    records = [marked(10 + offset, row) for offset, row in enumerate(rows)]
    records += [record(20, NEAR_ROW), marked(21, NEAR_ROW), marked(22, NEAR_ROW, view_number("gone"))]
    fast = process(*records)
    with patch.object(processing, "run_for_view", lambda _kernel, _batch, first, *_: first):
        slow = process(*records)
    assert [quarantined(out) for out in fast.outgoing] == [quarantined(out) for out in slow.outgoing]
    assert fast.accounts == slow.accounts
    (account,) = fast.accounts
    for topic in (ALL, NEAR):
        figures = account.views[topic]
        assert figures.delivered + figures.filtered + sum(account.refused.values()) == len(records)


def test_a_row_for_one_view_that_says_it_is_a_tombstone_is_refused() -> None:
    """It has a value all the same; the kernel must see that mark too."""
    number = view_number(RESOURCE.views[0].name)
    marks: dict[str, Any] = {"only_view": number, "plan_version": 7, "tombstone": True}
    stamped = header(Op.CREATE, position=Position(1, 1010, 0), **marks).pack()
    done = process(record(9, NEAR_ROW), for_one_view(0, 7)._replace(header=stamped))
    (account,) = done.accounts
    assert account.refused == {(Reason.MALFORMED, ""): 1}


def quarantined(out: Outgoing) -> tuple[Any, ...]:
    """Return a record to write, without the seal of a refused one, which is never the same."""
    return (*out[:3], out.header) if out.topic == RESOURCE.quarantine_topic else tuple(out)
