"""From a captured row to a record of the contract: columns fitted to fields, every value judged.

A fit is compiled once from the column's schema and the field's type; a pair that could lose or change a value
is a ContractError then, not a surprise later.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final

from exchange.change import Reason, Rejected
from exchange.engine.fit import Fit, Slot, decimal_fit, fill, items_fit, slot_of
from exchange.engine.jsonfit import json_fit
from exchange.errors import ContractError
from exchange.fieldtype import LOGICAL, ContractField, FieldType, decimal_bytes, decimal_unscaled
from exchange.suggest import did_you_mean

_CONNECT_KINDS: Final = {"exchange.Numeric": "numeric", "io.debezium.data.Json": "json"}
_SAME: Final = frozenset({"boolean", "int", "long", "string", "bytes", "time"})
_EPOCH: Final = date(1970, 1, 1)
_MICROS_PER_DAY: Final = 86_400_000_000
DATE_BOUNDS: Final = ((date.min - _EPOCH).days, (date.max - _EPOCH).days)
"""First and last day that a date can name: years 1 to 9999."""
MICROS_BOUNDS: Final = (DATE_BOUNDS[0] * _MICROS_PER_DAY, (DATE_BOUNDS[1] + 1) * _MICROS_PER_DAY - 1)
"""The same for timestamps, in microseconds since 1970-01-01."""
_NUMERIC: Final = re.compile(r"-?[0-9]{1,1000}(?:\.[0-9]{1,1000})?", re.ASCII)


class Image:
    """Reads rows of one table as records of one contract's fields."""

    def __init__(self, slots: tuple[Slot, ...]) -> None:
        self.slots = slots

    def read(self, row: Mapping[str, Any], source_ms: int) -> dict[str, Any] | Rejected:
        """Return the record, or why it is refused: the first field, in the contract's order, that fails."""
        return fill(self.slots, row, source_ms)


def compile_image(fields: Mapping[str, ContractField], raw_record: Any, where: str) -> Image:
    """Return the reader of rows of a raw Avro record schema; `where` begins every message.

    Raises: ContractError listing all problems: a column that is missing, or whose type does not fit exactly.
    """
    columns = {column["name"]: column["type"] for column in raw_record["fields"]}
    problems: list[str] = []
    slots: list[Slot] = []
    for field in fields.values():
        if field.source not in columns:
            problems.append(f"{where}: field {field.name!r}: no column {did_you_mean(field.source, columns)}")
            continue
        try:
            fit = _fit_column(raw_type(columns[field.source]), field.type, field.name)
        except ValueError as error:
            problems.append(f"{where}: field {field.name!r}, column {field.source!r}: {error}")
            continue
        slots.append(slot_of(field, field.name, fit))
    if problems:
        raise ContractError("\n".join(problems))
    return Image(tuple(slots))


def raw_type(schema: Any) -> FieldType:
    """Return the type of a raw column; besides a contract's kinds there are json and numeric (exact text)."""
    if isinstance(schema, list):
        branches = [branch for branch in schema if branch != "null"]
        return raw_type(branches[0]) if len(branches) == 1 else FieldType("union")
    if isinstance(schema, str):
        return FieldType(schema)
    kind = schema["type"]
    if isinstance(kind, Mapping | list):
        return raw_type(kind)
    if kind == "array":
        return FieldType("array", items=raw_type(schema["items"]))
    if kind == "string" and schema.get("connect.name") in _CONNECT_KINDS:
        return FieldType(_CONNECT_KINDS[schema["connect.name"]])
    logical = LOGICAL.get((kind, schema.get("logicalType")), kind)
    return FieldType(logical, precision=schema.get("precision", 0), scale=schema.get("scale", 0))


def _fit_column(raw: FieldType, type_: FieldType, path: str) -> Fit | None:
    """Return the fit, or None where every value of the column is one of the field's."""
    fit = _FITS.get((raw.kind, type_.kind))
    if fit is not None:
        return fit(raw, type_, path)
    if raw.kind == "json" and type_.kind in ("record", "array"):
        return json_fit(type_, path)
    if raw.kind == type_.kind and raw.kind in _SAME:
        return None
    if (raw.kind, type_.kind) in (("int", "long"), ("uuid", "string"), ("uuid", "uuid")):
        return None
    msg = f"a column of type {raw.describe()} does not hold exactly the values of {type_.describe()}"
    raise ValueError(msg)


def _fit_array(raw: FieldType, type_: FieldType, path: str) -> Fit:
    if raw.items is None or type_.items is None:
        msg = "an array without items"
        raise ValueError(msg)
    return items_fit(_fit_column(raw.items, type_.items, f"{path}[]"), type_.items, f"{path}[]")


def _fit_enum(_raw: FieldType, type_: FieldType, path: str) -> Fit:
    symbols, refusal = frozenset(type_.symbols), Rejected(Reason.CODE, path)
    return lambda value, _: value if value in symbols else refusal


def _fit_finite(_raw: FieldType, _type: FieldType, path: str) -> Fit:
    refusal = Rejected(Reason.UNREPRESENTABLE, path)
    return lambda value, _: value if math.isfinite(value) else refusal


def _fit_days(_raw: FieldType, _type: FieldType, path: str) -> Fit:
    refusal = Rejected(Reason.UNREPRESENTABLE, path)
    first, last = DATE_BOUNDS
    return lambda days, _: days if first <= days <= last else refusal


def _fit_micros(_raw: FieldType, _type: FieldType, path: str) -> Fit:
    refusal = Rejected(Reason.UNREPRESENTABLE, path)
    first, last = MICROS_BOUNDS
    return lambda micros, _: micros if first <= micros <= last else refusal


def _fit_decimal(raw: FieldType, type_: FieldType, path: str) -> Fit:
    if raw.scale > type_.scale or raw.precision - raw.scale > type_.precision - type_.scale:
        msg = f"a column of type {raw.describe()} may hold values that {type_.describe()} cannot"
        raise ValueError(msg)
    shift, limit = 10 ** (type_.scale - raw.scale), 10**raw.precision
    refusal = Rejected(Reason.UNREPRESENTABLE, path)

    def fit(encoded: Any, _: int) -> Any:
        unscaled = decimal_unscaled(encoded)
        return decimal_bytes(unscaled * shift) if abs(unscaled) < limit else refusal

    return fit


def _fit_numeric(_raw: FieldType, type_: FieldType, path: str) -> Fit:
    exact = decimal_fit(type_, path)
    refusal = Rejected(Reason.UNREPRESENTABLE, path)

    def fit(text: Any, source_ms: int) -> Any:
        return exact(Decimal(text), source_ms) if _NUMERIC.fullmatch(text) else refusal

    return fit


_FITS: Final[dict[tuple[str, str], Callable[[FieldType, FieldType, str], Fit]]] = {
    ("array", "array"): _fit_array,
    ("string", "enum"): _fit_enum,
    ("float", "float"): _fit_finite,
    ("float", "double"): _fit_finite,
    ("double", "double"): _fit_finite,
    ("date", "date"): _fit_days,
    ("timestamp", "timestamp"): _fit_micros,
    ("local_timestamp", "local_timestamp"): _fit_micros,
    ("decimal", "decimal"): _fit_decimal,
    ("numeric", "decimal"): _fit_numeric,
}
"""(kind of the column, kind of the field) → what makes the fit. Pairs not listed fit as they are, or not."""
