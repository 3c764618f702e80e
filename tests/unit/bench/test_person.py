"""The record that is measured with, and the judges of what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from bench import person
from bench.ground import Table, _topology
from bench.raw import _shape, position_sum
from bench.verify import WrongOutputError, masked, unaltered
from exchange.encoding import wire
from exchange.files.contracts import load_contracts
from exchange.plan_build import compiled_views
from exchange.topology.model import Topology

SCHEMA = _shape(Table("person")).shape.value_schema


def encoded(number: int, **changes: str) -> bytes:
    after: dict[str, Any] = person.row(number) | changes
    after |= {"person_id": number + 1, "birth_date": 1, "household_size": 1, "annual_income": b"\1"}
    after |= {"updated_at": 1}
    source = {"version": "", "connector": "", "name": "", "ts_ms": 1, "snapshot": "", "db": "", "schema": ""}
    source |= {"table": "", "txId": None, "lsn": None}
    envelope = {"before": None, "after": after, "source": source, "op": "c", "ts_ms": 1, "transaction": None}
    return wire.Writer(SCHEMA, 7).encode(envelope)


def test_rows_keep_every_rule_of_the_contract() -> None:
    contract = load_contracts(person.CONTRACTS)[person.CONTRACT]
    texts = [field for field in contract.fields.values() if field.type.kind == "string"]
    for number in range(0, person.PEOPLE, 997):
        row = person.row(number)
        for field in texts:
            assert all(rule.test(row[field.name], 0) for rule in field.rules), field.name


def test_different_people_have_different_numbers() -> None:
    assert len({person.row(number)["id_number"] for number in range(0, person.PEOPLE, 7)}) == 14_286


def test_the_views_are_valid_and_no_two_are_alike() -> None:
    topology = Topology.model_validate(_topology([Table("person", 25)], 3))
    views = compiled_views(topology, load_contracts(person.CONTRACTS))
    assert len({str(view.shown) for view in views.values()}) == 25


def test_a_masked_record_passes_and_what_is_shown_is_as_long_as_it_was() -> None:
    shown = person.shown(3, 0)
    assert shown["mobile"] == "138****0003"
    masked(SCHEMA, 0)(encoded(3, **shown))


@pytest.mark.parametrize("field", ["name", "id_number", "mobile"])
def test_a_record_with_one_clear_field_is_found(field: str) -> None:
    cheat = person.shown(3, 0) | {field: person.row(3)[field]}
    with pytest.raises(WrongOutputError, match=f"not masked as view 0 asks for: {field}"):
        masked(SCHEMA, 0)(encoded(3, **cheat))


def test_a_clear_value_in_another_field_is_found() -> None:
    cheat = person.shown(3, 0) | {"status": person.row(3)["mobile"]}
    with pytest.raises(WrongOutputError, match="clear value elsewhere"):
        masked(SCHEMA, 0)(encoded(3, **cheat))


def test_another_record_than_was_written_is_found() -> None:
    unaltered(SCHEMA)(encoded(3))
    with pytest.raises(WrongOutputError, match="not the record"):
        unaltered(SCHEMA)(encoded(3, id_number="x"))


def test_bytes_that_are_no_record_are_found() -> None:
    with pytest.raises(WrongOutputError, match="does not describe"):
        masked(SCHEMA, 0)(b"\0\0\0\0\7nonsense")


def test_a_record_twice_instead_of_another_changes_the_sum() -> None:
    whole = position_sum(0, 10)
    assert whole != position_sum(0, 9) + position_sum(8, 1)
    assert whole == position_sum(0, 4) + position_sum(4, 6)
