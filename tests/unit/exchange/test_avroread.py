from __future__ import annotations

import contextlib
import io
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange import strictjson
from exchange.encoding.avroread import compile_reader
from exchange.encoding.wire import Reader, Writer, prefix, schema_id

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "All",
    "namespace": "test",
    "fields": [
        {"name": "flag", "type": "boolean"},
        {"name": "small", "type": "int"},
        {"name": "big", "type": "long"},
        {"name": "real", "type": "double"},
        {"name": "single", "type": "float"},
        {"name": "text", "type": "string"},
        {"name": "raw", "type": ["null", "bytes"]},
        {"name": "choice", "type": ["string", "null", "long"]},
        {"name": "code", "type": {"type": "enum", "name": "Code", "symbols": ["A", "B"]}},
        {"name": "list", "type": {"type": "array", "items": ["null", "Code"]}},
        {"name": "map", "type": {"type": "map", "values": "int"}},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}},
        {
            "name": "inner",
            "type": ["null", {"type": "record", "name": "In", "fields": [{"name": "x", "type": "int"}]}],
        },
        {"name": "again", "type": ["null", "test.In"]},
    ],
}
PARSED = fastavro.parse_schema(SCHEMA)
TEXT = st.text(st.characters(codec="utf-8"))
INNER = st.none() | st.fixed_dictionaries({"x": st.integers(-(2**31), 2**31 - 1)})
RECORDS = st.fixed_dictionaries(
    {
        "flag": st.booleans(),
        "small": st.integers(-(2**31), 2**31 - 1),
        "big": st.integers(-(2**63), 2**63 - 1),
        "real": st.floats(allow_nan=False),
        "single": st.floats(allow_nan=False, width=32),
        "text": TEXT,
        "raw": st.none() | st.binary(),
        "choice": st.none() | TEXT | st.integers(-(2**63), 2**63 - 1),
        "code": st.sampled_from("AB"),
        "list": st.lists(st.none() | st.sampled_from("AB")),
        "map": st.dictionaries(TEXT, st.integers(-5, 5)),
        "hash": st.binary(min_size=4, max_size=4),
        "inner": INNER,
        "again": INNER,
    }
)


def written(record: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED, record)
    return out.getvalue()


@given(RECORDS)
def test_reader_reads_what_fastavro_wrote(record: dict[str, Any]) -> None:
    assert compile_reader(SCHEMA)(b"12345" + written(record), 5) == record


@given(RECORDS)
def test_wire_records_round_trip(record: dict[str, Any]) -> None:
    encoded = Writer(SCHEMA, 77).encode(record)
    assert schema_id(encoded) == 77
    assert Reader(SCHEMA).decode(encoded) == record


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_value_error(noise: bytes) -> None:
    with contextlib.suppress(ValueError):
        compile_reader(SCHEMA)(noise, 0)


@pytest.mark.parametrize(
    ("schema", "encoded"),
    [
        ("boolean", b"\x02"),
        ("int", b"\x80\x80\x80\x80\x10"),
        ("long", b"\xff" * 9 + b"\x02"),
        ("long", b"\x80" * 10 + b"\x00"),
        ("long", b"\x80"),
        ("string", b"\x05abc"),
        ("string", b"\x08abc"),
        ("string", b"\x02\xff"),
        ("string", b"\x06\xed\xa0\x80"),
        ("bytes", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01a"),
        ("double", b"1234567"),
        (["null", "int"], b"\x01\x02"),
        (["null", "int"], b"\x04\x02"),
        (["int", "string"], b"\x01\x02"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, b"\x01"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, b"\x04"),
        ({"type": "array", "items": "int"}, b"\x02\x02"),
        ({"type": "array", "items": "null"}, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ("int", b"\x02\x00"),
        ("null", b"\x00"),
    ],
)
def test_bytes_that_the_schema_does_not_allow_are_refused(schema: Any, encoded: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # it has no text where the value is what is wrong
        compile_reader(schema)(encoded, 0)


def test_array_may_come_in_blocks_with_their_size() -> None:
    assert compile_reader({"type": "array", "items": "int"})(b"\x01\x02\x02\x02\x04\x00", 0) == [1, 2]


@pytest.mark.parametrize(
    "schema",
    [
        "nope",
        7,
        {},
        {"type": "record", "name": "R", "fields": [{"name": "r", "type": ["null", "R"]}]},
    ],
)
def test_schema_that_cannot_be_used_is_refused(schema: Any) -> None:
    with pytest.raises(ValueError, match=r"Avro|unknown type|refers to itself"):
        compile_reader(schema)


@pytest.mark.parametrize("encoded", [b"", b"\x00", b"\x00\x00\x00\x01", b"\x01\x00\x00\x00\x01"])
def test_bytes_without_a_prefix_name_no_schema(encoded: bytes) -> None:
    assert schema_id(encoded) is None
    with pytest.raises(ValueError, match="no schema id"):
        Reader("int").decode(encoded)


def test_prefix_names_its_schema() -> None:
    assert prefix(258) == b"\x00\x00\x00\x01\x02"


def test_writer_says_nothing_of_a_value_it_cannot_write() -> None:
    with pytest.raises(ValueError, match="unencodable record: ") as caught:
        Writer("string", 1).encode(110101199003078515)
    assert "1101" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 1}',
        "[NaN]",
        "[-Infinity]",
        "{",
        "",
        "[" * 200_000,
        "1" * 5000,
        '{"x": {"b": 1, "b": 2}}',
    ],
)
def test_json_that_two_readers_could_read_differently_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the place differs; the text must not quote
        strictjson.loads(text)
    assert "111" not in str(caught.value)
