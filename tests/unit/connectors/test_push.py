"""What HTTP push decides without a network: keys, receipts, bodies, raw records, and its document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.http.keys import ApiKeys, hashed, make_key, read_hashes
from connectors.http.problem import Problem
from connectors.receipts import KEPT_S, Digests, Receipt, Receipts
from connectors.rowrecord import Row
from connectors.sources.http import openapi, request
from exchange.change import Position, RecordHeader
from exchange.errors import ConfigError
from exchange.keys import ViewKeys
from exchange.plan import PlannedResource, PlannedView
from exchange.reference import compile_program
from exchange.settings import Secrets
from exchange.view import ViewSpec
from tests.integration.push import CASE
from tests.unit.connectors.test_files import records

WHOLE = {
    "case_id": "a-1", "count": 7, "name": "张三", "amount": 1.5, "day": "2026-01-31", "open": True,
    "at": "2026-01-31T08:00:00+08:00", "grade": "B", "tags": ["x"], "place": {"street": "长街", "lift": 2},
}  # fmt: skip


def read(body: Any, media: str = request.JSON) -> list[Row]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return request.rows(content, media, records(), 1_800_000_000_000)


def test_a_key_is_its_own_systems_and_two_are_valid(tmp_path: Path) -> None:
    secrets = Secrets(tmp_path)
    keys = ApiKeys(secrets, {"a": "A_KEYS", "b": "B_KEYS"})
    first = make_key(secrets, "A_KEYS", only=False)
    second, other = make_key(secrets, "A_KEYS", only=False), make_key(secrets, "B_KEYS", only=False)
    assert [keys.owner(key) for key in (first, second, other, "x", "")] == ["a", "a", "b", None, None]

    third = make_key(secrets, "A_KEYS", only=False)
    assert [keys.owner(key) for key in (first, second, third)] == [None, "a", "a"]
    fourth = make_key(secrets, "A_KEYS", only=True)
    assert [keys.owner(key) for key in (second, third, fourth)] == [None, None, "a"]
    assert fourth not in (tmp_path / "A_KEYS").read_text()


@pytest.mark.parametrize("content", ["abc", "sha256:12", f"{hashed('a')} {hashed('b')} {hashed('c')}"])
def test_a_secret_that_holds_no_hashes_lets_nobody_in(tmp_path: Path, content: str) -> None:
    secrets = Secrets(tmp_path)
    secrets.put("A_KEYS", content)
    with pytest.raises(ConfigError, match="one or two hashes") as refused:
        read_hashes(secrets, "A_KEYS")
    assert content not in str(refused.value)


def test_digests_tell_parts_apart_and_depend_on_secret_and_system() -> None:
    digests = Digests("a", SecretStr("s"))
    assert digests.of(b"ab", b"c") != digests.of(b"a", b"bc")
    assert digests.of(b"ab") == Digests("a", SecretStr("s")).of(b"ab")
    others = Digests("b", SecretStr("s")), Digests("a", SecretStr("t"))
    assert len({one.of(b"x") for one in (digests, *others)}) == 3


def test_receipts_are_remembered_for_a_day() -> None:
    receipts = Receipts("a")
    old, new = Receipt(b"f", 1, 1, 1000), Receipt(b"f", 2, 1, 1001 + KEPT_S * 1000)
    receipts.add(b"old", old)
    assert receipts.find(b"old") == old
    receipts.add(b"new", new)
    assert (receipts.find(b"old"), receipts.find(b"new")) == (None, new)
    assert Receipt.decode(new.encode()) == new


def test_bodies_of_both_media_give_the_same_rows() -> None:
    changes = [{"upsert": WHOLE}, {"delete": {"case_id": "a-1"}}]
    lines = b"\n".join(json.dumps(one).encode() for one in changes)

    assert read(changes) == read(lines, request.NDJSON) == read(lines + b"\n", request.NDJSON)
    assert read(changes)[1] == Row(b"\x06a-1", None)


def test_a_refusal_tells_at_most_fifty_errors_and_how_many_records_are_wrong() -> None:
    with pytest.raises(Problem) as refused:
        read([{"upsert": WHOLE}] + [{"upsert": {"case_id": "x"}}] * 80)

    assert refused.value.status == 422
    assert refused.value.detail.startswith("80 of 81 records")
    assert len(refused.value.errors) == request.MOST_ERRORS


def test_a_line_that_is_no_json_is_named_by_its_number() -> None:
    with pytest.raises(Problem) as refused:
        read(b'{"delete": {"case_id": "a"}}\n{"delete"', request.NDJSON)

    assert refused.value.detail.startswith("line 2: ")


@pytest.mark.parametrize("header", [None, "", "text/json", "application/json; charset=latin-1"])
def test_other_media_types_are_refused(header: str | None) -> None:
    with pytest.raises(Problem):
        request.media_type(header)


def test_the_engine_reads_a_pushed_record_as_it_reads_a_tables() -> None:
    """Every kind of field, through the reference engine; the workers' engines are held to that one."""
    made = records()
    spec = ViewSpec.model_validate(
        {
            "resource": "health.paper",
            "label": {"zh": "全", "en": "all"},
            "fields": dict.fromkeys([*WHOLE.keys() - {"place"}, "place.street", "place.lift"], "clear"),
        }
    )
    topic = "share.health.paper.all"
    view = PlannedView(name="all", topic=topic, spec=spec, key_schema_id=1, value_schema_id=2)
    resource = PlannedResource.model_validate(made.resource.model_dump() | {"views": (view,)})
    program = compile_program(
        resource, made.shape.value_schema, made.shape.key_schema, ViewKeys.from_hex("ab" * 32)
    )

    for item, op in (({"upsert": WHOLE}, "u"), ({"delete": {"case_id": "a-1"}}, "d")):
        (row,) = read([item])
        change = made.captured(row, Position(1, 2, 3), 1_800_000_000_000, 1_800_000_000_001)
        header = RecordHeader(change.position, change.op, change.source_ms)
        outputs = program.apply(header, b"\0\0\0\0\1" + (change.key or b""), b"\0\0\0\0\2" + change.value)
        assert not hasattr(outputs, "reason"), outputs
        assert [output.op.value for output in outputs[0]][:1] == [op]


def test_the_document_describes_every_field_and_names_the_rules_it_cannot_express() -> None:
    document = openapi.document({"health.case": records()})
    record = document["components"]["schemas"]["health.case.record"]

    assert record["required"] == ["case_id", "count"]
    assert record["additionalProperties"] is False
    assert list(record["properties"]) == [field["name"] for field in CASE["fields"]]
    assert record["properties"]["case_id"] == {
        "type": "string", "minLength": 1, "maxLength": 40, "title": "病例编号 · case_id",
    }  # fmt: skip
    assert record["properties"]["count"]["x-rules"] == ["range"]
    assert list(document["components"]["schemas"]["health.case.key"]["properties"]) == ["case_id"]
