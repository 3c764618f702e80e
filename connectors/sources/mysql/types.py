"""Column → Avro type and converter: the server's text → Avro bytes, exact or Unrepresentable.

The texts are those of a session in UTC without conversion of character sets; rowimage.py makes the same ones
of the log's bytes. Enum, set and bit come as numbers, so that "" and an unknown label stay apart.

| MySQL, MariaDB                       | Avro                                                      |
| ------------------------------------ | --------------------------------------------------------- |
| tinyint, smallint, mediumint, int    | int; int unsigned: long                                   |
| bigint                               | long; unsigned: bytes, decimal(20,0)                      |
| float, double                        | float, double                                             |
| decimal(p,s)                         | bytes, decimal(p,s)                                       |
| bit(1), bit(n)                       | boolean; bytes, io.debezium.data.Bits, highest byte first |
| char, varchar, text, MariaDB's json  | string                                                    |
| enum, set                            | string; a label that is none is refused                   |
| date                                 | int, date; 0000-00-00 and partial dates are refused       |
| datetime                             | long, local-timestamp-micros; zero dates are refused      |
| timestamp                            | long, timestamp-micros; zero is refused                   |
| time                                 | long, time-micros; below 0 and from 24:00 on is refused   |
| year                                 | int                                                       |
| binary, varbinary, blob, uuid, inet  | bytes; uuid and inet6 are 16 of them, inet4 4             |
| geometry                             | bytes: SRID and WKB, as stored                            |
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from connectors import avrobytes
from connectors.sources.convert import Convert, Mapping, Unrepresentable, double, exactly, integer
from exchange.binlog.charsets import CHARSETS, Decode
from exchange.binlog.columns import Column

_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DAY_S: Final = 86_400


def mapping(column: Column) -> Mapping:
    """Return how a column's values are written."""
    return _MAKERS[column.kind](column)


def _plain(avro: Any, convert: Convert) -> Callable[[Column], Mapping]:
    made = Mapping(avro, exactly(convert))
    return lambda _: made


def _int(column: Column) -> Mapping:
    return Mapping("long" if column.unsigned else "int", integer)


def _bigint(column: Column) -> Mapping:
    if not column.unsigned:
        return Mapping("long", integer)
    avro = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 0}
    return Mapping(avro, lambda text: avrobytes.decimal(int(text)))


def _decimal(column: Column) -> Mapping:
    scale = column.scale
    avro = {"type": "bytes", "logicalType": "decimal", "precision": column.precision, "scale": scale}

    def convert(text: bytes) -> bytes:
        whole, _, fraction = text.partition(b".")
        if len(fraction) != scale:
            raise Unrepresentable
        return avrobytes.decimal(int(whole + fraction))

    return Mapping(avro, exactly(convert))


def _float(text: bytes) -> bytes:
    number = float(text)
    packed = avrobytes.FLOAT(number)
    if struct.unpack("<f", packed)[0] != number:
        raise Unrepresentable
    return packed


def _bit(column: Column) -> Mapping:
    if column.size == 1:
        return Mapping("boolean", lambda text: b"\x01" if text == b"1" else b"\x00")
    size_bytes = (column.size + 7) // 8
    avro = {
        "type": "bytes",
        "connect.name": "io.debezium.data.Bits",
        "connect.parameters": {"length": str(column.size)},
    }
    return Mapping(avro, lambda text: avrobytes.sized(int(text).to_bytes(size_bytes, "big")))


def _text(column: Column) -> Mapping:
    decode: Decode = CHARSETS[column.charset]
    return Mapping("string", exactly(lambda text: avrobytes.sized(decode(text))))


def _enum(column: Column) -> Mapping:
    written = [avrobytes.text(label) for label in column.labels]

    def convert(text: bytes) -> bytes:
        number = int(text)
        if not 1 <= number <= len(written):  # 0: what a lax server stores for a value that is no label
            raise Unrepresentable
        return written[number - 1]

    return Mapping({"type": "string", "connect.name": "io.debezium.data.Enum"}, convert)


def _set(column: Column) -> Mapping:
    labels = column.labels

    def convert(text: bytes) -> bytes:
        bits = int(text)
        if bits >> len(labels):
            raise Unrepresentable
        chosen = (label for at, label in enumerate(labels) if bits >> at & 1)
        return avrobytes.text(",".join(chosen))

    return Mapping({"type": "string", "connect.name": "io.debezium.data.EnumSet"}, convert)


def _date(text: bytes) -> bytes:
    return avrobytes.long(date.fromisoformat(text.decode()).toordinal() - _EPOCH_DAY)


def _moment(text: bytes) -> bytes:
    """Microseconds since 1970, of a text without zone: of UTC for a timestamp, of no zone for a datetime."""
    whole, _, fraction = text.partition(b".")
    stamp = datetime.fromisoformat(whole.decode()).replace(tzinfo=UTC)
    micros = (stamp - _EPOCH) // _MICROSECOND + int(fraction.ljust(6, b"0") or 0)
    return avrobytes.long(micros)


def _time(text: bytes) -> bytes:
    whole, _, fraction = text.partition(b".")
    hours, minutes, seconds = whole.split(b":")
    total_s = (int(hours) * 60 + int(minutes)) * 60 + int(seconds)
    if whole.startswith(b"-") or total_s >= _DAY_S:
        raise Unrepresentable
    return avrobytes.long(total_s * 1_000_000 + int(fraction.ljust(6, b"0") or 0))


def _binary(column: Column) -> Mapping:
    """Fill up with zero bytes: the log leaves them out at the end of a binary(n)."""
    size = column.size
    return Mapping("bytes", lambda text: avrobytes.sized(text.ljust(size, b"\x00")))


_SMALL: Final = _plain({"type": "int", "connect.type": "int16"}, integer)

_MAKERS: Final[dict[str, Callable[[Column], Mapping]]] = {
    "tinyint": _SMALL,
    "smallint": lambda column: Mapping("int", integer) if column.unsigned else _SMALL(column),
    "mediumint": _plain("int", integer),
    "int": _int,
    "bigint": _bigint,
    "decimal": _decimal,
    "float": _plain("float", _float),
    "double": _plain("double", double),
    "bit": _bit,
    "text": _text,
    "enum": _enum,
    "set": _set,
    "date": _plain({"type": "int", "logicalType": "date"}, _date),
    "datetime": _plain({"type": "long", "logicalType": "local-timestamp-micros"}, _moment),
    "timestamp": _plain({"type": "long", "logicalType": "timestamp-micros"}, _moment),
    "time": _plain({"type": "long", "logicalType": "time-micros"}, _time),
    "year": _plain("int", integer),
    "binary": _binary,
    "geometry": _binary,
}
