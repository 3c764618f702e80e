"""PostgreSQL column type → Avro type and converter: the server's text → Avro bytes, exact or Unrepresentable.

The texts are those of a session with the settings in libpq.py (UTF-8, ISO dates, UTC, hex bytea, shortest
exact floats); pgoutput and the snapshot's queries then print the same text for the same value.

| PostgreSQL                         | Avro                                                     |
| ---------------------------------- | -------------------------------------------------------- |
| smallint, integer                  | int (smallint: connect.type int16)                       |
| bigint                             | long                                                     |
| real, double precision             | float, double; NaN and infinity are refused              |
| boolean                            | boolean                                                  |
| numeric(p,s), 0 <= s <= p          | bytes, decimal(p,s); NaN is refused                      |
| other numeric                      | string, exchange.Numeric; NaN and infinity are refused   |
| text, varchar, char (with padding) | string                                                   |
| uuid                               | string, uuid                                             |
| date                               | int, date; years 1 to 9999                               |
| timestamp                          | long, local-timestamp-micros; years 1 to 9999            |
| timestamptz                        | long, timestamp-micros; years 1 to 9999                  |
| time                               | long, time-micros; 24:00 is refused                      |
| bytea                              | bytes                                                    |
| json, jsonb                        | string, io.debezium.data.Json                            |
| enum                               | string, io.debezium.data.Enum                            |
| domain                             | as the type it restricts                                 |
| array of any of these              | array of ["null", item]; one dimension, from 1           |
| anything else                      | string, exchange.Text: the exact text                    |
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import IntEnum
from typing import Final

from connectors import avrobytes
from connectors.sources.convert import Convert, Mapping, Unrepresentable, double, exactly, integer

_MICROS_PER_DAY: Final = 86_400_000_000
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - timestamp without time zone has none
_NUMERIC: Final = re.compile(rb"-?[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class CatalogType:
    """One row of pg_type, as far as needed. `kind`: b base, d domain, e enum, or another of typtype."""

    oid: int
    kind: str
    base: int = 0
    base_typmod: int = -1
    element: int = 0
    delimiter: str = ","


class Form(IntEnum):
    """How rowcoder.py reads a column's texts itself; OTHER: it calls the converter."""

    OTHER = 0
    INTEGER = 1
    BOOLEAN = 2
    TEXT = 3
    NUMERIC = 4
    DECIMAL = 5
    DATE = 6
    TIME = 7
    TIMESTAMP = 8
    TIMESTAMPTZ = 9
    BYTES = 10
    FLOAT = 11
    DOUBLE = 12


TypeOf = Callable[[int], CatalogType | None]
"""Looks a type up in the catalogue by oid; None when the source no longer has it."""


def mapping(type_oid: int, typmod: int, type_of: TypeOf) -> Mapping:
    """Return the mapping of a column type; built-in types need no look-up."""
    if type_oid == _NUMERIC_OID:
        return _numeric(typmod)
    if type_oid in _BUILT_IN:
        return _BUILT_IN[type_oid]
    found = type_of(type_oid)
    if found is None:
        return _EXACT_TEXT
    if found.kind == "d":
        return mapping(found.base, typmod if typmod != -1 else found.base_typmod, type_of)
    if found.kind == "e":
        return _ENUM
    if found.element and found.delimiter == ",":
        item = mapping(found.element, typmod, type_of)
        return _EXACT_TEXT if item is _EXACT_TEXT else _array_of(item)
    return _EXACT_TEXT


def _numeric(typmod: int) -> Mapping:
    """Source: PostgreSQL numeric.c, numeric_typmod_precision and numeric_typmod_scale."""
    if typmod < 4:
        return _PLAIN_NUMERIC
    packed = typmod - 4
    precision = (packed >> 16) & 0xFFFF
    scale = ((packed & 0x7FF) ^ 1024) - 1024
    if not 0 <= scale <= precision:
        return _PLAIN_NUMERIC
    avro = {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
    return Mapping(avro, _decimal_converter(precision, scale), Form.DECIMAL)


def _decimal_converter(precision: int, scale: int) -> Convert:
    def convert(text: bytes) -> bytes:
        whole, _, fraction = text.partition(b".")
        if len(fraction) != scale or _NUMERIC.fullmatch(text) is None:
            raise Unrepresentable
        unscaled = int(whole + fraction)
        if abs(unscaled) >= 10**precision:
            raise Unrepresentable
        return avrobytes.decimal(unscaled)

    return convert


def _array_of(item: Mapping) -> Mapping:
    def convert(text: bytes) -> bytes:
        return avrobytes.array(
            [
                avrobytes.NULL if element is None else avrobytes.PRESENT + item.convert(element)
                for element in array_elements(text)
            ]
        )

    return Mapping({"type": "array", "items": ["null", item.avro]}, convert)


_ELEMENT: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"|([^",{}\\\s](?:[^",{}\\]|\\.)*)', re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)


def array_elements(text: bytes) -> list[bytes | None]:
    """Return the elements of an array's text; NULL is None.

    Raises: Unrepresentable for more than one dimension or a lower bound other than 1.
    """
    if text == b"{}":
        return []
    if text[:1] != b"{" or text[-1:] != b"}":
        raise Unrepresentable  # "[2:3]={...}": a lower bound that Avro's arrays do not have
    elements: list[bytes | None] = []
    at = 1
    while True:
        found = _ELEMENT.match(text, at)
        if found is None:
            raise Unrepresentable  # a nested brace: another dimension
        quoted, bare = found.groups()
        if quoted is not None:
            elements.append(_ESCAPED.sub(rb"\1", quoted))
        else:
            elements.append(None if bare == b"NULL" else _ESCAPED.sub(rb"\1", bare))
        at = found.end() + 1
        separator = text[found.end() : at]
        if separator == b"}" and at == len(text):
            return elements
        if separator != b",":
            raise Unrepresentable


def _float(text: bytes) -> bytes:
    """Read the decimal as a double, then round to 4 bytes: exact, for the server printed it shortest."""
    number = float(text)
    if not math.isfinite(number):
        raise Unrepresentable
    packed = avrobytes.FLOAT(number)
    if not math.isfinite(struct.unpack("<f", packed)[0]):
        raise Unrepresentable
    return packed


def _boolean(text: bytes) -> bytes:
    if text == b"t":
        return b"\x01"
    if text == b"f":
        return b"\x00"
    raise Unrepresentable


def _string(text: bytes) -> bytes:
    text.decode()  # a server whose encoding is SQL_ASCII passes any bytes; UnicodeDecodeError is a ValueError
    return avrobytes.sized(text)


def _plain_numeric(text: bytes) -> bytes:
    if _NUMERIC.fullmatch(text) is None:
        raise Unrepresentable
    return avrobytes.sized(text)


def _bytea(text: bytes) -> bytes:
    if text[:2] != b"\\x":
        raise Unrepresentable
    return avrobytes.sized(bytes.fromhex(text[2:].decode()))


def _date(text: bytes) -> bytes:
    if len(text) != 10:  # "infinity", a fifth digit, or " BC"
        raise Unrepresentable
    return avrobytes.long(date.fromisoformat(text.decode()).toordinal() - _EPOCH_DAY)


def _timestamp(text: bytes) -> bytes:
    if text[4:5] != b"-":  # a fifth digit of the year, or infinity
        raise Unrepresentable
    instant = datetime.fromisoformat(text.decode())
    if instant.tzinfo is not None:
        raise Unrepresentable
    return avrobytes.long(_micros(instant, _LOCAL_EPOCH))


def _timestamptz(text: bytes) -> bytes:
    if text[4:5] != b"-":
        raise Unrepresentable
    instant = datetime.fromisoformat(text.decode())
    if instant.tzinfo is None:
        raise Unrepresentable
    return avrobytes.long(_micros(instant, _EPOCH))


def _micros(instant: datetime, epoch: datetime) -> int:
    since = instant - epoch
    return since.days * _MICROS_PER_DAY + since.seconds * 1_000_000 + since.microseconds


def _time(text: bytes) -> bytes:
    if text[:2] == b"24":  # later Pythons read it as midnight of the next day
        raise Unrepresentable
    clock = time.fromisoformat(text.decode())
    seconds = (clock.hour * 60 + clock.minute) * 60 + clock.second
    return avrobytes.long(seconds * 1_000_000 + clock.microsecond)


_EXACT_TEXT: Final = Mapping({"type": "string", "connect.name": "exchange.Text"}, exactly(_string), Form.TEXT)
_ENUM: Final = Mapping(
    {"type": "string", "connect.name": "io.debezium.data.Enum"}, exactly(_string), Form.TEXT
)
_PLAIN_NUMERIC: Final = Mapping(
    {"type": "string", "connect.name": "exchange.Numeric"}, _plain_numeric, Form.NUMERIC
)
_STRING: Final = Mapping("string", exactly(_string), Form.TEXT)
_JSON: Final = Mapping(
    {"type": "string", "connect.name": "io.debezium.data.Json"}, exactly(_string), Form.TEXT
)

_NUMERIC_OID: Final = 1700

_SCALARS: Final[dict[int, Mapping]] = {
    16: Mapping("boolean", _boolean, Form.BOOLEAN),
    17: Mapping("bytes", exactly(_bytea), Form.BYTES),
    20: Mapping("long", integer, Form.INTEGER),
    21: Mapping({"type": "int", "connect.type": "int16"}, integer, Form.INTEGER),
    23: Mapping("int", integer, Form.INTEGER),
    25: _STRING,
    114: _JSON,
    700: Mapping("float", exactly(_float), Form.FLOAT),
    701: Mapping("double", exactly(double), Form.DOUBLE),
    1042: _STRING,
    1043: _STRING,
    1082: Mapping({"type": "int", "logicalType": "date"}, exactly(_date), Form.DATE),
    1083: Mapping({"type": "long", "logicalType": "time-micros"}, exactly(_time), Form.TIME),
    1114: Mapping(
        {"type": "long", "logicalType": "local-timestamp-micros"}, exactly(_timestamp), Form.TIMESTAMP
    ),
    1184: Mapping(
        {"type": "long", "logicalType": "timestamp-micros"}, exactly(_timestamptz), Form.TIMESTAMPTZ
    ),
    2950: Mapping({"type": "string", "logicalType": "uuid"}, exactly(_string), Form.TEXT),
    3802: _JSON,
}
"""Source: pg_type.dat; built-in oids never change."""

_ARRAYS: Final[dict[int, int]] = {
    1000: 16, 1001: 17, 1016: 20, 1005: 21, 1007: 23, 1009: 25, 199: 114, 1021: 700, 1022: 701,
    1014: 1042, 1015: 1043, 1182: 1082, 1183: 1083, 1115: 1114, 1185: 1184, 2951: 2950, 3807: 3802,
}  # fmt: skip
"""Oid of the array type → oid of its element."""

_BUILT_IN: Final = _SCALARS | {array: _array_of(_SCALARS[item]) for array, item in _ARRAYS.items()}
