"""Records without a table: what is read, what is refused, and that numbers keep every digit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange import strictjson
from exchange.contract import Contract
from exchange.errors import ContractError
from exchange.rowform import Flaw, RowForm, json_text


def contract(*types: Any, source: str = "") -> Contract:
    fields: list[dict[str, Any]] = [
        {"name": f"f{number}", "type": type_, "classification": 1, "label": {"zh": "字段", "en": "Field"}}
        for number, type_ in enumerate(("string", *types))
    ]
    if source:
        fields[-1]["source"] = source
    label = {"zh": "表", "en": "Table"}
    document = {"type": "record", "namespace": "a", "name": "b", "contractVersion": 1, "label": label}
    return Contract.parse(document | {"key": ["f0"], "fields": fields}, "test")


UUID = {"type": "string", "logicalType": "uuid"}
TIME = {"type": "long", "logicalType": "time-micros"}
LOCAL = {"type": "long", "logicalType": "local-timestamp-micros"}


@pytest.mark.parametrize(
    ("type_", "value", "wanted"),
    [
        (UUID, "0190a8f0-1b2c-7d3e-8f40-000000000001", "0190a8f0-1b2c-7d3e-8f40-000000000001"),
        (TIME, "08:00:00.000001", 28_800_000_001),
        (LOCAL, "1970-01-02T00:00:01", 86_401_000_000),
        ("long", -(1 << 63), -(1 << 63)),
        ("double", Decimal("0.1"), 0.1),
    ],
)
def test_a_value_becomes_what_a_column_would_hold(type_: Any, value: Any, wanted: Any) -> None:
    assert RowForm(contract(type_)).row({"f0": "k", "f1": value}, 0) == {"f0": "k", "f1": wanted}


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (UUID, "0190A8F0-1B2C-7D3E-8F40-000000000001"),
        (UUID, "x"),
        (TIME, "24:00:00"),
        (TIME, "08:00"),
        (LOCAL, "1970-01-02T00:00:01Z"),
        ("long", 1 << 63),
        ("string", 1),
    ],
)
def test_what_is_no_value_of_the_field_is_refused(type_: Any, value: Any) -> None:
    assert RowForm(contract(type_)).row({"f0": "k", "f1": value}, 0) == [Flaw("f1", "type")]


def test_a_contract_of_what_json_cannot_hold_is_refused_with_every_field() -> None:
    with pytest.raises(ContractError) as refused:
        RowForm(contract("bytes", "string", source="姓名"))

    assert "f1: bytes cannot be held in JSON" in str(refused.value)
    assert "'f2': source '姓名' is no name" in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]))
    | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)  # fmt: skip


@given(JSON)
def test_json_is_written_as_it_was_read(value: Any) -> None:
    text = json_text(value)

    assert json_text(strictjson.loads(text)) == text
    assert strictjson.loads(text) == value
