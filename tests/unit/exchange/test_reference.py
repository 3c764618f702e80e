from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.change import Op, Reason, Rejected
from exchange.contract import Contract
from exchange.encoding.wire import schema_id
from exchange.engine.render import Renderer
from exchange.errors import ConfigError, ContractError
from exchange.fieldtype import decimal_bytes
from exchange.keys import ViewKeys
from exchange.reference import ViewOutput, compile_program
from tests.unit.exchange.samples import (
    CONTRACTS,
    ENROLMENT,
    KEYS,
    NOW_MS,
    PERSON,
    PERSON_VIEW,
    ROWS,
    Table,
    decoded,
    enrolment_row,
    header,
    id_number,
    person_row,
    program,
    resource,
    spec,
)

PEOPLE = Table(PERSON)
PERSON_PROGRAM = program(PEOPLE, PERSON_VIEW)
SCOPED = spec(
    PERSON, {"id_number": "token", "region_code": "clear"}, ({"field": "region_code", "prefix": ["3301"]},)
)
SCOPED_PROGRAM = program(PEOPLE, SCOPED)
EVERYTHING = spec(PERSON, {name: {"kind": "clear", "reason": "test"} for name in PERSON.fields})
EVERYTHING_PROGRAM = program(PEOPLE, EVERYTHING)

Outcome = tuple[list[ViewOutput], ...] | Rejected


def apply(
    op: Op, before: dict[str, Any] | None, after: dict[str, Any] | None, program_: Any = PERSON_PROGRAM
) -> Outcome:
    row = after or before or {}
    outcome: Outcome = program_.apply(header(op), PEOPLE.key(row), PEOPLE.value(op, before, after))
    return outcome


def create(program_: Any = PERSON_PROGRAM, **columns: Any) -> Outcome:
    return apply(Op.CREATE, None, person_row(**columns), program_)


def only(outcome: Outcome) -> ViewOutput:
    assert isinstance(outcome, tuple), outcome
    return outcome[0][0]


def test_created_row_arrives_masked_in_the_views_envelope() -> None:
    output = only(create())
    key, value = decoded(PERSON, PERSON_VIEW, output)
    assert (schema_id(output.key or b""), schema_id(output.value or b"")) == (100, 101)
    assert key == {"id_number": value["after"]["id_number"]}
    assert value["op"] == "c"
    assert value["before"] is None
    assert value["source"] == {"name": "population.person", "ts_ms": NOW_MS, "snapshot": False}
    assert value["ts_ms"] == NOW_MS + 5
    assert value["after"] | {"id_number": ""} == {
        "id_number": "",
        "name": "王**",
        "sex_code": "1",
        "birth_date": "1990",
        "ethnic_code": None,
        "mobile": "138******45",
        "email": "***",
        "region_code": "330106",
        "address": {"region_code": "3301", "postcode": "310012"},
        "languages": ["zh", "en"],
        "household_size": 2,
        "annual_income": decimal_bytes(12_000_000),
        "status": "NORMAL",
        "note": "材料齐全",
        "registered_at": "2017-07",
        "updated_at": 1_700_000_000_000_000,
    }


def test_snapshot_row_is_marked_as_one() -> None:
    _, value = decoded(PERSON, PERSON_VIEW, only(apply(Op.READ, None, person_row())))
    assert (value["op"], value["source"]["snapshot"]) == ("r", True)


def test_delete_is_a_masked_before_image_and_a_tombstone_with_the_same_key() -> None:
    outcome = apply(Op.DELETE, person_row(), None)
    assert isinstance(outcome, tuple)
    delete, tombstone = outcome[0]
    _, value = decoded(PERSON, PERSON_VIEW, delete)
    assert (value["op"], value["before"]["name"], value["after"]) == ("d", "王**", None)
    assert tombstone == ViewOutput(delete.key, None, tombstone=True, op=Op.DELETE)


def test_delete_of_a_bare_key_still_reaches_the_view() -> None:
    bare = dict.fromkeys(person_row()) | {"id_number": id_number()}
    outcome = apply(Op.DELETE, bare, None)
    _, value = decoded(PERSON, PERSON_VIEW, only(outcome))
    assert (value["op"], value["before"]) == ("d", None)


def test_truncate_goes_to_every_view_without_key_or_images() -> None:
    two = program(PEOPLE, PERSON_VIEW, SCOPED)
    outcome = two.apply(header(Op.TRUNCATE), None, PEOPLE.value("t", None, None))
    assert isinstance(outcome, tuple)
    assert [len(records) for records in outcome] == [1, 1]
    key, value = decoded(PERSON, PERSON_VIEW, outcome[0][0])
    assert (key, value["op"], value["before"], value["after"]) == (None, "t", None, None)


def test_truncate_needs_no_key_schema() -> None:
    keyless = compile_program(resource(PERSON, PERSON_VIEW), PEOPLE.value_schema, None, KEYS)
    assert isinstance(keyless.apply(header(Op.TRUNCATE), None, PEOPLE.value("t", None, None)), tuple)
    refused = keyless.apply(
        header(Op.CREATE), PEOPLE.key(person_row()), PEOPLE.value("c", None, person_row())
    )
    assert refused == Rejected(Reason.MALFORMED)


IN, OUT = {"region_code": "330106"}, {"region_code": "320102"}
INVALID = IN | {"mobile": "not a mobile"}


@pytest.mark.parametrize(
    ("op", "before", "after", "seen"),
    [
        (Op.CREATE, None, IN, "c"),
        (Op.CREATE, None, OUT, ""),
        (Op.READ, None, IN, "r"),
        (Op.READ, None, OUT, ""),
        (Op.UPDATE, IN, IN, "u"),
        (Op.UPDATE, IN, OUT, "d"),
        (Op.UPDATE, OUT, IN, "c"),
        (Op.UPDATE, OUT, OUT, ""),
        (Op.UPDATE, None, IN, "u"),
        (Op.UPDATE, None, OUT, "d"),
        (Op.UPDATE, INVALID, IN, "u"),
        (Op.UPDATE, INVALID, OUT, "d"),
        (Op.DELETE, IN, None, "d"),
        (Op.DELETE, OUT, None, ""),
        (Op.DELETE, INVALID, None, "d"),
        (Op.DELETE, None, None, "d"),
    ],
)
def test_scope_move_is_the_event_a_view_needs(
    op: Op, before: dict[str, Any] | None, after: dict[str, Any] | None, seen: str
) -> None:
    old = None if before is None else person_row(**before)
    new = None if after is None else person_row(**after)
    outcome = SCOPED_PROGRAM.apply(header(op), PEOPLE.key(person_row()), PEOPLE.value(op, old, new))
    assert isinstance(outcome, tuple)
    values = [decoded(PERSON, SCOPED, output)[1] for output in outcome[0]]
    assert [value and value["op"] for value in values] == (
        [] if not seen else ["d", None] if seen == "d" else [seen]
    )
    if seen:
        assert (values[0]["after"] is not None) == (seen != "d")
        assert (values[0]["before"] is not None) == (seen in "ud" and before in (IN, OUT) and before is IN)
        assert {output.op.value for output in outcome[0]} == {seen}


def test_null_in_the_scope_field_is_out_of_scope() -> None:
    scoped = spec(PERSON, {"id_number": "token"}, ({"field": "ethnic_code", "values": ["01"]},))
    assert create(program(PEOPLE, scoped), ethnic_code=None) == ([],)
    assert only(create(program(PEOPLE, scoped)))


def test_scope_can_be_judged_inside_a_nested_record_and_by_enum() -> None:
    rows = ({"field": "address.region_code", "prefix": ["33"]}, {"field": "status", "values": ["NORMAL"]})
    scoped = program(PEOPLE, spec(PERSON, {"id_number": "token"}, rows))
    assert only(create(scoped))
    assert create(scoped, status="DECEASED") == ([],)
    assert create(scoped, address=None) == ([],)


BROKEN_RULES: list[tuple[dict[str, Any], Reason, str]] = [
    ({"name": None}, Reason.REQUIRED, "name"),
    ({"name": "  "}, Reason.REQUIRED, "name"),
    ({"name": "王"}, Reason.LENGTH, "name"),
    ({"sex_code": "3"}, Reason.CODE, "sex_code"),
    ({"birth_date": 40_000}, Reason.NOT_FUTURE, "birth_date"),
    ({"birth_date": -40_000}, Reason.RANGE, "birth_date"),
    ({"birth_date": 2**31 - 1}, Reason.UNREPRESENTABLE, "birth_date"),
    ({"mobile": "1385711234"}, Reason.CN_MOBILE, "mobile"),
    ({"email": "a.b.c.d"}, Reason.EMAIL, "email"),
    ({"region_code": "33010"}, Reason.PATTERN, "region_code"),
    ({"household_size": 0}, Reason.RANGE, "household_size"),
    ({"annual_income": decimal_bytes(-1)}, Reason.RANGE, "annual_income"),
    ({"annual_income": decimal_bytes(10**14)}, Reason.UNREPRESENTABLE, "annual_income"),
    ({"status": "normal"}, Reason.CODE, "status"),
    ({"languages": ["zh", None]}, Reason.REQUIRED, "languages[]"),
    ({"languages": ["chinese"]}, Reason.PATTERN, "languages"),
    ({"registered_at": 2**62}, Reason.UNREPRESENTABLE, "registered_at"),
    ({"address": "[]"}, Reason.TYPE, "address"),
    ({"address": "{"}, Reason.TYPE, "address"),
    ({"address": "[" * 100_000}, Reason.TYPE, "address"),
    ({"address": '{"detail": "文三路"}'}, Reason.REQUIRED, "address.region_code"),
    ({"address": '{"region_code": 330106, "detail": "文三路"}'}, Reason.TYPE, "address.region_code"),
    ({"address": '{"region_code": "33", "detail": "文三路"}'}, Reason.PATTERN, "address.region_code"),
    ({"address": '{"region_code": "330106", "detail": "ab", "detail": "cd"}'}, Reason.TYPE, "address"),
    ({"address": '{"region_code": "330106", "detail": "\\ud800x"}'}, Reason.TYPE, "address.detail"),
]


@pytest.mark.parametrize(("columns", "reason", "path"), BROKEN_RULES)
def test_invalid_row_is_refused_with_reason_and_path(
    columns: dict[str, Any], reason: Reason, path: str
) -> None:
    assert create(**columns) == Rejected(reason, path)


def test_invalid_key_is_refused_whatever_the_operation() -> None:
    row = person_row(id_number="110105194912310021")
    for op, before, after in ((Op.CREATE, None, row), (Op.UPDATE, row, row), (Op.DELETE, row, None)):
        assert apply(op, before, after) == Rejected(Reason.CN_ID_NUMBER, "id_number")


def test_unknown_members_of_a_json_column_do_not_travel() -> None:
    address = {"region_code": "330106", "detail": "文三路一百号", "secret": "never shown 999"}
    output = only(create(EVERYTHING_PROGRAM, address=json.dumps(address)))
    assert b"never shown" not in (output.value or b"")


def test_decimal_in_json_stays_exact() -> None:
    document = contract_with({"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 10})
    for text, seen in (
        ("1234567890.0000000001", 12345678900000000001),
        ("1e3", 10**13),
        ("-0.5", -5 * 10**9),
    ):
        assert nested(document, text)["amount"] == decimal_bytes(seen)
    for text in ("0.00000000001", "1e11", "1e999999999", '"1"', "true", "NaN"):
        assert isinstance(nested(document, text), Rejected)


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("int", ["-2147483648", "7"], ["2147483648", "1.0", "true", '"1"']),
        ("long", ["9223372036854775807"], ["9223372036854775808", "1" * 5000]),
        ("float", ["0.1", "-3.4e38"], ["-3.5e38", "1e300", "1e999", "true"]),
        ("double", ["0.1", "3"], ["1e999", "true", "Infinity"]),
        ("boolean", ["true"], ["1", '"true"']),
        (
            {"type": "int", "logicalType": "date"},
            ['"2020-02-29"'],
            ['"2021-02-29"', '"20200229"', '"2020-W01-1"', "1"],
        ),
        (
            {"type": "long", "logicalType": "timestamp-micros"},
            ['"2020-01-01T08:00:00+08:00"', '"2020-01-01T00:00:00Z"'],
            ['"2020-01-01T00:00:00"', "1577836800", '"2020-01-01T00:00:00.0000001Z"'],
        ),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, ['"A"'], ['"B"', "1"]),
        ({"type": "array", "items": "string"}, ["[]", '["a"]'], ["{}", "[1]", "[null]", '"a"']),
    ],
)
def test_json_values_fit_their_types_or_are_refused(type_: Any, good: list[str], bad: list[str]) -> None:
    document = contract_with(type_)
    for text in good:
        assert not isinstance(nested(document, text), Rejected), text
    for text in bad:
        assert isinstance(nested(document, text), Rejected), text


def contract_with(type_: Any, top: bool = False) -> Contract:
    """Return a contract with one field `amount` of a type, inside a nested record unless at the top."""
    plain = {"classification": 1, "label": {"zh": "数", "en": "Amount"}}
    amount = {"name": "amount", "type": type_} | plain
    box = {"name": "box", "type": {"type": "record", "name": "Box", "fields": [amount]}} | plain
    return Contract.parse(
        {
            "type": "record",
            "namespace": "shop",
            "name": "item",
            "label": plain["label"],
            "contractVersion": 1,
            "key": ["id"],
            "fields": [{"name": "id", "type": "long"} | plain, amount if top else box],
        },
        "test",
    )


def nested(contract: Contract, amount: str) -> Any:
    """Return what becomes of a JSON value in the contract's nested field, as a view shows it."""
    table, view = Table(contract), spec(contract, {"id": "clear", "box": "clear"})
    row = {"id": 1, "box": f'{{"amount": {amount}}}'}
    outcome = program(table, view).apply(header(Op.CREATE), table.key(row), table.value("c", None, row))
    if isinstance(outcome, Rejected):
        assert outcome.field.startswith("box")
        return outcome
    return decoded(contract, view, outcome[0][0])[1]["after"]["box"]


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
NUMERIC = {"type": "string", "connect.name": "exchange.Numeric"}


def top_level(type_: Any, column: Any, value: Any) -> Any:
    contract = contract_with(type_, top=True)
    table, view = Table(contract, amount=column), spec(contract, {"id": "clear", "amount": "clear"})
    row = {"id": 1, "amount": value}
    outcome = program(table, view).apply(header(Op.CREATE), table.key(row), table.value("c", None, row))
    return (
        outcome
        if isinstance(outcome, Rejected)
        else decoded(contract, view, outcome[0][0])[1]["after"]["amount"]
    )


@pytest.mark.parametrize(
    ("type_", "column", "value", "seen"),
    [
        ("long", "int", 7, 7),
        ("string", {"type": "string", "logicalType": "uuid"}, "7d444840-9dc0-11d1-b245-5ffdce74fad2", ...),
        ("string", {"type": "string", "connect.name": "exchange.Text"}, "1 mon", ...),
        (
            DECIMAL,
            {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 1},
            decimal_bytes(12345),
            123450,
        ),
        (DECIMAL, NUMERIC, "12.30", 1230),
        (DECIMAL, NUMERIC, "-9999.99", -999999),
        (DECIMAL, NUMERIC, "12.301", Reason.UNREPRESENTABLE),
        (DECIMAL, NUMERIC, "10000", Reason.UNREPRESENTABLE),
        (DECIMAL, NUMERIC, "NaN", Reason.UNREPRESENTABLE),
        (DECIMAL, NUMERIC, "1e5", Reason.UNREPRESENTABLE),
        ("double", "double", float("nan"), Reason.UNREPRESENTABLE),
        ("double", "float", float("inf"), Reason.UNREPRESENTABLE),
        ("double", "double", 0.1, 0.1),
        ("boolean", "boolean", True, True),
        ("bytes", "bytes", b"\x00\xff", b"\x00\xff"),
        (
            {"type": "array", "items": ["null", "int"]},
            {"type": "array", "items": ["null", "int"]},
            [1, None],
            [1, None],
        ),
    ],
)
def test_columns_fit_exactly_or_are_refused(type_: Any, column: Any, value: Any, seen: Any) -> None:
    found = top_level(type_, column, value)
    if isinstance(seen, Reason):
        assert found == Rejected(seen, "amount")
    else:
        assert found == (value if seen is ... else decimal_bytes(seen) if type_ is DECIMAL else seen)


@pytest.mark.parametrize(
    ("type_", "column"),
    [
        ("int", "long"),
        ("int", "string"),
        ("string", "int"),
        ("string", {"type": "string", "connect.name": "io.debezium.data.Json"}),
        ("double", NUMERIC),
        ("float", "double"),
        (DECIMAL, {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 3}),
        (DECIMAL, {"type": "bytes", "logicalType": "decimal", "precision": 8, "scale": 2}),
        (DECIMAL, "bytes"),
        (
            {"type": "long", "logicalType": "timestamp-micros"},
            {"type": "long", "logicalType": "local-timestamp-micros"},
        ),
        ({"type": "int", "logicalType": "date"}, "int"),
        ("int", {"type": "int", "logicalType": "date"}),
        ({"type": "array", "items": "int"}, {"type": "array", "items": ["null", "string"]}),
        ("string", {"type": "string", "connect.name": "exchange.Numeric"}),
    ],
)
def test_column_that_could_lose_a_value_is_a_contract_error(type_: Any, column: Any) -> None:
    with pytest.raises(ContractError, match="field 'amount', column 'amount'"):
        top_level(type_, column, None)


def test_missing_column_is_a_contract_error_that_names_the_nearest() -> None:
    table = Table(PERSON, mobile=None, mobile_no="string")
    with pytest.raises(ContractError, match="Did you mean 'mobile_no'"):
        program(table, PERSON_VIEW)


def test_new_column_reaches_no_view() -> None:
    table = Table(PERSON, phone2="string")
    row = person_row(phone2="13811112222")
    outcome = program(table, EVERYTHING).apply(header(Op.CREATE), table.key(row), table.value("c", None, row))
    assert b"13811112222" not in (only(outcome).value or b"")


def test_table_with_another_primary_key_is_a_contract_error() -> None:
    other = {"type": "record", "name": "Key", "fields": [{"name": "id", "type": "long"}]}
    with pytest.raises(ContractError, match=r"primary key is \(id\), the contract's key is \(id_number\)"):
        compile_program(resource(PERSON, PERSON_VIEW), PEOPLE.value_schema, other, KEYS)


@pytest.mark.parametrize("schema", [{"type": "record", "name": "R", "fields": []}, {"type": "string"}, {}])
def test_schema_that_is_no_envelope_is_a_contract_error(schema: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match="registered schema"):
        compile_program(resource(PERSON, PERSON_VIEW), schema, PEOPLE.key_schema, KEYS)


def test_view_that_no_longer_fits_its_contract_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="unknown field 'gone'"):
        program(PEOPLE, spec(PERSON, {"id_number": "token", "gone": "clear"}))


def test_source_column_of_another_name_fills_its_field() -> None:
    document = json.loads(json.dumps(dict(PERSON.document)))
    document["fields"][1]["source"] = "xm"
    contract = Contract.parse(document, "test")
    table, view = (
        Table(contract),
        spec(contract, {"id_number": "token", "name": {"kind": "partial", "keep_first": 1}}),
    )
    row = person_row(xm="李小龙")
    outcome = program(table, view).apply(header(Op.CREATE), table.key(row), table.value("c", None, row))
    assert decoded(contract, view, only(outcome))[1]["after"]["name"] == "李**"


MALFORMED: dict[str, Callable[[], Outcome]] = {
    "no value": lambda: PERSON_PROGRAM.apply(header(Op.CREATE), PEOPLE.key(person_row()), None),
    "tombstone": lambda: PERSON_PROGRAM.apply(
        header(Op.DELETE, tombstone=True), PEOPLE.key(person_row()), PEOPLE.value("d", person_row(), None)
    ),
    "no key": lambda: PERSON_PROGRAM.apply(header(Op.CREATE), None, PEOPLE.value("c", None, person_row())),
    "key on truncate": lambda: PERSON_PROGRAM.apply(
        header(Op.TRUNCATE), PEOPLE.key(person_row()), PEOPLE.value("t", None, None)
    ),
    "other operation": lambda: PERSON_PROGRAM.apply(
        header(Op.UPDATE), PEOPLE.key(person_row()), PEOPLE.value("c", None, person_row())
    ),
    "other source time": lambda: PERSON_PROGRAM.apply(
        header(Op.CREATE, source_ms=NOW_MS + 1),
        PEOPLE.key(person_row()),
        PEOPLE.value("c", None, person_row()),
    ),
    "create with before": lambda: apply(Op.CREATE, person_row(), person_row()),
    "update without after": lambda: apply(Op.UPDATE, person_row(), None),
    "delete with after": lambda: apply(Op.DELETE, person_row(), person_row()),
    "key of another row": lambda: PERSON_PROGRAM.apply(
        header(Op.CREATE),
        PEOPLE.key(person_row(id_number=id_number(5))),
        PEOPLE.value("c", None, person_row()),
    ),
    "before of another row": lambda: apply(Op.UPDATE, person_row(id_number=id_number(5)), person_row()),
    "trailing byte": lambda: PERSON_PROGRAM.apply(
        header(Op.CREATE), PEOPLE.key(person_row()), PEOPLE.value("c", None, person_row()) + b"\x00"
    ),
    "wrong magic": lambda: PERSON_PROGRAM.apply(
        header(Op.CREATE), PEOPLE.key(person_row()), b"\x01" + PEOPLE.value("c", None, person_row())[1:]
    ),
    "empty": lambda: PERSON_PROGRAM.apply(header(Op.CREATE), b"", b""),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_record_that_contradicts_itself_is_malformed(case: str) -> None:
    assert MALFORMED[case]() == Rejected(Reason.MALFORMED)


def test_every_truncation_of_key_or_value_is_refused() -> None:
    key, value = PEOPLE.key(person_row()), PEOPLE.value("c", None, person_row())
    for end in range(len(value)):
        assert PERSON_PROGRAM.apply(header(Op.CREATE), key, value[:end]) == Rejected(Reason.MALFORMED)
    for end in range(len(key)):
        assert PERSON_PROGRAM.apply(header(Op.CREATE), key[:end], value) == Rejected(Reason.MALFORMED)


def test_random_mutations_never_raise_and_never_leak() -> None:
    dice = random.Random(20_260)
    key, value = PEOPLE.key(person_row()), PEOPLE.value("u", person_row(), person_row())
    refused = 0
    for _ in range(3000):
        broken = bytearray(value)
        for _ in range(dice.choice((1, 1, 2, 5))):
            at = dice.randrange(5, len(broken))
            match dice.randrange(3):
                case 0:
                    broken[at] = dice.randrange(256)
                case 1:
                    del broken[at]
                case _:
                    broken.insert(at, dice.randrange(256))
        outcome = PERSON_PROGRAM.apply(header(Op.UPDATE), key, bytes(broken))
        if isinstance(outcome, Rejected):
            refused += 1
            continue
        for output in outcome[0]:
            assert id_number().encode() not in (output.value or b"") + (output.key or b"")
    assert refused > 1500


@given(st.binary(max_size=300))
def test_random_bytes_never_raise(noise: bytes) -> None:
    key = PEOPLE.key(person_row())
    outcome = PERSON_PROGRAM.apply(header(Op.CREATE), key, PEOPLE.value("c", None, person_row())[:5] + noise)
    assert isinstance(outcome, Rejected)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=6, max_size=40).filter(
    lambda text: bool(text.strip())
)
PEOPLE_ROWS = st.builds(
    person_row,
    id_number=st.integers(1, 999).map(id_number),
    name=TEXTS,
    mobile=st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True),
    address=TEXTS.map(lambda text: json.dumps({"region_code": "330106", "detail": text})),
)


@given(PEOPLE_ROWS)
@settings(max_examples=200)
def test_no_masked_value_occurs_in_the_output_bytes(row: dict[str, Any]) -> None:
    outcome = apply(Op.CREATE, None, row)
    detail = json.loads(row["address"])["detail"]
    if isinstance(outcome, Rejected):
        assert (
            outcome.reason is Reason.LEAK
        )  # the invented name or address happens to be part of something shown
        return
    output = (outcome[0][0].key or b"") + (outcome[0][0].value or b"")
    for hidden in (row["id_number"], row["name"], row["mobile"], row["email"], detail):
        assert hidden.encode() not in output


@given(PEOPLE_ROWS)
def test_clear_values_arrive_exactly_as_they_were(row: dict[str, Any]) -> None:
    _, value = decoded(PERSON, EVERYTHING, only(apply(Op.UPDATE, row, row, EVERYTHING_PROGRAM)))
    address = json.loads(row["address"]) | {"street": None, "postcode": None}
    for image in (value["before"], value["after"]):
        assert image == row | {"address": address}


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_contract_round_trips_through_a_clear_view(name: str) -> None:
    contract = CONTRACTS[name]
    table = Table(contract)
    view = spec(contract, {field: {"kind": "clear", "reason": "test"} for field in contract.fields})
    row = ROWS[name]()
    outcome = program(table, view).apply(header(Op.CREATE), table.key(row), table.value("c", None, row))
    _, value = decoded(contract, view, only(outcome))
    plain = {
        field for field, declared in contract.fields.items() if declared.type.kind not in ("record", "array")
    }
    assert {field: value["after"][field] for field in plain} == {field: row[field] for field in plain}


def test_tokens_agree_between_key_images_and_records_and_differ_between_views() -> None:
    two = program(PEOPLE, SCOPED, SCOPED)
    outcome = apply(Op.UPDATE, person_row(), person_row(note="x"), two)
    assert isinstance(outcome, tuple)
    (key, value), (other_key, _) = (
        decoded(PERSON, SCOPED, outcome[number][0], f"v{number}") for number in (0, 1)
    )
    assert key["id_number"] == value["before"]["id_number"] == value["after"]["id_number"]
    assert key["id_number"][3:] != other_key["id_number"][3:]


def test_tokens_need_the_master_key_to_be_the_same() -> None:
    other = program(PEOPLE, SCOPED, keys=ViewKeys(bytes(32)))
    assert only(create(other)).key != only(create(SCOPED_PROGRAM)).key


def failing_renderer(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    """Make the mask of one field raise with the value in its text."""
    original = Renderer.__init__

    def broken(self: Any, *arguments: Any) -> None:
        original(self, *arguments)

        def fail(value: Any) -> Any:
            raise RuntimeError(value)

        self._value_masks = [(name, fail if name == field else mask) for name, mask in self._value_masks]

    monkeypatch.setattr(Renderer, "__init__", broken)


def test_mask_that_fails_refuses_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    failing_renderer(monkeypatch, "mobile")
    assert create(program(PEOPLE, PERSON_VIEW)) == Rejected(Reason.MASK, "mobile")


def unmasked(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    """Take the mask off one field behind the compiler's back."""
    original = Renderer.__init__

    def broken(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        self._value_masks = [
            (name, (lambda value: value) if name == field else mask) for name, mask in self._value_masks
        ]

    monkeypatch.setattr(Renderer, "__init__", broken)


@pytest.mark.parametrize("field", ["id_number", "mobile", "email"])
def test_gate_stops_a_mask_that_was_taken_off(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    unmasked(monkeypatch, field)
    assert create(program(PEOPLE, PERSON_VIEW)) == Rejected(Reason.LEAK, field)


def test_mask_that_yields_another_type_withholds_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    unmasked(monkeypatch, "birth_date")
    assert create(program(PEOPLE, PERSON_VIEW)) == Rejected(Reason.MASK, "")


ID = id_number()


@pytest.mark.parametrize(
    ("note", "path"),
    [
        (f"身份证{ID}", "id_number"),
        (ID, "id_number"),
        (f"{ID[:6]} {ID[6:14]} {ID[14:]}", "id_number"),
        (f"{ID[:6]}-{ID[6:14]}-{ID[14:]}", "id_number"),
        ("".join(chr(ord(digit) + 0xFEE0) for digit in ID), "id_number"),
        ("电话 138 5711 2345", "mobile"),
        (f"担保人{id_number(77)}", ""),
        ("住 文三路100号2幢301室", "address.detail"),
        ("xm.wang@mail.example.cn", "email"),
    ],
)
def test_gate_finds_sensitive_values_in_free_text(note: str, path: str) -> None:
    assert create(note=note) == Rejected(Reason.LEAK, path)


@pytest.mark.parametrize("length", range(18, 30))
def test_gate_finds_an_id_number_at_the_start_of_text_of_any_length(length: int) -> None:
    stranger = id_number(77)
    assert create(note=stranger.ljust(length, "字")) == Rejected(Reason.LEAK, "")


@pytest.mark.parametrize("note", ["", "138571123", "编号 123456789012345678", "王小明本人"])
def test_gate_lets_harmless_free_text_pass(note: str) -> None:
    assert only(create(note=note))


def test_value_shown_for_a_reason_is_no_leak() -> None:
    fields = {"id_number": "token", "mobile": {"kind": "clear", "reason": "test"}, "note": "clear"}
    assert only(create(program(PEOPLE, spec(PERSON, fields)), note="13857112345"))


def test_leak_in_one_view_refuses_the_record_for_all() -> None:
    two = program(PEOPLE, SCOPED, PERSON_VIEW)
    assert create(two, note=ID) == Rejected(Reason.LEAK, "id_number")


def test_update_that_mends_a_leaking_row_passes_and_shows_nothing_of_it() -> None:
    outcome = apply(Op.UPDATE, person_row(note=f"身份证{ID}"), person_row(note="材料齐全"))

    _, images = decoded(PERSON, PERSON_VIEW, only(outcome))
    assert images["before"] is None
    assert images["after"]["note"] == "材料齐全"


def test_update_cannot_leak_what_the_row_held_before() -> None:
    outcome = apply(
        Op.UPDATE, person_row(mobile="13857112345"), person_row(mobile="13900000000", note="13857112345")
    )
    assert outcome == Rejected(Reason.LEAK, "mobile")


def test_leaves_of_nested_records_and_arrays_are_watched_too() -> None:
    table, fields = Table(ENROLMENT), {"enrolment_no": "clear", "school_name": "clear"}
    row = enrolment_row(school_name=f"小学{id_number(7)}")
    outcome = program(table, spec(ENROLMENT, fields)).apply(
        header(Op.CREATE), table.key(row), table.value("c", None, row)
    )
    assert outcome == Rejected(Reason.LEAK, "guardian.id_number")


def test_output_over_the_limit_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exchange.reference.MAX_RECORD_BYTES", 50)
    assert create() == Rejected(Reason.TOO_LARGE)


def test_refusal_says_nothing_of_the_value() -> None:
    for columns, _, _ in BROKEN_RULES:
        text = repr(create(**columns))
        assert all(
            str(value) not in text for value in columns.values() if isinstance(value, str) and value.strip()
        )


def test_same_record_gives_the_same_bytes_every_time() -> None:
    assert create() == create() == create(program(Table(PERSON), PERSON_VIEW))
