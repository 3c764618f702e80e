"""Invented records of the contracts in avro/, as a PostgreSQL table's raw records would hold them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fastavro
from stdnum.cn import ric, uscc

from exchange.change import Op, Position, RecordHeader
from exchange.contract import Contract
from exchange.encoding.wire import Reader, prefix
from exchange.fieldtype import FieldType, decimal_bytes
from exchange.files.contracts import load_contracts
from exchange.keys import ViewKeys, generate_steward_keys
from exchange.model import Label
from exchange.plan import PlannedResource, PlannedView
from exchange.reference import Program, ViewOutput, compile_program
from exchange.view import ViewSpec, compile_view

CONTRACTS = load_contracts(Path(__file__).parents[3] / "avro")
PERSON = CONTRACTS["population.person"]
LEGAL_PERSON = CONTRACTS["market.legal_person"]
ENROLMENT = CONTRACTS["education.enrolment"]

KEYS = ViewKeys(bytes(range(32)))
STEWARD_PRIVATE, STEWARD_PUBLIC = generate_steward_keys()
RAW_KEY_ID, RAW_VALUE_ID = 11, 12
NOW_MS = 1_780_000_000_000
DAY_MS = 86_400_000
NOW_DAYS = NOW_MS // DAY_MS
_JSON = {"type": "string", "connect.name": "io.debezium.data.Json"}
_SOURCE = {
    "type": "record",
    "name": "Source",
    "namespace": "io.debezium.connector.postgresql",
    "fields": [{"name": "ts_ms", "type": "long"}, {"name": "snapshot", "type": "string"}],
}


def id_number(number: int = 1, region: str = "330106", born: str = "19900307") -> str:
    """Return a valid invented ID number, a different one for each number up to 999."""
    head = f"{region}{born}{number % 1000:03d}"
    return head + ric.calc_check_digit(head + "0")


def credit_code(number: int = 1) -> str:
    head = f"91330106MA{number:07d}"
    return head + uscc.calc_check_digit(head + "0")


def person_row(**changes: Any) -> dict[str, Any]:
    """Return a row of the table under population.person, columns as Avro stores them."""
    address = {
        "region_code": "330106",
        "street": "西溪街道",
        "detail": "文三路100号2幢301室",
        "postcode": "310012",
    }
    row = {
        "id_number": id_number(),
        "name": "王小明",
        "sex_code": "1",
        "birth_date": 7370,
        "nationality_code": "CHN",
        "ethnic_code": "01",
        "mobile": "13857112345",
        "email": "xm.wang@mail.example.cn",
        "region_code": "330106",
        "address": json.dumps(address, ensure_ascii=False),
        "languages": ["zh", "en"],
        "household_size": 3,
        "annual_income": decimal_bytes(12_345_678),
        "status": "NORMAL",
        "note": "材料齐全",
        "registered_at": 1_500_000_000_000_000,
        "updated_at": 1_700_000_000_000_000,
    }
    return row | changes


def legal_person_row(**changes: Any) -> dict[str, Any]:
    branch = {
        "credit_code": credit_code(2),
        "name": "杭州分公司",
        "region_code": "330108",
        "opened_on": "2019-05-06",
    }
    contact = {"name": "李四光", "mobile": "13900001111", "email": "office@firm.example.cn"}
    row = {
        "credit_code": credit_code(),
        "name": "西湖软件有限公司",
        "representative_name": "赵六一",
        "representative_id_number": id_number(6),
        "registered_capital": decimal_bytes(1_000_000_000),
        "established_on": 15_000,
        "industry_code": "I6513",
        "region_code": "330106",
        "contact": json.dumps(contact, ensure_ascii=False),
        "branches": json.dumps([branch], ensure_ascii=False),
        "employees": 42,
        "status": "ACTIVE",
        "updated_at": 1_700_000_000_000_000,
    }
    return row | changes


def enrolment_row(**changes: Any) -> dict[str, Any]:
    guardian = {"name": "王大明", "relation": "FATHER", "id_number": id_number(7), "mobile": "13700002222"}
    row = {
        "enrolment_no": "E2025ABC123456",
        "student_id_number": id_number(8, born="20150607"),
        "student_name": "王小小",
        "school_code": "3133000123",
        "school_name": "文三街小学",
        "region_code": "330106",
        "grade": 4,
        "enrolled_on": 18_500,
        "guardian": json.dumps(guardian, ensure_ascii=False),
        "subjects": ["CHINESE", "MATHS"],
        "tuition": decimal_bytes(0),
        "boarding": False,
        "status": "ENROLLED",
        "updated_at": 1_700_000_000_000_000,
    }
    return row | changes


ROWS = {
    "population.person": person_row,
    "market.legal_person": legal_person_row,
    "education.enrolment": enrolment_row,
}


def column_schema(type_: FieldType) -> Any:
    """Return the raw schema of the column that a field of a type usually comes from."""
    if type_.kind == "record" or (type_.kind == "array" and type_.items and type_.items.kind == "record"):
        return _JSON
    if type_.kind == "enum":
        return {"type": "string", "connect.name": "io.debezium.data.Enum"}
    if type_.kind == "array" and type_.items is not None:
        return {"type": "array", "items": ["null", column_schema(type_.items)]}
    return type_.not_null().avro("unused")


def raw_value_schema(contract: Contract, **columns: Any) -> dict[str, Any]:
    """Return the raw envelope of a table that fits a contract; `columns` replaces or adds (None: drops)."""
    types = {field.source: column_schema(field.type) for field in contract.fields.values()} | columns
    key = {contract.fields[name].source for name in contract.key}
    fields = [
        {"name": name, "type": type_}
        if name in key
        else {"name": name, "type": ["null", type_], "default": None}
        for name, type_ in types.items()
        if type_ is not None
    ]
    value = {"type": "record", "name": "Value", "namespace": "raw.test", "fields": fields}
    return {
        "type": "record",
        "name": "Envelope",
        "namespace": "raw.test",
        "fields": [
            {"name": "before", "type": ["null", value], "default": None},
            {"name": "after", "type": ["null", "raw.test.Value"], "default": None},
            {"name": "source", "type": _SOURCE},
            {"name": "op", "type": "string"},
            {"name": "ts_ms", "type": ["null", "long"], "default": None},
            {"name": "transaction", "type": ["null", "string"], "default": None},
        ],
    }


def raw_key_schema(contract: Contract) -> dict[str, Any]:
    fields = [contract.fields[name] for name in contract.key]
    columns = [{"name": field.source, "type": column_schema(field.type)} for field in fields]
    return {"type": "record", "name": "Key", "namespace": "raw.test", "fields": columns}


def strip_logical(schema: Any) -> Any:
    """Return a copy without logical types, so that fastavro writes what it is given."""
    if isinstance(schema, list):
        return [strip_logical(part) for part in schema]
    if isinstance(schema, Mapping):
        return {name: strip_logical(part) for name, part in schema.items() if name != "logicalType"}
    return schema


def encode(schema: Any, record: Any, schema_id: int) -> bytes:
    out = io.BytesIO()
    out.write(prefix(schema_id))
    fastavro.schemaless_writer(out, fastavro.parse_schema(strip_logical(schema)), record)
    return out.getvalue()


def header(op: Op, **changes: Any) -> RecordHeader:
    given: dict[str, Any] = {"position": Position(1, 1000, 0), "op": op, "source_ms": NOW_MS} | changes
    return RecordHeader(**given)


class Table:
    """Writes raw records of one contract's table."""

    def __init__(self, contract: Contract, **columns: Any) -> None:
        self.contract = contract
        self.key_schema = raw_key_schema(contract)
        self.value_schema = raw_value_schema(contract, **columns)

    def key(self, row: Mapping[str, Any]) -> bytes:
        names = [column["name"] for column in self.key_schema["fields"]]
        return encode(self.key_schema, {name: row[name] for name in names}, RAW_KEY_ID)

    def value(
        self,
        op: str,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
        source_ms: int = NOW_MS,
    ) -> bytes:
        source = {"ts_ms": source_ms, "snapshot": "false"}
        envelope = {"before": before, "after": after, "source": source, "op": op, "ts_ms": source_ms + 5}
        return encode(self.value_schema, envelope | {"transaction": None}, RAW_VALUE_ID)

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        return {RAW_KEY_ID: self.key_schema, RAW_VALUE_ID: self.value_schema}[schema_id]


def spec(contract: Contract, fields: Mapping[str, Any], rows: tuple[Any, ...] = ()) -> ViewSpec:
    return ViewSpec.model_validate(
        {"resource": contract.name, "label": Label(zh="视图", en="view"), "fields": fields, "rows": rows}
    )


def resource(contract: Contract, *views: ViewSpec, **changes: Any) -> PlannedResource:
    planned = [
        PlannedView(
            name=f"v{number}",
            topic=f"share.{contract.name}.v{number}",
            spec=view,
            key_schema_id=100 + 2 * number,
            value_schema_id=101 + 2 * number,
        )
        for number, view in enumerate(views)
    ]
    given: dict[str, Any] = {
        "name": contract.name,
        "system": "test",
        "table": "public.t",
        "department": "dept",
        "raw_topic": "raw.test.public.t",
        "quarantine_topic": f"quarantine.{contract.name}",
        "partitions": 3,
        "contract": dict(contract.document),
        "steward_public_key": STEWARD_PUBLIC,
        "views": tuple(planned),
    }
    return PlannedResource(**(given | changes))


def program(table: Table, *views: ViewSpec, keys: ViewKeys = KEYS) -> Program:
    return compile_program(resource(table.contract, *views), table.value_schema, table.key_schema, keys)


def decoded(contract: Contract, view: ViewSpec, output: ViewOutput, name: str = "v0") -> tuple[Any, Any]:
    """Return (key, value) of an output of a view, None where there is none; values as Avro stores them."""
    compiled = compile_view(contract, view, name)
    key = None if output.key is None else Reader(compiled.key_schema()).decode(output.key)
    value = None if output.value is None else Reader(compiled.value_schema()).decode(output.value)
    return key, value


PERSON_VIEW = spec(
    PERSON,
    {
        "id_number": "token",
        "name": {"kind": "partial", "keep_first": 1},
        "sex_code": "clear",
        "birth_date": {"kind": "generalise", "to": "year"},
        "ethnic_code": "null",
        "mobile": {"kind": "partial", "keep_first": 3, "keep_last": 2},
        "email": "redact",
        "region_code": "clear",
        "address.region_code": {"kind": "generalise", "to": "prefix", "size": 4},
        "address.postcode": "clear",
        "languages": "clear",
        "household_size": {"kind": "generalise", "to": "bucket", "size": 2},
        "annual_income": {"kind": "generalise", "to": "bucket", "size": 10000},
        "status": "clear",
        "note": "clear",
        "registered_at": {"kind": "generalise", "to": "month"},
        "updated_at": "clear",
    },
)
