from __future__ import annotations

import copy
from typing import Any

import fastavro
import pytest

from exchange.errors import ConfigError
from exchange.view import compile_view
from tests.unit.exchange.samples import ENROLMENT, LEGAL_PERSON, PERSON, PERSON_VIEW, spec

KEY = {"id_number": "token"}


def problems(fields: dict[str, Any], rows: tuple[Any, ...] = (), name: str = "v") -> str:
    with pytest.raises(ConfigError) as caught:
        compile_view(PERSON, spec(PERSON, fields, rows), name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (KEY | {"mobil": "token"}, "Did you mean 'mobile'"),
        (KEY | {"address.stret": "redact"}, "Did you mean 'street'"),
        (KEY | {"mobile": "clear"}, "fields.mobile: shows mobile (mobile) clear"),
        (KEY | {"annual_income": "clear"}, "(classification 3) clear"),
        (KEY | {"address": "clear"}, "fields.address: shows address (address) clear"),
        (KEY | {"address.detail": "clear"}, "fields.address.detail: shows address.detail"),
        (KEY | {"address": "null", "address.postcode": "clear"}, "list it or its parts, not both"),
        (KEY | {"languages": "token"}, "does not fit array of string"),
        (KEY | {"birth_date": {"kind": "partial", "keep_first": 1}}, "does not fit date"),
        (KEY | {"region_code": {"kind": "generalise", "to": "prefix"}}, "needs a size"),
        ({"name": "redact"}, "the key field is not shown"),
        ({"id_number": "omit", "name": "redact"}, "the key field is masked by omit"),
        ({"id_number": {"kind": "partial", "keep_last": 4}}, "the key field is masked by partial"),
        ({"id_number": "redact"}, "the key field is masked by redact"),
        ({"id_number": "clear"}, "shows id_number (id_number) clear"),
    ],
)
def test_wrong_field_list_is_told(fields: dict[str, Any], told: str) -> None:
    assert told in problems(fields)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"field": "region", "prefix": ["33"]}, "Did you mean 'region_code'"),
        ({"field": "birth_date", "values": ["1990"]}, "conditions judge text or code"),
        ({"field": "region_code"}, "give prefix or values"),
        ({"field": "region_code", "prefix": [""]}, "an empty prefix lets every row in"),
        ({"field": "status", "values": ["NORMALE"]}, "Did you mean 'NORMAL'"),
    ],
)
def test_wrong_row_condition_is_told(row: dict[str, Any], told: str) -> None:
    assert told in problems(KEY, (row,))


def test_all_problems_of_a_view_are_told_at_once() -> None:
    text = problems({"mobile": "clear", "nobody": "clear"}, ({"field": "region_code"},))
    assert len(text.splitlines()) == 4
    assert all(line.startswith("view population.person.v: ") for line in text.splitlines())


@pytest.mark.parametrize("name", ["", "a-b", "A", "1a", "a.b"])
def test_view_name_that_avro_or_a_topic_cannot_carry_is_refused(name: str) -> None:
    assert "the name must be" in problems(KEY, name=name)


def test_sensitive_field_may_be_shown_clear_for_a_reason() -> None:
    fields = {
        "id_number": {"kind": "clear", "reason": "法定职责"},
        "address": {"kind": "clear", "reason": "送达"},
    }
    view = compile_view(PERSON, spec(PERSON, fields), "v")
    assert [shown.path for shown in view.shown] == ["id_number", "address"]


def test_array_of_records_is_shown_whole() -> None:
    fields = {"credit_code": "token", "branches": "clear"}
    schema = compile_view(LEGAL_PERSON, spec(LEGAL_PERSON, fields), "v").value_schema()
    assert "BranchesItem" not in str(schema)
    fastavro.parse_schema(schema)


def test_array_of_records_cannot_be_shown_in_part() -> None:
    with pytest.raises(ConfigError, match="unknown field 'name'"):
        compile_view(
            LEGAL_PERSON, spec(LEGAL_PERSON, {"credit_code": "token", "branches.name": "clear"}), "v"
        )


def test_schemas_hold_what_is_listed_and_nothing_else() -> None:
    view = compile_view(PERSON, PERSON_VIEW, "school")
    envelope = view.value_schema()
    before = envelope["fields"][0]["type"][1]
    assert [field["name"] for field in before["fields"]] == [shown.field.name for shown in view.shown]
    assert envelope["namespace"] == "share.population.person.school"
    assert view.key_schema()["fields"][0]["type"] == "string"
    types = {field["name"]: field["type"] for field in before["fields"]}
    assert types["birth_date"] == ["null", "string"]
    assert types["household_size"] == ["null", "long"]
    assert types["updated_at"] == ["null", {"type": "long", "logicalType": "timestamp-micros"}]
    assert [part["name"] for part in types["address"][1]["fields"]] == ["region_code", "postcode"]
    fastavro.parse_schema(copy.deepcopy(envelope))
    fastavro.parse_schema(view.key_schema())


def test_field_order_is_the_contracts_whatever_the_declaration_says() -> None:
    one = compile_view(ENROLMENT, spec(ENROLMENT, {"enrolment_no": "clear", "grade": "clear"}), "v")
    other = compile_view(ENROLMENT, spec(ENROLMENT, {"grade": "clear", "enrolment_no": "clear"}), "v")
    assert one.value_schema() == other.value_schema()


def test_schemas_are_made_anew_for_each_caller() -> None:
    view = compile_view(PERSON, PERSON_VIEW, "v")
    fastavro.parse_schema(view.value_schema())
    assert view.value_schema() == compile_view(PERSON, PERSON_VIEW, "v").value_schema()
