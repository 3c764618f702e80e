"""A made-up record of a contract, to show what a view makes of it: nobody's, and the same each time."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import chain
from string import ascii_uppercase
from typing import Any, Final

from stdnum.cn import ric, uscc

from exchange.fieldtype import ContractField, FieldType, Rule, decimal_bytes, decimal_unscaled
from exchange.view import RowCondition

_SEEN_MS: Final = 1_767_225_600_000
"""2026-01-01 UTC: when the example's change is committed."""
_DAY: Final = 20_000
_MICROS_PER_DAY: Final = 86_400_000_000
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - of local timestamps too, which have no zone
_LONGEST: Final = 32
_DIGITS: Final = "330106190001010012345678901234567890"
_LETTERS: Final = f"CHN{ascii_uppercase}{ascii_uppercase}"
_ID_NUMBER: Final = "33010619000101000"
"""Born 1900-01-01, the order 000 that is given to nobody."""
_CREDIT_CODE: Final = "91330100MA0000000"
_TEXTS: Final[dict[str, str]] = {
    "id_number": _ID_NUMBER + ric.calc_check_digit(f"{_ID_NUMBER}0"),
    "credit_code": _CREDIT_CODE + uscc.calc_check_digit(_CREDIT_CODE),
    "person_name": "示例人",
    "mobile": "13800000000",
    "email": "example@example.org",
    "address": "示例路一号",
    "bank_account": "6200000000000000000",
    "certificate_number": "EX00000001",
}
"""Sensitivity → a text of its kind."""


def example_of(fields: Iterable[ContractField], rows: Iterable[RowCondition] = ()) -> dict[str, Any]:
    """Return a record, values as Avro stores them, that keeps the contract's rules where one can be found.

    rows: conditions that it is to meet, so that the view shows it.
    """
    wanted = {row.field: (*row.values, *row.prefix) for row in rows}
    return _record(fields, "", wanted)


def _record(
    fields: Iterable[ContractField], prefix: str, wanted: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    return {field.name: _field(field, prefix + field.name, wanted) for field in fields}


def _field(field: ContractField, path: str, wanted: Mapping[str, tuple[str, ...]]) -> Any:
    if field.type.kind == "record":
        return _record(field.type.fields, f"{path}.", wanted)
    begun = [
        text + _DIGITS.removeprefix(text)[:more] for more in range(_LONGEST) for text in wanted.get(path, ())
    ]
    candidates = chain(begun, _candidates(field.type, field.sensitivity, field.rules))
    first = None
    for value in candidates:
        if all(rule.test(value, _SEEN_MS) for rule in field.rules):
            return value
        first = value if first is None else first
    return first


def _candidates(type_: FieldType, sensitivity: str | None, rules: tuple[Rule, ...]) -> Iterator[Any]:
    if type_.kind == "array" and type_.items is not None:
        for item in _candidates(type_.items, sensitivity, rules):
            yield [item]
        return
    if type_.kind == "record":
        yield _record(type_.fields, "", {})
        return
    if type_.kind == "string":
        yield from _texts(sensitivity, rules)
        return
    yield from _typed(type_)


def _texts(sensitivity: str | None, rules: tuple[Rule, ...]) -> Iterator[str]:
    for rule in rules:
        if rule.name == "codes":
            yield from rule.parameters["values"]
    if sensitivity in _TEXTS:
        yield _TEXTS[sensitivity]
    yield "示例"
    yield from _TEXTS.values()
    for length in range(1, _LONGEST + 1):
        yield _DIGITS[:length]
        yield _LETTERS[:length]
        yield _LETTERS[:length].lower()
        yield from (letter + _DIGITS[: length - 1] for letter in ascii_uppercase)


def _typed(type_: FieldType) -> Iterator[Any]:
    match type_.kind:
        case "boolean":
            yield True
        case "enum":
            yield from type_.symbols
        case "int" | "long":
            yield from (86_400, 3, 1, 0, 2026, 100_000)
        case "float" | "double":
            yield from (86_400.5, 3.5, 1.0, 0.5, 0.0)
        case "decimal":
            for units in (86_400, 3, 1, 0):
                if len(str(units)) <= type_.precision - type_.scale:
                    yield decimal_bytes(units * 10**type_.scale)
        case "date":
            yield from (_DAY, 0, -25_567)
        case "time":
            yield 8 * 3_600_000_000
        case "timestamp" | "local_timestamp":
            yield _DAY * _MICROS_PER_DAY + 8 * 3_600_000_000
        case "uuid":
            yield str(uuid.UUID(int=1))
        case _:
            yield b"\x01\x02\x03"


def text_of(value: Any, type_: FieldType) -> str | None:
    """Return a value as people read it; null stays None."""
    if value is None:
        return None
    match type_.kind:
        case "date":
            return (date(1970, 1, 1) + timedelta(days=value)).isoformat()
        case "timestamp" | "local_timestamp":
            zone = "+00:00" if type_.kind == "timestamp" else ""
            return (_EPOCH + timedelta(microseconds=value)).isoformat() + zone
        case "time":
            return (_EPOCH + timedelta(microseconds=value)).time().isoformat()
        case "decimal":
            return str(Decimal(decimal_unscaled(value)).scaleb(-type_.scale))
        case "boolean":
            return str(value).lower()
        case "bytes":
            return str(value.hex())
        case "array" if type_.items is not None:
            return ", ".join(text_of(one, type_.items) or "null" for one in value)
        case "record":
            parts = ((one.name, text_of(value.get(one.name), one.type)) for one in type_.fields)
            return "; ".join(f"{name}: {text}" for name, text in parts)
        case _:
            return str(value)
