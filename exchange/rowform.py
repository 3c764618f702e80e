"""A contract's records as a department sends them, where there is no table: as JSON objects.

The members are named as the contract's `source` says, the field's own name where it says nothing. Every value
is judged here by the same fits and rules as later by the workers, so that the sender hears of all that is
wrong at once; the raw record is what a table with these columns would have given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from exchange.change import Rejected
from exchange.contract import NAME, Contract
from exchange.engine.fit import Slot, slot_of
from exchange.engine.jsonfit import value_fit
from exchange.errors import ContractError
from exchange.fieldtype import ContractField, FieldType

UNKNOWN_FIELD: Final = "unknown_field"
"""Rule that a member breaks which the contract does not have."""

_JSON_COLUMN: Final = {"type": "string", "connect.name": "io.debezium.data.Json"}
_AS_JSON: Final = frozenset({"record", "array"})


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a record is refused: dotted path of the field ("" where it has none), and the rule it breaks."""

    field: str
    rule: str


class RowForm:
    """Reads the JSON objects of one contract as rows for its raw topic."""

    def __init__(self, contract: Contract) -> None:
        """Compile. Raises: ContractError when the contract has fields that cannot be sent."""
        if found := list(problems(contract)):
            raise ContractError("\n".join(f"contract {contract.name}: {problem}" for problem in found))
        self.contract = contract
        self._slots = tuple(_slot(field) for field in contract.fields.values())
        self._key_slots = tuple(_slot(contract.fields[name]) for name in contract.key)
        self._types = {field.source: field.type for field in contract.fields.values()}
        self._columns = frozenset(self._types)
        self._key_columns = frozenset(slot.source for slot in self._key_slots)

    def columns(self) -> list[dict[str, Any]]:
        """Return the Avro fields of a row, the key's first; all others may be null, as a table's columns."""
        key = self.key_columns()
        others = (
            {"name": field.source, "type": ["null", _column_type(field)], "default": None}
            for field in self.contract.fields.values()
            if field.source not in self._key_columns
        )
        return [*key, *others]

    def key_columns(self) -> list[dict[str, Any]]:
        """Return the Avro fields of a row's key, in the contract's order."""
        fields = (self.contract.fields[name] for name in self.contract.key)
        return [{"name": field.source, "type": _column_type(field)} for field in fields]

    def row(self, record: Any, now_ms: int) -> dict[str, Any] | list[Flaw]:
        """Return a record's row by column, or everything that is wrong with it.

        record: as exchange.strictjson.loads has read it; now_ms: when it came, since 1970-01-01 UTC.
        """
        return self._read(record, self._slots, self._columns, now_ms)

    def key(self, record: Any, now_ms: int) -> dict[str, Any] | list[Flaw]:
        """Return the key's columns of an object that holds nothing else, or what is wrong with it."""
        return self._read(record, self._key_slots, self._key_columns, now_ms)

    def _read(
        self, record: Any, slots: tuple[Slot, ...], known: frozenset[str], now_ms: int
    ) -> dict[str, Any] | list[Flaw]:
        if not isinstance(record, dict):
            return [Flaw("", "type")]
        flaws = [] if record.keys() <= known else [Flaw("", UNKNOWN_FIELD)]
        row: dict[str, Any] = {}
        for slot in slots:
            value = record.get(slot.source)
            type_ = self._types[slot.source]
            fitted = slot.if_null if value is None else slot.read(value, now_ms)
            if isinstance(fitted, Rejected):
                flaws.append(Flaw(fitted.field, fitted.reason.value))
            elif type_.kind in _AS_JSON and value is not None:
                flaws += _unknown_inside(type_, value, slot.name)
                row[slot.source] = json_text(value)
            else:
                row[slot.source] = fitted
        return flaws or row


def problems(contract: Contract) -> Iterator[str]:
    """Yield what keeps a contract's records from being sent as JSON objects, field by field."""
    for field in contract.fields.values():
        if not NAME.fullmatch(field.source):
            yield (
                f"field {field.name!r}: source {field.source[:40]!r} is no name of letters, digits and _; "
                "where there is no table, leave `source` out"
            )
        try:
            value_fit(field.type, field.name)
        except ValueError as error:
            yield f"field {error}"


def json_text(value: Any) -> str:
    """Return a value that strictjson.loads has read as JSON again, its numbers exact."""
    match value:
        case dict():
            return "{" + ",".join(f"{_quoted(name)}:{json_text(item)}" for name, item in value.items()) + "}"
        case list():
            return "[" + ",".join(map(json_text, value)) + "]"
        case Decimal():
            return str(value)
        case _:
            return _quoted(value)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _slot(field: ContractField) -> Slot:
    return slot_of(field, field.name, value_fit(field.type, field.name))


def _column_type(field: ContractField) -> Any:
    if field.type.kind in _AS_JSON:
        return _JSON_COLUMN
    if field.type.kind == "enum":
        return "string"
    return field.type.not_null().avro(field.name)


def _unknown_inside(type_: FieldType, value: Any, path: str) -> list[Flaw]:
    """Return a flaw for each object inside a value that has members of no field; the value fits its type."""
    if value is None:
        return []
    if type_.kind == "array" and type_.items is not None:
        items = type_.items
        return [flaw for item in value for flaw in _unknown_inside(items, item, f"{path}[]")]
    if type_.kind != "record":
        return []
    fields: Mapping[str, ContractField] = {field.source: field for field in type_.fields}
    flaws = [] if value.keys() <= fields.keys() else [Flaw(path, UNKNOWN_FIELD)]
    for source, field in fields.items():
        flaws += _unknown_inside(field.type, value.get(source), f"{path}.{field.name}")
    return flaws
