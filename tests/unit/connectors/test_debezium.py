"""What Debezium's records become, without Kafka: types, shapes, refusals."""

from __future__ import annotations

import base64
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from connectors.source import Captured
from connectors.sources.convert import Unrepresentable
from connectors.sources.debezium.messages import JsonMessages
from connectors.sources.debezium.place import TopicPlace, read_mark, write_mark
from connectors.sources.debezium.record import Records
from connectors.sources.debezium.schema import ConnectSchema, UnknownSchema, from_avro, from_json
from connectors.sources.debezium.shapes import Place
from connectors.sources.debezium.types import (
    UNAVAILABLE,
    Unavailable,
    base64_bytes,
    column_type,
    plain_bytes,
)
from exchange.apply.debezium import Wanted, check
from exchange.change import Op, Reason
from exchange.debezium import client_properties
from exchange.errors import ConfigError, SourceError
from exchange.settings import Settings
from tests.debezium import KEY, VALUE, event, event_key, framed

ZONED = "io.debezium.time.ZonedTimestamp"
DECIMAL = "org.apache.kafka.connect.data.Decimal"
AT = Place("topic", 0, 41)


def written(schema: ConnectSchema, value: Any) -> Any:
    """Return a value as it comes out of the Avro that a column's converter writes."""
    column = column_type(schema, base64_bytes)
    source = io.BytesIO(column.convert(value))
    decoded = fastavro.schemaless_reader(source, fastavro.parse_schema(column.avro), None)
    assert not source.read()
    return decoded


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("kind", "name", "value", "expected"),
    [
        ("int32", "io.debezium.time.Date", 0, "1970-01-01"),
        ("int32", "org.apache.kafka.connect.data.Date", -719162, "0001-01-01"),
        ("int32", "io.debezium.time.Time", 86_399_999, "23:59:59.999000"),
        ("int64", "io.debezium.time.NanoTime", 1_000, "00:00:00.000001"),
        ("int64", "io.debezium.time.Timestamp", 1, "1970-01-01 00:00:00.001000"),
        ("int64", "org.apache.kafka.connect.data.Timestamp", -1, "1969-12-31 23:59:59.999000"),
        ("int64", "io.debezium.time.NanoTimestamp", 1_000, "1970-01-01 00:00:00.000001"),
        ("string", ZONED, "2024-02-29T12:00:00.5+02:00", "2024-02-29 10:00:00.500000+00:00"),
        ("string", ZONED, "1969-12-31T23:59:59.999999Z", "1969-12-31 23:59:59.999999+00:00"),
        ("int32", "io.debezium.time.Year", 2024, "2024"),
        ("string", "io.debezium.data.EnumSet", "a,b", "a,b"),
    ],
)  # fmt: skip
def test_each_semantic_type_comes_out_exactly(kind: str, name: str, value: Any, expected: str) -> None:
    assert str(written(ConnectSchema(kind, name), value)) == expected


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("int32", "io.debezium.time.Date", 2_932_897),
        ("int64", "io.debezium.time.MicroTime", 86_400_000_000),
        ("int64", "io.debezium.time.NanoTime", 1),
        ("int64", "io.debezium.time.NanoTimestamp", 1_700_000_000_000_000_001),
        ("int64", "io.debezium.time.MicroTimestamp", 9_223_372_036_825_200_000),
        ("string", ZONED, "+294247-01-10T04:00:25Z"),
        ("string", ZONED, "2024-02-29T12:00:00.1234567Z"),
        ("string", ZONED, "2024-02-29T12:00:00"),
        ("int16", "", 40_000),
        ("int64", "", True),
        ("int64", "", Decimal("1.0")),
        ("double", "", "NaN"),
        ("float", "", Decimal("1e39")),
        ("string", "", 5),
        ("string", "", "\ud800"),
        ("boolean", "", 1),
        ("bytes", "", "no base64!"),
    ],
)
def test_what_the_avro_type_cannot_hold_is_refused(kind: str, name: str, value: Any) -> None:
    with pytest.raises(Unrepresentable):
        written(ConnectSchema(kind, name), value)


@given(st.integers(-(10**12) + 1, 10**12 - 1))
def test_decimals_are_exact_as_bytes_and_as_numbers(unscaled: int) -> None:
    exact = Decimal(unscaled).scaleb(-3)
    content = unscaled.to_bytes((unscaled.bit_length() // 8) + 1, "big", signed=True)
    schema = ConnectSchema("bytes", DECIMAL, {"scale": "3", "connect.decimal.precision": "12"})
    assert written(schema, b64(content)) == written(schema, exact) == exact
    unbounded = ConnectSchema("bytes", DECIMAL, {"scale": "3"})
    assert Decimal(written(unbounded, b64(content))) == exact
    variable = ConnectSchema("struct", "io.debezium.data.VariableScaleDecimal")
    assert Decimal(written(variable, {"scale": 3, "value": b64(content)})) == exact
    assert Decimal(written(variable, {"scale": -3, "value": b64(content)})) == unscaled * 1000


def test_a_decimal_with_too_many_digits_is_refused() -> None:
    schema = ConnectSchema("bytes", DECIMAL, {"scale": "1", "connect.decimal.precision": "2"})
    for value in (b64(b"\x64"), Decimal("0.12"), Decimal("1e9999999"), b64(b"")):
        with pytest.raises(Unrepresentable):
            written(schema, value)


def test_bits_come_highest_first_and_geometry_with_its_srid() -> None:
    bits = ConnectSchema("bytes", "io.debezium.data.Bits", {"length": "9"})
    assert written(bits, b64(b"\x01\x01")) == b"\x01\x01"
    assert written(bits, b64(b"\x02")) == b"\x00\x02"
    with pytest.raises(Unrepresentable):
        written(bits, b64(b"\x00\x02"))
    point = ConnectSchema("struct", "io.debezium.data.geometry.Point")
    value = {"x": 1.0, "y": 2.0, "wkb": b64(b"wkb"), "srid": 4326}
    assert written(point, value) == (4326).to_bytes(4, "little") + b"wkb"


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (ConnectSchema("string"), UNAVAILABLE),
        (ConnectSchema("string", "io.debezium.data.Json"), UNAVAILABLE),
        (ConnectSchema("bytes"), b64(UNAVAILABLE.encode())),
        (ConnectSchema("array", items=ConnectSchema("string")), [UNAVAILABLE]),
        (ConnectSchema("array", items=ConnectSchema("int32")), list(UNAVAILABLE.encode())),
    ],
)
def test_the_placeholder_of_a_value_that_was_not_sent_is_known(schema: ConnectSchema, value: Any) -> None:
    with pytest.raises(Unavailable):
        column_type(schema, base64_bytes).convert(value)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (ConnectSchema("int64", "io.debezium.time.MicroDuration"), "interval.handling.mode=string"),
        (ConnectSchema("string", "com.example.Secret"), "not known here"),
        (ConnectSchema("int64", "io.debezium.time.Date"), "over int64"),
        (ConnectSchema("map"), "hstore.handling.mode=json"),
        (ConnectSchema("struct"), "a struct"),
    ],
)
def test_a_type_whose_values_would_not_be_exact_refuses_the_table(schema: ConnectSchema, why: str) -> None:
    with pytest.raises(UnknownSchema, match=why):
        column_type(schema, plain_bytes)


def test_both_converters_describe_the_same_schema() -> None:
    amount = {
        "type": "bytes", "connect.name": DECIMAL, "logicalType": "decimal", "scale": 2, "precision": 9,
        "connect.parameters": {"scale": "2", "connect.decimal.precision": "9"},
    }  # fmt: skip
    avro = {
        "type": "record", "name": "Envelope", "namespace": "a.b", "fields": [
            {"name": "before", "type": ["null", {"type": "record", "name": "Value", "fields": [
                {"name": "id", "type": {"type": "int", "connect.type": "int16"}},
                {"name": "amount", "type": ["null", amount]},
                {"name": "tags", "type": ["null", {"type": "array", "items": ["null", "string"]}]},
            ]}]},
            {"name": "after", "type": ["null", "Value"]},
        ],
    }  # fmt: skip
    value = {
        "type": "struct", "optional": True, "fields": [
            {"field": "id", "type": "int16", "optional": False},
            {"field": "amount", "type": "bytes", "optional": True, "name": DECIMAL, "version": 1,
             "parameters": {"scale": "2", "connect.decimal.precision": "9"}},
            {"field": "tags", "type": "array", "optional": True, "items": {"type": "string"}},
        ],
    }  # fmt: skip
    document = {"type": "struct", "fields": [value | {"field": "before"}, value | {"field": "after"}]}
    assert from_avro(avro) == from_json(document)
    with pytest.raises(UnknownSchema, match=r"connect\.meta\.data"):
        from_avro({"type": "int", "logicalType": "date"})


def records(*, whole_before: bool = False) -> Records:
    return Records("s", "public.t", 5, (JsonMessages(), JsonMessages()), whole_before=whole_before)


@pytest.mark.parametrize(
    ("key", "value", "whole_before", "told"),
    [
        (b'{"id":1}', b'{"before":null,"after":{"id":1},"op":"c"}', False, "schemas.enable to true"),
        (event_key(1), framed(VALUE, {"id": 1, "name": "CANARY"}), False, "no envelope of Debezium"),
        (event_key(1), event("c", 1, ("int64", "io.debezium.time.MicroDuration")), False, "column name of"),
        (None, event("c", 1), False, "no key; give the table a primary key"),
        (framed(KEY | {"fields": []}, {}), event("c", 1), False, "no key of columns"),
        (event_key(1), event("u", 1), True, "without the row before it"),
    ],
    ids=["no schema", "unwrapped", "approximate", "no key", "empty key", "no before"],
)
def test_what_cannot_be_told_exactly_halts_with_a_reason(
    key: bytes | None, value: bytes, told: str, *, whole_before: bool
) -> None:
    with pytest.raises(SourceError, match=told) as raised:
        records(whole_before=whole_before).captured(AT, key, value)
    assert "topic[0] offset 41" in str(raised.value)
    assert "CANARY" not in str(raised.value)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"schema":{"type":"struct"},"payload":',
        event("c", 1)[:-5],
        event("c", 1) + b"x",
        event("c", 1).replace(b'"op":"c"', b'"op":"x"'),
        event("c", 1).replace(b'"op":"c"', b'"op":"c","op":"d"'),
        event("c", 1).replace(b"1700000000000", b"-5"),
        event("c", 1).replace(b"1700000000000", b"NaN"),
        event("c", 2),
        event("c", 1).replace(b',"name":"CANARY"', b""),
        event("c", 1).replace(b'"name":"CANARY"', b'"name":"a","more":1'),
    ],
)
def test_a_malformed_record_is_refused_whole_and_never_skipped(value: bytes) -> None:
    found = records().captured(AT, event_key(1), value)
    assert found.rejected is not None
    assert found.rejected.reason is Reason.MALFORMED
    assert (found.key, found.value, found.position.commit) == (None, value, 42)


def test_a_record_of_another_order_or_with_blanks_is_the_same_record() -> None:
    plain = json.loads(event("c", 1))
    turned = {"payload": plain["payload"], "schema": plain["schema"]}
    reader = records()
    found = [
        reader.captured(AT, event_key(1), value)
        for value in (event("c", 1), json.dumps(turned).encode(), json.dumps(plain).encode(), event("c", 1))
    ]
    rows = [decoded(one)["after"] for one in found]
    assert rows == [{"id": 1, "name": "CANARY"}] * 4
    assert found[0].shape is found[3].shape


def test_without_whole_rows_before_it_only_a_deletes_key_is_kept() -> None:
    payload = json.loads(event("d", 1))
    payload["payload"]["before"] = {"id": 1, "name": "old"}
    value = json.dumps(payload, separators=(",", ":")).encode()
    assert decoded(records().captured(AT, event_key(1), value))["before"] == {"id": 1, "name": None}
    whole = records(whole_before=True).captured(AT, event_key(1), value)
    assert decoded(whole)["before"] == {"id": 1, "name": "old"}
    assert (whole.op, whole.position.commit, whole.position.index) == (Op.DELETE, 42, 0)


def decoded(change: Captured) -> Any:
    source = io.BytesIO(change.value)
    schema = fastavro.parse_schema(change.shape.value_schema)
    found = fastavro.schemaless_reader(source, schema, None)
    assert not source.read()
    return found


def test_the_clients_secret_is_read_by_line_and_never_quoted() -> None:
    text = "# theirs\nbootstrap.servers = kafka:9092\nsasl.password=a=b\n"
    found = client_properties("s", "TAX_KAFKA", SecretStr(text))
    assert found == {"bootstrap.servers": "kafka:9092", "sasl.password": "a=b"}
    for wrong, told in (
        ("CANARY", "is no name=value"),
        ("group.id=CANARY", "sets itself"),
        ("a=CANARY", "no bootstrap"),
    ):
        with pytest.raises(ConfigError, match=told) as raised:
            client_properties("s", "TAX_KAFKA", SecretStr(wrong))
        assert "CANARY" not in str(raised.value)


def test_apply_names_the_secret_that_is_missing(tmp_path: Path) -> None:
    for wish, name in (
        (Wanted("tax", "TAX_KAFKA", "", ("a",)), "TAX_KAFKA"),
        (Wanted("tax", "TAX_KAFKA", "TAX_REGISTRY", ("a",)), "TAX_REGISTRY"),
    ):
        with pytest.raises(ConfigError, match=f"set the environment variable {name}"):
            check(wish, Settings(home=tmp_path))


def test_a_mark_is_read_as_it_was_written() -> None:
    places = {"public.t": TopicPlace("a", "id", (1, 2)), "public.u": TopicPlace("b", "id", (0,))}
    assert read_mark(write_mark(places)) == places
    assert read_mark("") == {}
