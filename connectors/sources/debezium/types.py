"""A column as Debezium describes it → Avro type and converter: value → Avro bytes, exact or Unrepresentable.

What a value means is told by its schema's name; one that is not known here refuses the table, for a number
of days, microseconds or bits cannot be told from another. docs/connectors.md has the table.

Source: Debezium documentation, "Data type mappings" of each connector; org.apache.kafka.connect.data.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from connectors import avrobytes
from connectors.sources.convert import Unrepresentable
from connectors.sources.debezium.schema import ConnectSchema, UnknownSchema

Convert = Callable[[Any], bytes]
BytesOf = Callable[[Any], bytes]
"""Returns the bytes that a converter wrote. Raises: ValueError or TypeError when it wrote none."""

UNAVAILABLE: Final = "__debezium_unavailable_value"
"""Stands for a large value that PostgreSQL did not send. Source: Debezium, unavailable.value.placeholder."""

_UNAVAILABLE_BYTES: Final = UNAVAILABLE.encode()
_UNAVAILABLE_NUMBERS: Final = list(_UNAVAILABLE_BYTES)
_UNAVAILABLE_UUID: Final = str(
    UUID(bytes=hashlib.md5(_UNAVAILABLE_BYTES, usedforsecurity=False).digest(), version=3)
)
"""Java's UUID.nameUUIDFromBytes."""

_MICROS_PER_DAY: Final = 86_400_000_000
_FIRST_DAY: Final = -719_162
_LAST_DAY: Final = 2_932_896
"""Years 1 to 9999, in days since 1970-01-01."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_LIMITS: Final = {"int8": 1 << 7, "int16": 1 << 15, "int32": 1 << 31, "int64": 1 << 63}
_LARGEST_SCALE: Final = 10_000


class Unavailable(Exception):
    """The source did not send this value, for it did not change."""


@dataclass(frozen=True, slots=True)
class ColumnType:
    """How one column's values are written: the Avro type of a non-null value, and the converter."""

    avro: Any
    convert: Convert


def base64_bytes(value: Any) -> bytes:
    """Return the bytes that a JsonConverter wrote as text."""
    return base64.b64decode(value, validate=True)


def plain_bytes(value: Any) -> bytes:
    """Return the bytes that an AvroConverter wrote."""
    if not isinstance(value, bytes):
        raise TypeError
    return value


def column_type(schema: ConnectSchema, bytes_of: BytesOf) -> ColumnType:
    """Return how a column is written. bytes_of: how the topic's converter writes bytes.

    Raises: UnknownSchema when its values would not be exact, or what they mean is not known.
    """
    if schema.name in _REFUSED:
        msg = f"type {schema.name}: {_REFUSED[schema.name]}"
        raise UnknownSchema(msg)
    if schema.name in _WITH_PARAMETERS:
        return _exact(_WITH_PARAMETERS[schema.name](schema, bytes_of))
    if schema.name in _NAMED:
        wanted, made = _NAMED[schema.name]
        if schema.type != wanted:
            msg = f"type {schema.name} over {schema.type}; known is {schema.name} over {wanted}"
            raise UnknownSchema(msg)
        return made
    if schema.name:
        msg = f"type {schema.name}, whose values are not known here"
        raise UnknownSchema(msg)
    if schema.type == "array" and schema.items is not None:
        return _array(column_type(schema.items, bytes_of))
    if schema.type == "bytes":
        return _exact(ColumnType("bytes", _binary(bytes_of)))
    if schema.type in _PLAIN:
        return _PLAIN[schema.type]
    msg = f"a {schema.type} (hstore: set hstore.handling.mode=json)"
    raise UnknownSchema(msg)


# -- plain values


def _boolean(value: Any) -> bytes:
    if not isinstance(value, bool):
        raise Unrepresentable
    return b"\x01" if value else b"\x00"


def _integer(kind: str) -> Convert:
    limit = _LIMITS[kind]

    def convert(value: Any) -> bytes:
        return avrobytes.long(_within(value, -limit, limit - 1))

    return convert


def _within(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise Unrepresentable
    number: int = value
    return number


def _number(value: Any) -> float:
    """Return a float; a JsonConverter writes NaN and infinity as texts."""
    if isinstance(value, bool | str):
        raise Unrepresentable
    number = float(value)
    if not math.isfinite(number):
        raise Unrepresentable
    return number


def _float(value: Any) -> bytes:
    packed = avrobytes.FLOAT(_number(value))
    if not math.isfinite(struct.unpack("<f", packed)[0]):
        raise Unrepresentable
    return packed


def _double(value: Any) -> bytes:
    return avrobytes.DOUBLE(_number(value))


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise Unrepresentable
    if value == UNAVAILABLE:
        raise Unavailable
    return avrobytes.text(value)


def _uuid(value: Any) -> bytes:
    if value == _UNAVAILABLE_UUID:
        raise Unavailable
    return _text(value)


def _binary(bytes_of: BytesOf) -> Convert:
    def convert(value: Any) -> bytes:
        content = bytes_of(value)
        if content == _UNAVAILABLE_BYTES:
            raise Unavailable
        return avrobytes.sized(content)

    return convert


def _array(item: ColumnType) -> ColumnType:
    def convert(values: Any) -> bytes:
        if not isinstance(values, list):
            raise Unrepresentable
        if values == _UNAVAILABLE_NUMBERS:
            raise Unavailable
        return avrobytes.array(
            [avrobytes.NULL if value is None else avrobytes.PRESENT + item.convert(value) for value in values]
        )

    return ColumnType({"type": "array", "items": ["null", item.avro]}, convert)


# -- numbers


def _decimal(schema: ConnectSchema, bytes_of: BytesOf) -> ColumnType:
    """Source: org.apache.kafka.connect.data.Decimal; Debezium adds the precision as a parameter."""
    scale = int(schema.parameters["scale"])
    precision = int(schema.parameters.get("connect.decimal.precision", 0))
    if not 0 <= scale <= precision:
        return ColumnType(
            _NUMERIC, lambda value: avrobytes.text(_digits(_unscaled(value, scale, bytes_of), scale))
        )
    limit = 10**precision

    def convert(value: Any) -> bytes:
        unscaled = _unscaled(value, scale, bytes_of)
        if abs(unscaled) >= limit:
            raise Unrepresentable
        return avrobytes.decimal(unscaled)

    avro = {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
    return ColumnType(avro, convert)


def _variable_decimal(_schema: ConnectSchema, bytes_of: BytesOf) -> ColumnType:
    def convert(value: Any) -> bytes:
        scale = _within(value["scale"], -_LARGEST_SCALE, _LARGEST_SCALE)
        return avrobytes.text(_digits(_unscaled(value["value"], scale, bytes_of), scale))

    return ColumnType(_NUMERIC, convert)


def _unscaled(value: Any, scale: int, bytes_of: BytesOf) -> int:
    """Return a decimal times 10**scale; a JsonConverter may write numbers (decimal.format=NUMERIC)."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        _, digits, exponent = Decimal(value).as_tuple()
        if not isinstance(exponent, int) or abs(exponent) > _LARGEST_SCALE or exponent + scale < 0:
            raise Unrepresentable
        unscaled: int = int("".join(map(str, digits))) * 10 ** (exponent + scale)
        return -unscaled if value < 0 else unscaled
    content = bytes_of(value)
    if not content:
        raise Unrepresentable
    return int.from_bytes(content, "big", signed=True)


def _digits(unscaled: int, scale: int) -> str:
    """Return a number as people write it, all digits, no exponent."""
    sign, digits = "-" if unscaled < 0 else "", str(abs(unscaled))
    if scale <= 0:
        return sign + (digits + "0" * -scale if unscaled else "0")
    digits = digits.zfill(scale + 1)
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}"


# -- times


def _days(value: Any) -> bytes:
    return avrobytes.long(_within(value, _FIRST_DAY, _LAST_DAY))


def _micros(per_micro: int, times: int, first: int, last: int) -> Convert:
    """Return a converter of a count to microseconds: times `times`, divided by `per_micro` without rest."""

    def convert(value: Any) -> bytes:
        micros, rest = divmod(_within(value, -(1 << 63), (1 << 63) - 1) * times, per_micro)
        if rest:
            raise Unrepresentable
        return avrobytes.long(_within(micros, first, last))

    return convert


def _instant(value: Any) -> bytes:
    """Return an instant's microseconds; the offset that it was written with is not part of it."""
    found = _INSTANT.fullmatch(value)
    if found is None:
        raise Unrepresentable  # infinity comes as a year of six digits
    whole, fraction, zone = found.groups()
    micros = (fraction or "").ljust(9, "0")
    if micros[6:] != "000":
        raise Unrepresentable
    since = datetime.fromisoformat(whole + ("+00:00" if zone == "Z" else zone)) - _EPOCH
    total = since.days * _MICROS_PER_DAY + since.seconds * 1_000_000 + int(micros[:6])
    return avrobytes.long(_within(total, _FIRST_DAY * _MICROS_PER_DAY, (_LAST_DAY + 1) * _MICROS_PER_DAY - 1))


# -- others


def _bits(schema: ConnectSchema, bytes_of: BytesOf) -> ColumnType:
    """Debezium writes bits lowest byte first and leaves out empty bytes; here the highest comes first."""
    length = int(schema.parameters["length"])
    size_bytes = (length + 7) // 8

    def convert(value: Any) -> bytes:
        number = int.from_bytes(bytes_of(value), "little")
        if number >> length:
            raise Unrepresentable
        return avrobytes.sized(number.to_bytes(size_bytes, "big"))

    return ColumnType("bytes", convert)


def _geometry(_schema: ConnectSchema, bytes_of: BytesOf) -> ColumnType:
    """SRID as four bytes, lowest first, and WKB: as MySQL stores it."""

    def convert(value: Any) -> bytes:
        srid = value.get("srid")
        number = 0 if srid is None else _within(srid, 0, (1 << 32) - 1)
        return avrobytes.sized(number.to_bytes(4, "little") + bytes_of(value["wkb"]))

    return ColumnType("bytes", convert)


def _exact(column: ColumnType) -> ColumnType:
    """Turn every other failure of a converter into Unrepresentable; its text would quote the value."""
    inner = column.convert

    def convert(value: Any) -> bytes:
        try:
            return inner(value)
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
            raise Unrepresentable from None

    return ColumnType(column.avro, convert)


def _named_text(name: str) -> ColumnType:
    return _exact(ColumnType({"type": "string", "connect.name": name}, _text))


def _logical(avro: str, logical: str, convert: Convert) -> ColumnType:
    return _exact(ColumnType({"type": avro, "logicalType": logical}, convert))


def _local_timestamp(per_micro: int, times: int) -> ColumnType:
    first, last = _FIRST_DAY * _MICROS_PER_DAY, (_LAST_DAY + 1) * _MICROS_PER_DAY - 1
    return _logical("long", "local-timestamp-micros", _micros(per_micro, times, first, last))


def _time(per_micro: int, times: int) -> ColumnType:
    return _logical("long", "time-micros", _micros(per_micro, times, 0, _MICROS_PER_DAY - 1))


_NUMERIC: Final = {"type": "string", "connect.name": "exchange.Numeric"}
_DATE: Final = _logical("int", "date", _days)
_EXACT_TEXT: Final = _named_text("exchange.Text")

_PLAIN: Final[Mapping[str, ColumnType]] = {
    "boolean": ColumnType("boolean", _boolean),
    "int8": ColumnType({"type": "int", "connect.type": "int16"}, _integer("int8")),
    "int16": ColumnType({"type": "int", "connect.type": "int16"}, _integer("int16")),
    "int32": ColumnType("int", _integer("int32")),
    "int64": ColumnType("long", _integer("int64")),
    "float": _exact(ColumnType("float", _float)),
    "double": _exact(ColumnType("double", _double)),
    "string": _exact(ColumnType("string", _text)),
}

_NAMED: Final[Mapping[str, tuple[str, ColumnType]]] = {
    "org.apache.kafka.connect.data.Date": ("int32", _DATE),
    "org.apache.kafka.connect.data.Time": ("int32", _time(1, 1000)),
    "org.apache.kafka.connect.data.Timestamp": ("int64", _local_timestamp(1, 1000)),
    "io.debezium.time.Date": ("int32", _DATE),
    "io.debezium.time.Time": ("int32", _time(1, 1000)),
    "io.debezium.time.MicroTime": ("int64", _time(1, 1)),
    "io.debezium.time.NanoTime": ("int64", _time(1000, 1)),
    "io.debezium.time.Timestamp": ("int64", _local_timestamp(1, 1000)),
    "io.debezium.time.MicroTimestamp": ("int64", _local_timestamp(1, 1)),
    "io.debezium.time.NanoTimestamp": ("int64", _local_timestamp(1000, 1)),
    "io.debezium.time.ZonedTimestamp": ("string", _logical("long", "timestamp-micros", _instant)),
    "io.debezium.time.ZonedTime": ("string", _EXACT_TEXT),
    "io.debezium.time.Interval": ("string", _EXACT_TEXT),
    "io.debezium.time.Year": ("int32", ColumnType("int", _integer("int32"))),
    "io.debezium.data.Json": ("string", _named_text("io.debezium.data.Json")),
    "io.debezium.data.Enum": ("string", _named_text("io.debezium.data.Enum")),
    "io.debezium.data.EnumSet": ("string", ColumnType("string", _PLAIN["string"].convert)),
    "io.debezium.data.Xml": ("string", _EXACT_TEXT),
    "io.debezium.data.Ltree": ("string", _EXACT_TEXT),
    "io.debezium.data.Tsvector": ("string", _EXACT_TEXT),
    "io.debezium.data.Uuid": ("string", _logical("string", "uuid", _uuid)),
    "io.debezium.data.FloatVector": ("array", _array(_PLAIN["float"])),
    "io.debezium.data.DoubleVector": ("array", _array(_PLAIN["double"])),
}
"""Name → type that it stands over, and how it is written."""

_WITH_PARAMETERS: Final[Mapping[str, Callable[[ConnectSchema, BytesOf], ColumnType]]] = {
    "org.apache.kafka.connect.data.Decimal": _decimal,
    "io.debezium.data.VariableScaleDecimal": _variable_decimal,
    "io.debezium.data.Bits": _bits,
    "io.debezium.data.geometry.Geometry": _geometry,
    "io.debezium.data.geometry.Geography": _geometry,
    "io.debezium.data.geometry.Point": _geometry,
}

_APPROXIMATE: Final = "an interval as a number is approximate; set interval.handling.mode=string"
_REFUSED: Final = {
    "io.debezium.time.MicroDuration": _APPROXIMATE,
    "io.debezium.time.NanoDuration": _APPROXIMATE,
}
