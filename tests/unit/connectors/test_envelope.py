from __future__ import annotations

import io
from typing import Any

import fastavro
import pytest

from connectors.sources.postgres.envelope import Moment, ShapeColumn, TableShape
from connectors.sources.postgres.pgoutput import UNCHANGED, Row
from connectors.sources.postgres.types import mapping
from exchange.change import Op, Reason, Rejected
from exchange.encoding.avroname import avro_name
from exchange.errors import SourceError

MOMENT = Moment(source_ms=1_700_000_000_123, lsn=99, xid=7, captured_ms=1_700_000_000_456)


def shape(*columns: tuple[str, int, bool]) -> TableShape:
    made = tuple(ShapeColumn(name, key, mapping(oid, -1, lambda _: None)) for name, oid, key in columns)
    return TableShape("my-system", "db", "public", "person", made)


PERSON = shape(("id", 20, True), ("姓名", 25, False), ("age", 23, False))


def read(schema: dict[str, Any], body: bytes | Rejected) -> Any:
    assert isinstance(body, bytes)
    source = io.BytesIO(body)
    value = fastavro.schemaless_reader(source, fastavro.parse_schema(schema), None)
    assert not source.read(1)
    return value


def image(table: TableShape, row: Row) -> bytes:
    written = table.row(row)
    assert isinstance(written, bytes)
    return written


def test_envelope_reads_as_debeziums() -> None:
    before, after = image(PERSON, (b"1", None, b"5")), image(PERSON, (b"1", "王".encode(), None))
    value = read(PERSON.shape.value_schema, PERSON.envelope(Op.UPDATE, before, after, MOMENT, (3, 2)))
    assert value["before"] == {"id": 1, "_u59d3_u540d": None, "age": 5}
    assert value["after"] == {"id": 1, "_u59d3_u540d": "王", "age": None}
    assert (value["op"], value["ts_ms"]) == ("u", MOMENT.captured_ms)
    assert value["source"] == {
        "version": "exchange-1", "connector": "postgresql", "name": "my-system", "ts_ms": MOMENT.source_ms,
        "snapshot": "false", "db": "db", "schema": "public", "table": "person", "txId": 7, "lsn": 99,
    }  # fmt: skip
    assert value["transaction"] == {"id": "7:99", "total_order": 3, "data_collection_order": 2}


def test_each_moment_gets_its_own_source_block() -> None:
    later = Moment(source_ms=5, lsn=100, xid=None, captured_ms=6, snapshot=True)
    PERSON.envelope(Op.DELETE, None, None, MOMENT, None)
    value = read(PERSON.shape.value_schema, PERSON.envelope(Op.READ, None, None, later, None))
    assert (value["source"]["ts_ms"], value["source"]["snapshot"], value["source"]["txId"]) == (
        5,
        "true",
        None,
    )


def test_key_holds_the_primary_key_alone() -> None:
    assert read(PERSON.shape.key_schema, PERSON.key((b"42", None, None))) == {"id": 42}


def test_schema_names_follow_system_and_table_and_keep_odd_column_names_as_attribute() -> None:
    assert PERSON.shape.value_schema["namespace"] == "raw.my_u002dsystem.public.person"
    fields = PERSON.shape.value_schema["fields"][0]["type"][1]["fields"]
    assert fields[0] == {"name": "id", "type": "long"}
    assert fields[1] == {
        "name": "_u59d3_u540d",
        "type": ["null", "string"],
        "default": None,
        "column": "姓名",
    }


@pytest.mark.parametrize(
    ("row", "rejected"),
    [
        ((b"1", b"\xff", None), Rejected(Reason.UNREPRESENTABLE, "姓名")),
        ((b"1", UNCHANGED, None), Rejected(Reason.UNCHANGED_TOAST, "姓名")),
        ((None, None, None), Rejected(Reason.UNREPRESENTABLE, "id")),
    ],
)
def test_row_that_cannot_be_written_names_its_column(row: Row, rejected: Rejected) -> None:
    assert PERSON.row(row) == rejected


def test_columns_whose_avro_names_collide_are_refused() -> None:
    with pytest.raises(SourceError, match="two columns with one name"):
        shape(("id", 20, True), ("姓", 25, False), ("_u59d3", 25, False))


@pytest.mark.parametrize(
    ("name", "avro"), [("plain_1", "plain_1"), ("a-b", "a_u002db"), ("1st", "_1st"), ("É", "_u00c9")]
)
def test_avro_name_holds_allowed_characters_only(name: str, avro: str) -> None:
    assert avro_name(name) == avro
