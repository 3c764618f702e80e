"""The kernel, compiled and plain, against the reference: it delivers the same bytes, or leaves the record."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.block import Record
from exchange.change import Op
from exchange.contract import Contract
from exchange.engine import codes
from exchange.engine.desk import Desk
from exchange.engine.flat import Layout, compile_layout
from exchange.engine.memory import Memory
from exchange.reference import MAX_RECORD_BYTES
from tests.unit.exchange.fuzz_kernel import run_seed
from tests.unit.exchange.generated import Case, make_case
from tests.unit.exchange.generated_mutations import mutated
from tests.unit.exchange.kernel_checker import (
    FORMS,
    PARTITION,
    Differs,
    Subject,
    TightBlock,
    kernels_of,
    read_block,
)
from tests.unit.exchange.natively import CALLED, both, is_compiled
from tests.unit.exchange.samples import (
    ENROLMENT,
    KEYS,
    LEGAL_PERSON,
    PERSON,
    PERSON_VIEW,
    RAW_KEY_ID,
    RAW_VALUE_ID,
    ROWS,
    Table,
    header,
    person_row,
    resource,
    spec,
)

LABEL = {"label": {"zh": "物", "en": "item"}, "classification": 1}
IDS = (RAW_VALUE_ID, RAW_KEY_ID)


def test_both_forms_are_what_they_are_called() -> None:
    compiled = {is_compiled(both(name)[0]) for name in (*CALLED, "exchange.kernel")}
    assert len(compiled) == 1, "compiled modules call each other: all of them are compiled, or none"
    assert not is_compiled(FORMS[1])
    assert FORMS[0].Kernel is not FORMS[1].Kernel
    assert FORMS[1].Gate.__module__.endswith("_uncompiled")


# Generated cases


@given(st.integers(0, 1 << 32))
@settings(max_examples=30)
def test_whatever_comes_is_delivered_as_the_reference_does_or_left(seed: int) -> None:
    r = random.Random(seed)
    subject = Subject(make_case(r))
    records = subject.case.records(r, 15)
    subject.check(records, filler=r)
    subject.check_batch(records)


def test_no_healthy_record_is_left_to_the_reference() -> None:
    deliverable, taken = 0, [0, 0]
    for seed in range(40):
        r = random.Random(seed)
        subject = Subject(make_case(r))
        subject.check(subject.case.records(r, 12, tame=True))
        if subject.kernels:
            deliverable += subject.deliverable
            taken = [taken[form] + subject.taken[form] for form in (0, 1)]
    assert deliverable > 300
    assert taken[0] == taken[1]
    assert taken[0] > 0.97 * deliverable, (taken, deliverable)


@pytest.mark.parametrize("contract", [PERSON, LEGAL_PERSON, ENROLMENT], ids=lambda contract: contract.name)
def test_records_of_the_contracts_in_avro_are_all_taken(contract: Contract) -> None:
    table = Table(contract)
    view = PERSON_VIEW if contract is PERSON else spec(contract, dict.fromkeys(contract.key, "token"))
    row = ROWS[contract.name]()
    records = [Record(1, 1, table.key(row), table.value("c", None, row), header(Op.CREATE).pack())] * 3
    subject = Subject(as_case(table, view))
    subject.check(records)
    assert subject.deliverable == 3
    assert subject.taken == {0: 3, 1: 3}


@pytest.mark.parametrize("seed", range(40))
def test_broken_bytes_never_harm(seed: int) -> None:
    figures = run_seed(1_000_000 + seed, 500)
    assert figures.cases == 500


def test_what_lies_behind_a_record_is_of_no_consequence() -> None:
    for seed in range(20):
        r = random.Random(seed)
        subject = Subject(make_case(r, most_fields=5))
        seeds = subject.case.records(r, 10)
        records = [mutated(r, r.choice(seeds), r.choice(seeds)) for _ in range(20)]
        for kernel in subject.kernels[:1]:
            outcomes = []
            for filler in range(4):
                block = read_block(records, random.Random(filler))
                out, filtered, at, ends = TightBlock(), TightBlock(), 0, []
                while at < block.count:
                    at = kernel.run(block, at, block.count, out, filtered, PARTITION, 1) + 1
                    ends.append(at)
                outcomes.append((ends, list(out)))
            assert all(outcome == outcomes[0] for outcome in outcomes)


# Room


def small_contract(*fields: dict[str, Any]) -> Contract:
    document = {
        "type": "record",
        "namespace": "shop",
        "name": "item",
        "label": LABEL["label"],
        "contractVersion": 1,
        "key": ["id"],
        "fields": [{"name": "id", "type": "long"} | LABEL, *(field | LABEL for field in fields)],
    }
    return Contract.parse(document, "test")


def as_case(table: Table, *views: Any) -> Case:
    """A case of a given table; it makes no records."""
    planned = resource(table.contract, *views)
    return Case(table.contract, planned, [], [], [], table.value_schema, table.key_schema)


def one_record(table: Table, row: dict[str, Any]) -> Record:
    return Record(1, 1, table.key(row), table.value("c", None, row), header(Op.CREATE).pack())


JSON = {"type": "string", "connect.name": "io.debezium.data.Json"}
TEXT = {"name": "text", "type": "string"}
SHARED = [TEXT, *({"name": name, "type": "string", "source": "text"} for name in ("b", "c", "d"))]
WIDE = "[%s1]"
NUMBERS = {"name": "numbers", "type": {"type": "array", "items": "double"}}


@pytest.mark.parametrize(
    ("contract", "columns", "row"),
    [
        (small_contract(*SHARED), {}, {"text": "y" * 5000}),
        (
            small_contract(NUMBERS, TEXT),
            {"numbers": JSON},
            {"numbers": f"[{'1,' * 500}1]", "text": "y" * 6000},
        ),
        (small_contract(NUMBERS), {"numbers": JSON}, {"numbers": f"[{'1,' * 3000}1]"}),
    ],
    ids=["one column in four fields", "long text behind a wide array", "wide array"],
)
def test_nothing_is_written_beyond_a_block_whatever_its_room(
    contract: Contract, columns: dict[str, Any], row: dict[str, Any]
) -> None:
    table = Table(contract, **columns)
    subject = Subject(as_case(table, spec(contract, dict.fromkeys(contract.fields, "clear"))))
    block = read_block([one_record(table, {"id": 1} | row)])
    for kernel in reversed(subject.kernels):  # the plain one first: it does no harm
        for room in range(500, 40_000, 397):
            out = TightBlock(room)
            assert kernel.run(block, 0, block.count, out, TightBlock(), PARTITION, 1) == 1
            out.check()


# Schemas that are not what they seem


def test_enums_on_one_column_each_get_their_own_symbol() -> None:
    first = {"name": "a", "type": {"type": "enum", "name": "A", "symbols": ["X", "Y"]}}
    other = {"name": "b", "type": {"type": "enum", "name": "B", "symbols": ["Y", "X"]}, "source": "a"}
    contract = small_contract(first, other)
    table = Table(contract)
    subject = Subject(as_case(table, spec(contract, dict.fromkeys(contract.fields, "clear"))))
    subject.check([one_record(table, {"id": 1, "a": "X"})])
    assert subject.taken == {0: 1, 1: 1}


@pytest.mark.parametrize("column", [["string"], {"type": ["null", "string"]}, {"type": {"type": "string"}}])
def test_union_of_one_branch_or_in_a_wrapping_is_read_as_what_it_is(column: Any) -> None:
    contract = small_contract({"name": "text", "type": ["null", "string"]})
    table = Table(contract)
    row_schema = table.value_schema["fields"][0]["type"][1]
    row_schema["fields"][1]["type"] = column
    subject = Subject(as_case(table, spec(contract, dict.fromkeys(contract.fields, "clear"))))
    branch = {"[": b"\0", "n": b"\x02"}.get(str(column)[0], b"\x02" if "null" in str(column) else b"")
    tail = b"\x02\x02" + branch + b"\x04hi"
    key = table.key({"id": 1})
    value = key[:4] + bytes([RAW_VALUE_ID]) + b"\0" + tail + _envelope_end()
    subject.check([Record(1, 1, key, value, header(Op.CREATE).pack())])
    assert subject.deliverable == 1
    assert subject.taken == {0: 1, 1: 1}


def _envelope_end() -> bytes:
    """Return source, op, ts_ms and transaction of a create."""
    table = Table(small_contract())
    whole = table.value("c", None, {"id": 1})
    return whole[whole.index(b"\x02\x02") + 2 :]


def test_images_of_two_types_are_left_to_the_reference() -> None:
    contract = small_contract({"name": "a", "type": "string"}, {"name": "b", "type": "string"})
    table = Table(contract)
    before = table.value_schema["fields"][0]["type"][1]
    after = before | {"name": "Other", "fields": [before["fields"][0], *reversed(before["fields"][1:])]}
    table.value_schema["fields"][1]["type"] = ["null", after]
    planned = resource(contract, spec(contract, dict.fromkeys(contract.fields, "clear")))
    given = (planned, table.value_schema, table.key_schema, IDS, KEYS, MAX_RECORD_BYTES, Memory())
    assert compile_layout(*given) is None


# The checker finds faults that are planted


def person_subject(spoil: Callable[[Layout], None] | None = None) -> Subject:
    subject = Subject(as_case(Table(PERSON), PERSON_VIEW, NEAR))
    if spoil is not None:
        assert subject.layout is not None
        spoil(subject.layout)
        subject.kernels = kernels_of(subject.layout)
    return subject


NEAR = spec(PERSON, {"id_number": "token"}, ({"field": "region_code", "prefix": ["3301"]},))


def person_records(**changes: Any) -> list[Record]:
    table, row = Table(PERSON), person_row(**changes)
    return [Record(1, 1, table.key(row), table.value("c", None, row), header(Op.CREATE).pack())]


def field_row(layout: Layout, name: str) -> int:
    return list(PERSON.fields).index(name) * codes.FIELD_WIDTH


def mask_off(layout: Layout) -> None:
    """Show the name, which is too short for the gate."""
    codes_of_ops = layout.numbers["ops"][:: codes.OP_WIDTH]
    layout.numbers["ops"][codes_of_ops.index(codes.PARTIAL) * codes.OP_WIDTH] = codes.COPY


def gate_off(layout: Layout) -> None:
    views = layout.numbers["views"]
    for at in range(codes.HIDDEN, len(views), codes.VIEW_WIDTH):
        views[at] = 0


def range_off(layout: Layout) -> None:
    layout.numbers["fields"][field_row(layout, "household_size") + codes.TESTS] = 0


def rule_off(layout: Layout) -> None:
    layout.numbers["fields"][field_row(layout, "mobile") + codes.TESTS] = 0


def scope_off(layout: Layout) -> None:
    views = layout.numbers["views"]
    for at in range(codes.CONDITION_COUNT, len(views), codes.VIEW_WIDTH):
        views[at] = 0


def required_off(layout: Layout) -> None:
    layout.numbers["fields"][field_row(layout, "name") + codes.REQUIRED] = 0


FAULTS: list[tuple[Callable[[Layout], None], dict[str, Any]]] = [
    (mask_off, {"note": "x"}),
    (gate_off, {"note": "致电 １３８-5711-2345"}),
    (range_off, {"household_size": 0}),
    (rule_off, {"mobile": "123"}),
    (scope_off, {"region_code": "320102"}),
    (required_off, {"name": None}),
]


@pytest.mark.parametrize(("spoil", "columns"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_checker_finds_a_planted_fault(spoil: Callable[[Layout], None], columns: dict[str, Any]) -> None:
    records = person_records(**columns)
    person_subject().check(records)
    for form in (0, 1):
        with pytest.raises(Differs):
            person_subject(spoil).check(records, forms=(form,))


def test_checker_finds_a_filtered_change_that_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    records = person_records(region_code="320102") * 2
    person_subject().check_batch(records)
    book = Desk.book
    monkeypatch.setattr(
        Desk,
        "book",
        lambda desk, first, last, written: book(desk, first, last, (written[0], desk.filtered.count)),
    )
    with pytest.raises(Differs, match="accounts"):
        person_subject().check_batch(records)


def test_checker_finds_a_byte_beyond_the_room() -> None:
    block = TightBlock(100)
    block.check()
    block.data += b"x"
    with pytest.raises(Differs, match="beyond"):
        block.check()


class Careless:
    """A kernel that takes a record and leaves what it wrote of another one."""

    def __init__(self, trace: bool) -> None:
        self.trace = trace

    def run(self, block: Any, first: int, last: int, out: Any, *_: Any) -> int:
        if self.trace:
            out.reserve(1, 1)
            out.used_bytes += 1
        return first if self.trace else last


@pytest.mark.parametrize("trace", [True, False])
def test_checker_finds_traces_and_records_that_must_not_be_taken(trace: bool) -> None:
    subject = person_subject()
    subject.kernels = [Careless(trace)]
    with pytest.raises(Differs):
        subject.check(person_records(mobile="123"), forms=(0,))
