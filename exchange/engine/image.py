"""From a captured row to a record of the contract: columns fitted to fields, every value judged.

A fit is compiled once from the column's schema and the field's type; a pair that could lose or change a value
is a ContractError then, not a surprise later.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

from exchange import strictjson
from exchange.change import Reason, Rejected
from exchange.errors import ContractError
from exchange.fieldtype import LOGICAL, ContractField, FieldType, decimal_bytes, decimal_unscaled
from exchange.suggest import did_you_mean

Fit = Callable[[Any, int], Any]
"""(value of the column, source commit time in ms) → value of the field, or Rejected; never given null."""

_CONNECT_KINDS: Final = {"exchange.Numeric": "numeric", "io.debezium.data.Json": "json"}
_SAME: Final = frozenset({"boolean", "int", "long", "string", "bytes", "time"})
_EPOCH: Final = date(1970, 1, 1)
_FIRST_DAY: Final = (date.min - _EPOCH).days
_LAST_DAY: Final = (date.max - _EPOCH).days
_MICROS_PER_DAY: Final = 86_400_000_000
_BITS: Final = {"int": 31, "long": 63}
_NUMERIC: Final = re.compile(r"-?[0-9]{1,1000}(?:\.[0-9]{1,1000})?", re.ASCII)
_MAX_EXPONENT: Final = 1000
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIMESTAMP: Final = re.compile(
    _DATE.pattern + r"[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
"""One spelling each: Python's reader takes week dates and cuts off what is finer than a microsecond."""


class _Slot(NamedTuple):
    """One field of a record and how it is filled from the member `source` of a row or JSON object."""

    name: str
    source: str
    fit: Fit | None
    rules: tuple[tuple[Callable[[Any, int], bool], Rejected], ...]
    if_null: Rejected | None


class Image:
    """Reads rows of one table as records of one contract's fields."""

    def __init__(self, slots: tuple[_Slot, ...]) -> None:
        self._slots = slots

    def read(self, row: Mapping[str, Any], source_ms: int) -> dict[str, Any] | Rejected:
        """Return the record, or why it is refused: the first field, in the contract's order, that fails."""
        return _fill(self._slots, row, source_ms)


def compile_image(fields: Mapping[str, ContractField], raw_record: Any, where: str) -> Image:
    """Return the reader of rows of a raw Avro record schema; `where` begins every message.

    Raises: ContractError listing all problems: a column that is missing, or whose type does not fit exactly.
    """
    columns = {column["name"]: column["type"] for column in raw_record["fields"]}
    problems: list[str] = []
    slots: list[_Slot] = []
    for field in fields.values():
        if field.source not in columns:
            problems.append(f"{where}: field {field.name!r}: no column {did_you_mean(field.source, columns)}")
            continue
        try:
            fit = _fit_column(raw_type(columns[field.source]), field.type, field.name)
        except ValueError as error:
            problems.append(f"{where}: field {field.name!r}, column {field.source!r}: {error}")
            continue
        slots.append(_slot(field, field.name, fit))
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


def _slot(field: ContractField, path: str, fit: Fit | None) -> _Slot:
    required = not field.type.nullable or any(rule.name == "required" for rule in field.rules)
    return _Slot(
        name=field.name,
        source=field.source,
        fit=fit,
        rules=tuple((rule.test, Rejected(rule.reason, path)) for rule in field.rules),
        if_null=Rejected(Reason.REQUIRED, path) if required else None,
    )


def _fill(slots: tuple[_Slot, ...], row: Mapping[str, Any], source_ms: int) -> dict[str, Any] | Rejected:
    record: dict[str, Any] = {}
    for name, source, fit, rules, if_null in slots:
        value = row.get(source)
        if value is None:
            if if_null is not None:
                return if_null
            record[name] = None
            continue
        if fit is not None:
            value = fit(value, source_ms)
            if type(value) is Rejected:
                return value
        for test, refusal in rules:
            if not test(value, source_ms):
                return refusal
        record[name] = value
    return record


def _fit_column(raw: FieldType, type_: FieldType, path: str) -> Fit | None:
    """Return the fit, or None where every value of the column is one of the field's."""
    fit = _FITS.get((raw.kind, type_.kind))
    if fit is not None:
        return fit(raw, type_, path)
    if raw.kind == "json" and type_.kind in ("record", "array"):
        return _json_text(type_, path)
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
    return _items(_fit_column(raw.items, type_.items, f"{path}[]"), type_.items, f"{path}[]")


def _items(fit: Fit | None, type_: FieldType, path: str) -> Fit:
    null_refused = None if type_.nullable else Rejected(Reason.REQUIRED, path)

    def fit_items(values: Any, source_ms: int) -> Any:
        fitted = []
        for value in values:
            if value is None and null_refused is not None:
                return null_refused
            item = value if value is None or fit is None else fit(value, source_ms)
            if type(item) is Rejected:
                return item
            fitted.append(item)
        return fitted

    return fit_items


def _fit_enum(_raw: FieldType, type_: FieldType, path: str) -> Fit:
    symbols, refusal = frozenset(type_.symbols), Rejected(Reason.CODE, path)
    return lambda value, _: value if value in symbols else refusal


def _fit_finite(_raw: FieldType, _type: FieldType, path: str) -> Fit:
    refusal = Rejected(Reason.UNREPRESENTABLE, path)
    return lambda value, _: value if math.isfinite(value) else refusal


def _fit_days(_raw: FieldType, _type: FieldType, path: str) -> Fit:
    refusal = Rejected(Reason.UNREPRESENTABLE, path)
    return lambda days, _: days if _FIRST_DAY <= days <= _LAST_DAY else refusal


def _fit_micros(_raw: FieldType, _type: FieldType, path: str) -> Fit:
    refusal = Rejected(Reason.UNREPRESENTABLE, path)
    first, end = _FIRST_DAY * _MICROS_PER_DAY, (_LAST_DAY + 1) * _MICROS_PER_DAY
    return lambda micros, _: micros if first <= micros < end else refusal


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
    exact = _exact_decimal(type_, path)
    refusal = Rejected(Reason.UNREPRESENTABLE, path)

    def fit(text: Any, source_ms: int) -> Any:
        return exact(Decimal(text), source_ms) if _NUMERIC.fullmatch(text) else refusal

    return fit


def _exact_decimal(type_: FieldType, path: str) -> Fit:
    limit, refusal = 10**type_.precision, Rejected(Reason.UNREPRESENTABLE, path)

    def fit(number: Any, _: int) -> Any:
        exact = number if isinstance(number, Decimal) else Decimal(number)
        _, digits, exponent = exact.as_tuple()
        # Bounded before scaling: 1E+999999999 is a short text and a number of a gigabyte.
        if not isinstance(exponent, int) or abs(exponent) > _MAX_EXPONENT or len(digits) > _MAX_EXPONENT:
            return refusal
        numerator, denominator = exact.as_integer_ratio()
        unscaled, rest = divmod(numerator * 10**type_.scale, denominator)
        if rest or abs(unscaled) >= limit:
            return refusal
        return decimal_bytes(unscaled)

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


def _json_text(type_: FieldType, path: str) -> Fit:
    fit, refusal = _fit_json(type_, path), Rejected(Reason.TYPE, path)

    def fit_text(text: Any, source_ms: int) -> Any:
        try:
            value = strictjson.loads(text)
        except ValueError:
            return refusal
        return fit(value, source_ms)

    return fit_text


def _fit_json(type_: FieldType, path: str) -> Fit:
    if type_.kind == "record":
        return _json_record(type_, path)
    if type_.kind == "array" and type_.items is not None:
        return _json_array(type_.items, path)
    if type_.kind == "decimal":
        return _json_number(_exact_decimal(type_, path), path)
    if type_.kind not in _JSON_FITS:
        msg = f"{path}: {type_.describe()} cannot be held in JSON"
        raise ValueError(msg)
    return _JSON_FITS[type_.kind](type_, path)


def _json_record(type_: FieldType, path: str) -> Fit:
    slots = tuple(
        _slot(field, f"{path}.{field.name}", _fit_json(field.type, f"{path}.{field.name}"))
        for field in type_.fields
    )
    refusal = Rejected(Reason.TYPE, path)
    return lambda value, source_ms: _fill(slots, value, source_ms) if isinstance(value, dict) else refusal


def _json_array(items: FieldType, path: str) -> Fit:
    fit_items = _items(_fit_json(items, f"{path}[]"), items, f"{path}[]")
    refusal = Rejected(Reason.TYPE, path)
    return lambda value, source_ms: fit_items(value, source_ms) if isinstance(value, list) else refusal


def _json_number(fit: Fit, path: str) -> Fit:
    refusal = Rejected(Reason.TYPE, path)
    return lambda value, source_ms: fit(value, source_ms) if type(value) in (int, Decimal) else refusal


def _json_boolean(_type: FieldType, path: str) -> Fit:
    refusal = Rejected(Reason.TYPE, path)
    return lambda value, _: value if type(value) is bool else refusal


def _json_integer(type_: FieldType, path: str) -> Fit:
    limit, refusal = 1 << _BITS[type_.kind], Rejected(Reason.TYPE, path)
    return lambda value, _: value if type(value) is int and -limit <= value < limit else refusal


def _json_double(_type: FieldType, path: str) -> Fit:
    refusal = Rejected(Reason.UNREPRESENTABLE, path)

    def fit(value: Any, _: int) -> Any:
        try:
            nearest = float(value)
        except OverflowError:
            return refusal
        return nearest if math.isfinite(nearest) else refusal

    return _json_number(fit, path)


def _json_string(_type: FieldType, path: str) -> Fit:
    refusal = Rejected(Reason.TYPE, path)

    def fit(value: Any, _: int) -> Any:
        return value if isinstance(value, str) and _is_encodable(value) else refusal

    return fit


def _is_encodable(text: str) -> bool:
    """Half a surrogate pair can be written in JSON and in no encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_enum(type_: FieldType, path: str) -> Fit:
    symbols = frozenset(type_.symbols)
    wrong_type, wrong_code = Rejected(Reason.TYPE, path), Rejected(Reason.CODE, path)

    def fit(value: Any, _: int) -> Any:
        if not isinstance(value, str):
            return wrong_type
        return value if value in symbols else wrong_code

    return fit


def _json_date(_type: FieldType, path: str) -> Fit:
    return _json_time(_DATE, lambda text: (date.fromisoformat(text) - _EPOCH).days, path)


def _json_timestamp(_type: FieldType, path: str) -> Fit:
    first = datetime(1970, 1, 1, tzinfo=UTC)
    micro = timedelta(microseconds=1)
    return _json_time(_TIMESTAMP, lambda text: (datetime.fromisoformat(text) - first) // micro, path)


def _json_time(form: re.Pattern[str], read: Callable[[str], int], path: str) -> Fit:
    refusal = Rejected(Reason.TYPE, path)

    def fit(value: Any, _: int) -> Any:
        if not isinstance(value, str) or form.fullmatch(value) is None:
            return refusal
        try:
            return read(value)
        except (ValueError, OverflowError):
            return refusal

    return fit


_JSON_FITS: Final[dict[str, Callable[[FieldType, str], Fit]]] = {
    "boolean": _json_boolean,
    "int": _json_integer,
    "long": _json_integer,
    "float": _json_double,
    "double": _json_double,
    "string": _json_string,
    "enum": _json_enum,
    "date": _json_date,
    "timestamp": _json_timestamp,
}
"""Kind of the field → what makes the fit of a JSON value; numbers and texts are not taken for each other."""
