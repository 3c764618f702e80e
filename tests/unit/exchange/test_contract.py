from __future__ import annotations

import copy
from typing import Any

import fastavro
import pytest

from exchange.contract import Contract
from exchange.errors import ContractError
from exchange.fieldtype import FieldType, decimal_bytes, decimal_unscaled, type_name
from tests.unit.exchange.samples import CONTRACTS, PERSON

GOOD: dict[str, Any] = {
    "type": "record",
    "namespace": "shop",
    "name": "item",
    "label": {"zh": "物品", "en": "Item"},
    "contractVersion": 2,
    "key": ["id"],
    "fields": [
        {
            "name": "id",
            "type": "string",
            "classification": 3,
            "sensitivity": "id_number",
            "label": {"zh": "号", "en": "Id"},
            "rules": [{"rule": "required"}],
            "source": "item_id",
        },
        {
            "name": "owner",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "Owner",
                    "fields": [
                        {
                            "name": "mobile",
                            "type": "string",
                            "classification": 3,
                            "label": {"zh": "机", "en": "M"},
                        }
                    ],
                },
            ],
            "default": None,
            "classification": 2,
            "label": {"zh": "主", "en": "Owner"},
        },
    ],
}


def changed(path: list[Any], value: Any) -> dict[str, Any]:
    """Return GOOD with one thing replaced, or dropped where the value is `...`."""
    document = copy.deepcopy(GOOD)
    at: Any = document
    for step in path[:-1]:
        at = at[step]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return document


def problems(document: dict[str, Any]) -> str:
    with pytest.raises(ContractError) as caught:
        Contract.parse(document, "here.avsc")
    return str(caught.value)


def test_contract_has_what_its_document_says() -> None:
    contract = Contract.parse(GOOD, "here.avsc")
    assert (contract.name, contract.version, contract.key, contract.label_zh) == (
        "shop.item",
        2,
        ("id",),
        "物品",
    )
    assert list(contract.fields) == ["id", "owner"]
    field = contract.fields["id"]
    assert (field.source, field.classification, field.sensitivity) == ("item_id", 3, "id_number")
    assert [rule.name for rule in field.rules] == ["required"]
    assert contract.fields["owner"].type.nullable
    assert contract.find("owner.mobile") is not None
    assert contract.find("owner.mobile.x") is None
    assert contract.find("nobody") is None


FIELD = ["fields", 0]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["kind"], 1, "record: unknown attribute 'kind'"),
        (["contractVersion"], True, "contractVersion"),
        (["contractVersion"], ..., "contractVersion"),
        (["namespace"], "a-b", "namespace: expected a name"),
        (["type"], "enum", 'expected "record"'),
        (["label"], {"zh": "物"}, "both languages"),
        (["key"], [], "key: expected a list"),
        (["key"], ["ide"], "Did you mean 'id'"),
        (["key"], ["id", "id"], "named twice"),
        (["key"], ["owner"], "cannot be a key"),
        (["fields"], [], "not empty"),
        ([*FIELD, "classification"], ..., "classification is missing"),
        ([*FIELD, "classification"], 5, "classification is not one of"),
        ([*FIELD, "clasification"], 1, "Did you mean 'classification'"),
        ([*FIELD, "sensitivity"], "id_numbr", "Did you mean 'id_number'"),
        ([*FIELD, "type"], "strnig", "Did you mean 'string'"),
        ([*FIELD, "type"], ["string", "null"], 'the only union a contract may use is ["null", <type>]'),
        ([*FIELD, "type"], ..., "fields[0] 'id': type is missing (known: "),
        ([*FIELD, "type"], {"type": "int", "logicalType": "dat"}, "unknown logical type 'dat'"),
        ([*FIELD, "type"], {"type": ["null", "int"], "logicalType": "date"}, "unknown logical type 'date'"),
        ([*FIELD, "type"], {"type": "bytes", "logicalType": "decimal"}, "decimal: expected precision"),
        ([*FIELD, "type"], {"type": "enum", "name": "E", "symbols": ["a-b"]}, "symbols"),
        ([*FIELD, "type"], {"type": "array", "items": "nope"}, "unknown type 'nope'"),
        ([*FIELD, "type"], {"type": "map", "values": "int"}, "unknown type 'map'"),
        ([*FIELD, "default"], "", "the only default"),
        ([*FIELD, "name"], "owner", "declared twice"),
        ([*FIELD, "label"], "Id", "both languages"),
        ([*FIELD, "source"], "", "source"),
        ([*FIELD, "rules"], [{"rule": "requird"}], "Did you mean 'required'"),
        ([*FIELD, "rules"], [{"rule": "required"}, {"rule": "required"}], "given twice"),
        ([*FIELD, "rules"], {}, "rules: expected a list"),
        (["fields", 1, "type", 1, "fields", 0, "classification"], ..., "fields[0] 'mobile': classification"),
    ],
)
def test_wrong_contract_says_where_and_what(path: list[Any], value: Any, told: str) -> None:
    text = problems(changed(path, value))
    assert told in text
    assert text.startswith("here.avsc: ")


def test_all_problems_are_told_at_once() -> None:
    document = changed(["fields", 0, "classification"], 9)
    document["contractVersion"] = 0
    document["fields"][1]["label"] = None
    assert len(problems(document).splitlines()) == 3


def test_contracts_in_the_repository_are_complete_avro() -> None:
    assert set(CONTRACTS) == {"population.person", "market.legal_person", "education.enrolment"}
    for contract in CONTRACTS.values():
        fastavro.parse_schema(copy.deepcopy(dict(contract.document)))
        kinds = {field.type.kind for field in contract.fields.values()}
        assert {"enum", "date", "timestamp", "decimal", "record", "array"} <= kinds


def test_every_id_number_and_mobile_in_the_repository_is_marked_sensitive() -> None:
    for contract in CONTRACTS.values():
        for field in contract.fields.values():
            for path, leaf in field.leaves():
                if "mobile" in path or "id_number" in path:
                    assert leaf.sensitive, path


def test_avro_type_of_a_field_reads_as_in_the_document() -> None:
    assert PERSON.fields["birth_date"].type.avro("x") == {"type": "int", "logicalType": "date"}
    assert FieldType("decimal", nullable=True, precision=4, scale=2).avro("x") == [
        "null",
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
    ]
    assert type_name("address.geo_point") == "AddressGeoPoint"


@pytest.mark.parametrize("unscaled", [0, 1, -1, 127, 128, -128, -129, 10**40, -(10**40)])
def test_decimal_bytes_round_trip_and_are_shortest(unscaled: int) -> None:
    encoded = decimal_bytes(unscaled)
    assert decimal_unscaled(encoded) == unscaled
    assert len(encoded) == 1 or decimal_unscaled(encoded[1:]) != unscaled
