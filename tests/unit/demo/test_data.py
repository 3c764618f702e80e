"""Every invented row fits its contract; every spoilt one is refused as intended."""

from __future__ import annotations

import datetime as dt
import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from stdnum.cn import ric, uscc

from exchange.change import Rejected
from exchange.contract import Contract
from exchange.demo.data import TABLES
from exchange.demo.invention import REGIONS, Invention, with_wrong_check_digit
from exchange.demo.tables import Fault, Row, Table
from exchange.engine.image import compile_image
from exchange.fieldtype import ContractField, decimal_bytes
from exchange.files.contracts import load_contracts

_EPOCH = dt.date(1970, 1, 1)
_CONTRACTS = load_contracts(Path(__file__).parents[3] / "avro")
_TABLES = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


def contract_of(table: Table) -> Contract:
    return _CONTRACTS[f"{table.system}.{table.name}"]


def judge(table: Table, row: Row) -> dict[str, Any] | Rejected:
    contract = contract_of(table)
    columns = [
        {"name": f.source, "type": raw_schema(f, in_json=f.source in table.json)}
        for f in contract.fields.values()
    ]
    image = compile_image(contract.fields, {"fields": columns}, table.name)
    return image.read({name: raw_value(value, name in table.json) for name, value in row.items()}, now_ms())


def raw_schema(field: ContractField, *, in_json: bool) -> Any:
    """The column's schema as the connector would register it."""
    if in_json:
        return {"type": "string", "connect.name": "io.debezium.data.Json"}
    kind = field.type.kind
    if kind == "array":
        return {"type": "array", "items": ["null", "string"]}
    if kind == "decimal":
        logical = {"logicalType": "decimal", "precision": field.type.precision, "scale": field.type.scale}
        return {"type": "bytes", **logical}
    known = {
        "date": {"type": "int", "logicalType": "date"},
        "timestamp": {"type": "long", "logicalType": "timestamp-micros"},
        "enum": {"type": "string", "connect.name": "io.debezium.data.Enum"},
    }
    return known.get(kind, kind)


def raw_value(value: Any, in_json: bool) -> Any:
    """The column's value as Avro holds it."""
    if value is None:
        return None
    if in_json:
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dt.datetime):
        return int(value.timestamp() * 1_000_000)
    if isinstance(value, dt.date):
        return (value - _EPOCH).days
    if isinstance(value, Decimal):
        return decimal_bytes(int(value * 100))
    return value


def now_ms() -> int:
    return int(time.time() * 1000)


@_TABLES
def test_every_invented_row_fits_its_contract(table: Table) -> None:
    invention = Invention(7)
    outcomes = [judge(table, table.invent(invention)) for _ in range(500)]
    assert [outcome for outcome in outcomes if isinstance(outcome, Rejected)] == []


@_TABLES
def test_amended_and_rekeyed_rows_fit_their_contract(table: Table) -> None:
    invention = Invention(8)
    row = table.invent(invention)
    for number in range(300):
        row |= table.rekey(row, invention) if number % 10 == 0 else table.amend(row, invention)
        assert not isinstance(judge(table, row), Rejected)


@_TABLES
def test_a_new_key_differs_from_the_old_one(table: Table) -> None:
    invention = Invention(9)
    rows = [table.invent(invention) for _ in range(50)]
    changed = [table.rekey(row, invention)[table.key] != row[table.key] for row in rows]
    assert sum(changed) >= 45


@pytest.mark.parametrize(
    ("table", "fault"),
    [(table, fault) for table in TABLES for fault in table.faults],
    ids=lambda part: part.name if isinstance(part, Table) else f"{part.reason}-{part.field}",
)
def test_every_spoilt_row_is_refused_for_the_intended_reason(table: Table, fault: Fault) -> None:
    invention = Invention(10)
    for _ in range(20):
        row = table.invent(invention)
        outcome = judge(table, row | fault.spoil(dict(row), invention))
        assert outcome == Rejected(fault.reason, fault.field)


@_TABLES
def test_the_definition_has_a_column_for_every_field_and_no_other(table: Table) -> None:
    row = table.invent(Invention(11))
    assert set(row) == {field.source for field in contract_of(table).fields.values()}
    assert all(f" {column} " in " ".join(table.ddl) for column in row)


def test_identifiers_have_their_right_check_digit() -> None:
    invention = Invention(12)
    for _ in range(500):
        person = invention.person()
        assert ric.is_valid(person.id_number)
        assert ric.get_birth_date(person.id_number) == person.birth_date
        assert (int(person.id_number[16]) % 2 == 0) == person.female
        assert uscc.is_valid(invention.credit_code(invention.region()))


def test_a_wrong_check_digit_is_wrong() -> None:
    invention = Invention(13)
    for _ in range(200):
        assert not ric.is_valid(with_wrong_check_digit(invention.person().id_number))
        assert not uscc.is_valid(with_wrong_check_digit(invention.credit_code("330102")))


def test_the_same_seed_invents_the_same_people() -> None:
    first, second = Invention(14), Invention(14)
    assert [first.person() for _ in range(20)] == [second.person() for _ in range(20)]


def test_region_codes_belong_to_their_province() -> None:
    provinces = {"11": "北京市", "31": "上海市", "32": "江苏省", "33": "浙江省", "44": "广东省"}
    assert all(name.startswith(provinces[code[:2]]) for code, name in REGIONS.items())
