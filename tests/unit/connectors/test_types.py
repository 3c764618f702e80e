from __future__ import annotations

import io
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.sources.convert import Mapping, Unrepresentable
from connectors.sources.postgres.types import CatalogType, array_elements, mapping

BOOL, BYTEA, INT8, INT2, INT4, TEXT, JSON, FLOAT4, FLOAT8 = 16, 17, 20, 21, 23, 25, 114, 700, 701
BPCHAR, DATE, TIME, TIMESTAMP, TIMESTAMPTZ, NUMERIC, UUID_, JSONB = (
    1042,
    1082,
    1083,
    1114,
    1184,
    1700,
    2950,
    3802,
)
INT4_ARRAY, TEXT_ARRAY, NUMERIC_ARRAY, INTERVAL, POINT = 1007, 1009, 1231, 1186, 600
MOOD, MOOD_ARRAY, POSITIVE, GONE = 9001, 9002, 9003, 9999

CATALOGUE = {
    MOOD: CatalogType(MOOD, "e"),
    MOOD_ARRAY: CatalogType(MOOD_ARRAY, "b", element=MOOD),
    POSITIVE: CatalogType(POSITIVE, "d", base=NUMERIC, base_typmod=((6 << 16) | 2) + 4),
    NUMERIC_ARRAY: CatalogType(NUMERIC_ARRAY, "b", element=NUMERIC),
    INTERVAL: CatalogType(INTERVAL, "b"),
    POINT: CatalogType(POINT, "b"),
}


def numeric(precision: int, scale: int) -> int:
    """The typmod of numeric(precision, scale)."""
    return ((precision << 16) | (scale & 0x7FF)) + 4


def mapped(oid: int, typmod: int = -1) -> Mapping:
    return mapping(oid, typmod, CATALOGUE.get)


def read(oid: int, text: str, typmod: int = -1) -> Any:
    """Convert a text, and read the Avro bytes back with another implementation."""
    made = mapped(oid, typmod)
    source = io.BytesIO(made.convert(text.encode()))
    value = fastavro.schemaless_reader(source, fastavro.parse_schema(made.avro), None)
    assert not source.read(1)
    return value


@pytest.mark.parametrize(
    ("oid", "text", "value"),
    [
        (BOOL, "t", True),
        (BOOL, "f", False),
        (INT2, "-32768", -32768),
        (INT4, "2147483647", 2**31 - 1),
        (INT4, "-1", -1),
        (INT8, "-9223372036854775808", -(2**63)),
        (INT8, "9223372036854775807", 2**63 - 1),
        (TEXT, "", ""),
        (TEXT, "中文 😀 \\ \"'", "中文 😀 \\ \"'"),
        (TEXT, "x" * 100_000, "x" * 100_000),
        (BPCHAR, "ab    ", "ab    "),
        (JSONB, '{"a": [1]}', '{"a": [1]}'),
        (FLOAT8, "0.1", 0.1),
        (FLOAT8, "-1.7976931348623157e+308", -1.7976931348623157e308),
        (FLOAT4, "1.5", 1.5),
        (FLOAT4, "3.4028235e+38", 3.4028234663852886e38),
        (NUMERIC, "123456789012345678901234567890.000000001", "123456789012345678901234567890.000000001"),
        (DATE, "0001-01-01", date(1, 1, 1)),
        (DATE, "1969-12-31", date(1969, 12, 31)),
        (DATE, "9999-12-31", date(9999, 12, 31)),
        (TIME, "23:59:59.999999", time(23, 59, 59, 999999)),
        (TIME, "00:00:00", time(0)),
        (TIMESTAMP, "0001-01-01 00:00:00.000001", datetime(1, 1, 1, 0, 0, 0, 1)),  # noqa: DTZ001
        (TIMESTAMPTZ, "2024-02-29 04:00:00.5+00", datetime(2024, 2, 29, 4, 0, 0, 500000, UTC)),
        (TIMESTAMPTZ, "1900-01-01 00:00:00+00", datetime(1900, 1, 1, tzinfo=UTC)),
        (BYTEA, "\\x00ff", b"\x00\xff"),
        (BYTEA, "\\x", b""),
        (UUID_, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        (MOOD, "ok", "ok"),
        (MOOD_ARRAY, "{ok,NULL}", ["ok", None]),
        (POSITIVE, "-1.50", Decimal("-1.50")),
        (INTERVAL, "1 day 02:00:00", "1 day 02:00:00"),
        (POINT, "(1,2)", "(1,2)"),
        (GONE, "whatever", "whatever"),
        (INT4_ARRAY, "{}", []),
        (INT4_ARRAY, "{1,NULL,-3}", [1, None, -3]),
        (TEXT_ARRAY, '{"a,b","q\\"\\\\{}",NULL,"NULL","",a b}', ["a,b", 'q"\\{}', None, "NULL", "", "a b"]),
    ],
)  # fmt: skip
def test_value_is_kept_exactly(oid: int, text: str, value: Any) -> None:
    assert read(oid, text) == value


@pytest.mark.parametrize(
    ("text", "precision", "scale"),
    [
        ("0.00", 5, 2),
        ("-999.99", 5, 2),
        ("127", 3, 0),
        ("-128", 3, 0),
        ("128", 3, 0),
        ("0." + "1" * 38, 38, 38),
    ],
)
def test_numeric_with_scale_is_a_decimal(text: str, precision: int, scale: int) -> None:
    assert read(NUMERIC, text, numeric(precision, scale)) == Decimal(text)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**30), max_value=10**30))
def test_any_decimal_is_kept_exactly(value: Decimal) -> None:
    assert read(NUMERIC, f"{value:f}", numeric(38, 6)) == value


@given(st.integers(-(2**63), 2**63 - 1))
def test_any_long_is_kept_exactly(value: int) -> None:
    assert read(INT8, str(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_double_is_kept_exactly(value: float) -> None:
    found = read(FLOAT8, repr(value))
    assert (found, math.copysign(1, found)) == (value, math.copysign(1, value))


@given(st.datetimes())
def test_any_timestamp_is_kept_exactly(value: datetime) -> None:
    assert read(TIMESTAMP, value.isoformat(" ")) == value
    assert read(TIMESTAMPTZ, value.isoformat(" ") + "+00") == value.replace(tzinfo=UTC)


@given(st.dates())
def test_any_date_is_kept_exactly(value: date) -> None:
    assert read(DATE, value.isoformat()) == value
    assert read(DATE, value.isoformat()) - date(1970, 1, 1) == value - date(1970, 1, 1) + timedelta(0)


@given(st.lists(st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_any_text_array_is_kept_exactly(items: list[str | None]) -> None:
    quoted = [
        "NULL" if item is None else '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for item in items
    ]
    assert read(TEXT_ARRAY, "{" + ",".join(quoted) + "}") == items


@pytest.mark.parametrize(
    ("oid", "typmod", "text"),
    [
        (FLOAT4, -1, "NaN"),
        (FLOAT8, -1, "-Infinity"),
        (NUMERIC, -1, "NaN"),
        (NUMERIC, -1, "Infinity"),
        (NUMERIC, numeric(5, 2), "NaN"),
        (NUMERIC, numeric(5, 2), "1.234"),
        (NUMERIC, numeric(5, 2), "1000.00"),
        (DATE, -1, "infinity"),
        (DATE, -1, "0044-03-15 BC"),
        (DATE, -1, "10000-01-01"),
        (TIMESTAMP, -1, "-infinity"),
        (TIMESTAMP, -1, "0044-03-15 00:00:00 BC"),
        (TIMESTAMP, -1, "10000-01-01 00:00:00"),
        (TIMESTAMPTZ, -1, "infinity"),
        (TIMESTAMPTZ, -1, "294276-12-31 23:59:59+00"),
        (TIME, -1, "24:00:00"),
        (BYTEA, -1, "abc"),
        (INT4_ARRAY, -1, "{{1,2},{3,4}}"),
        (INT4_ARRAY, -1, "[0:1]={1,2}"),
        (NUMERIC_ARRAY, numeric(5, 2), "{NaN}"),
        (TEXT_ARRAY, -1, "{a"),
    ],
)
def test_value_that_cannot_be_kept_is_refused_without_showing_it(oid: int, typmod: int, text: str) -> None:
    with pytest.raises(Unrepresentable) as caught:
        mapped(oid, typmod).convert(text.encode())
    assert str(caught.value) == ""
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("oid", [TEXT, BPCHAR, JSON, MOOD, INTERVAL])
def test_text_that_is_not_utf8_is_refused(oid: int) -> None:
    with pytest.raises(Unrepresentable):
        mapped(oid).convert(b"\xff\xfe")


@pytest.mark.parametrize(
    ("oid", "typmod", "avro"),
    [
        (INT2, -1, {"type": "int", "connect.type": "int16"}),
        (NUMERIC, numeric(12, 2), {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}),
        (NUMERIC, numeric(3, -2), {"type": "string", "connect.name": "exchange.Numeric"}),
        (NUMERIC, numeric(2, 5), {"type": "string", "connect.name": "exchange.Numeric"}),
        (JSONB, -1, {"type": "string", "connect.name": "io.debezium.data.Json"}),
        (MOOD, -1, {"type": "string", "connect.name": "io.debezium.data.Enum"}),
        (INT4_ARRAY, -1, {"type": "array", "items": ["null", "int"]}),
        (GONE, -1, {"type": "string", "connect.name": "exchange.Text"}),
    ],
)
def test_avro_type_follows_the_table(oid: int, typmod: int, avro: Any) -> None:
    assert mapped(oid, typmod).avro == avro


def test_element_that_only_looks_like_null_is_text() -> None:
    assert array_elements(b'{NULL,"NULL",null}') == [None, b"NULL", b"null"]
