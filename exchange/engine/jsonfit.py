"""Fits a JSON document in a column to a record or array of the contract, or refuses it with the path."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from exchange import strictjson
from exchange.change import Reason, Rejected
from exchange.engine.fit import Fit, decimal_fit, fill, items_fit, slot_of
from exchange.fieldtype import FieldType

_EPOCH: Final = date(1970, 1, 1)
_BITS: Final = {"int": 31, "long": 63}
_FORMATS: Final = {"float": "<f", "double": "<d"}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME: Final = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?", re.ASCII)
_LOCAL_TIMESTAMP: Final = re.compile(f"{_DATE.pattern}[T ]{_TIME.pattern}", re.ASCII)
_TIMESTAMP: Final = re.compile(_LOCAL_TIMESTAMP.pattern + r"(?:Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
"""One spelling each: Python's reader takes week dates and cuts off what is finer than a microsecond."""


def json_fit(type_: FieldType, path: str) -> Fit:
    """Return the fit of a JSON text.

    Raises: ValueError when the type has one within that JSON cannot hold.
    """
    fit, refusal = value_fit(type_, path), Rejected(Reason.TYPE, path)

    def fit_text(text: Any, source_ms: int) -> Any:
        try:
            value = strictjson.loads(text)
        except ValueError:
            return refusal
        return fit(value, source_ms)

    return fit_text


def value_fit(type_: FieldType, path: str) -> Fit:
    """Return the fit of a value that exchange.strictjson.loads has read.

    Raises: ValueError when the type is one that JSON cannot hold.
    """
    if type_.kind == "record":
        return _record(type_, path)
    if type_.kind == "array" and type_.items is not None:
        return _array(type_.items, path)
    if type_.kind == "decimal":
        return _number(decimal_fit(type_, path), path)
    if type_.kind not in _FITS:
        msg = f"{path}: {type_.describe()} cannot be held in JSON"
        raise ValueError(msg)
    return _FITS[type_.kind](type_, path)


def _record(type_: FieldType, path: str) -> Fit:
    slots = tuple(
        slot_of(field, f"{path}.{field.name}", value_fit(field.type, f"{path}.{field.name}"))
        for field in type_.fields
    )
    refusal = Rejected(Reason.TYPE, path)
    return lambda value, source_ms: fill(slots, value, source_ms) if isinstance(value, dict) else refusal


def _array(items: FieldType, path: str) -> Fit:
    fit_items = items_fit(value_fit(items, f"{path}[]"), items, f"{path}[]")
    refusal = Rejected(Reason.TYPE, path)
    return lambda value, source_ms: fit_items(value, source_ms) if isinstance(value, list) else refusal


def _number(fit: Fit, path: str) -> Fit:
    refusal = Rejected(Reason.TYPE, path)
    return lambda value, source_ms: fit(value, source_ms) if type(value) in (int, Decimal) else refusal


def _boolean(_type: FieldType, path: str) -> Fit:
    refusal = Rejected(Reason.TYPE, path)
    return lambda value, _: value if type(value) is bool else refusal


def _integer(type_: FieldType, path: str) -> Fit:
    limit, refusal = 1 << _BITS[type_.kind], Rejected(Reason.TYPE, path)
    return lambda value, _: value if type(value) is int and -limit <= value < limit else refusal


def _floating(type_: FieldType, path: str) -> Fit:
    pack, refusal = struct.Struct(_FORMATS[type_.kind]).pack, Rejected(Reason.UNREPRESENTABLE, path)

    def fit(value: Any, _: int) -> Any:
        try:
            nearest = float(value)
            pack(nearest)
        except OverflowError:
            return refusal
        return nearest if math.isfinite(nearest) else refusal

    return _number(fit, path)


def _string(_type: FieldType, path: str) -> Fit:
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


def _enum(type_: FieldType, path: str) -> Fit:
    symbols = frozenset(type_.symbols)
    wrong_type, wrong_code = Rejected(Reason.TYPE, path), Rejected(Reason.CODE, path)

    def fit(value: Any, _: int) -> Any:
        if not isinstance(value, str):
            return wrong_type
        return value if value in symbols else wrong_code

    return fit


def _date(_type: FieldType, path: str) -> Fit:
    return _time(_DATE, lambda text: (date.fromisoformat(text) - _EPOCH).days, path)


def _timestamp(_type: FieldType, path: str) -> Fit:
    first = datetime(1970, 1, 1, tzinfo=UTC)
    micro = timedelta(microseconds=1)
    return _time(_TIMESTAMP, lambda text: (datetime.fromisoformat(text) - first) // micro, path)


def _local_timestamp(_type: FieldType, path: str) -> Fit:
    first = datetime(1970, 1, 1)  # noqa: DTZ001 - a time of no zone, as Avro's local-timestamp is
    micro = timedelta(microseconds=1)
    return _time(_LOCAL_TIMESTAMP, lambda text: (datetime.fromisoformat(text) - first) // micro, path)


def _time_of_day(_type: FieldType, path: str) -> Fit:
    def read(text: str) -> int:
        at = time.fromisoformat(text)
        return ((at.hour * 60 + at.minute) * 60 + at.second) * 1_000_000 + at.microsecond

    return _time(_TIME, read, path)


def _uuid(_type: FieldType, path: str) -> Fit:
    refusal = Rejected(Reason.TYPE, path)
    return lambda value, _: value if isinstance(value, str) and _UUID.fullmatch(value) else refusal


def _time(form: re.Pattern[str], read: Callable[[str], int], path: str) -> Fit:
    refusal = Rejected(Reason.TYPE, path)

    def fit(value: Any, _: int) -> Any:
        if not isinstance(value, str) or form.fullmatch(value) is None:
            return refusal
        try:
            return read(value)
        except (ValueError, OverflowError):
            return refusal

    return fit


_FITS: Final[dict[str, Callable[[FieldType, str], Fit]]] = {
    "boolean": _boolean,
    "int": _integer,
    "long": _integer,
    "float": _floating,
    "double": _floating,
    "string": _string,
    "enum": _enum,
    "date": _date,
    "timestamp": _timestamp,
    "local_timestamp": _local_timestamp,
    "time": _time_of_day,
    "uuid": _uuid,
}
"""Kind of the field → what makes the fit of a JSON value; numbers and texts are not taken for each other."""
