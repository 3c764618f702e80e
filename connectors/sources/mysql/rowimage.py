"""The rows of a row event: from the log's bytes to the texts that the server itself would print.

One reader a column, made once per table map; a whole event is walked at once.

Source: MySQL internals, "Rows_event" and "Date and Time Data Type Representation"; decimals: decimal.c,
decimal2bin.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymysqlreplication.constants import FIELD_TYPE

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Cell = bytes | None
Row = tuple[Cell, ...]
Read = Callable[[bytes, int], tuple[bytes, int]]
"""(the event's bytes, where the value starts) → its text, and where it ends."""


class MalformedImage(Exception):
    """The bytes do not make whole rows."""


class RowReader:
    """Reads the rows of one table as it is from some table map on. `columns`: the library's."""

    def __init__(self, columns: Sequence[Any]) -> None:
        self._readers = [(_reader(column), at >> 3, 1 << (at & 7)) for at, column in enumerate(columns)]
        self._null_bytes = (len(columns) + 7) // 8

    def rows(self, data: bytes) -> list[tuple[int, Row]]:
        """Return the row images one after the other, each with the place where it starts.

        Raises: MalformedImage.
        """
        found: list[tuple[int, Row]] = []
        at, end = 0, len(data)
        try:
            while at < end:
                start, nulls = at, data[at : at + self._null_bytes]
                at += self._null_bytes
                cells: list[Cell] = []
                for read, byte, bit in self._readers:
                    if nulls[byte] & bit:
                        cells.append(None)
                    else:
                        cell, at = read(data, at)
                        cells.append(cell)
                found.append((start, tuple(cells)))
        except (IndexError, struct.error):
            raise MalformedImage from None
        if at != end:
            raise MalformedImage
        return found


def is_whole(bitmap: bytes, columns: int) -> bool:
    """Whether an image holds all columns."""
    return int.from_bytes(bitmap, "little") & (1 << columns) - 1 == (1 << columns) - 1


def _reader(column: Any) -> Read:
    kind = column.type
    if kind in _INTEGERS:
        return _integer(_INTEGERS[kind], signed=not column.unsigned)
    if kind in (FIELD_TYPE.STRING, FIELD_TYPE.VARCHAR, FIELD_TYPE.VAR_STRING):
        return _sized(2 if column.max_length > 255 else 1)
    if kind in (FIELD_TYPE.BLOB, FIELD_TYPE.GEOMETRY):
        return _sized(column.length_size)
    if kind in (FIELD_TYPE.ENUM, FIELD_TYPE.SET):
        return _integer(column.size, signed=False)
    if kind == FIELD_TYPE.BIT:
        return _bits(column.bytes)
    if kind == FIELD_TYPE.NEWDECIMAL:
        return _decimal(column.precision, column.decimals)
    if kind in (FIELD_TYPE.FLOAT, FIELD_TYPE.DOUBLE):
        return _floating("<f" if kind == FIELD_TYPE.FLOAT else "<d")
    if kind in _MOMENTS:
        return _MOMENTS[kind](column.fsp)
    return _OTHERS[kind]


_INTEGERS: Final = {
    FIELD_TYPE.TINY: 1,
    FIELD_TYPE.SHORT: 2,
    FIELD_TYPE.INT24: 3,
    FIELD_TYPE.LONG: 4,
    FIELD_TYPE.LONGLONG: 8,
}


def _integer(size: int, *, signed: bool) -> Read:
    from_bytes = int.from_bytes

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        end = at + size
        return b"%d" % from_bytes(_exactly(data, at, end), "little", signed=signed), end

    return read


def _exactly(data: bytes, at: int, end: int) -> bytes:
    if end > len(data):
        raise IndexError
    return data[at:end]


def _sized(length_size: int) -> Read:
    def read(data: bytes, at: int) -> tuple[bytes, int]:
        start = at + length_size
        end = start + int.from_bytes(_exactly(data, at, start), "little")
        return _exactly(data, start, end), end

    return read


def _bits(size: int) -> Read:
    def read(data: bytes, at: int) -> tuple[bytes, int]:
        return b"%d" % int.from_bytes(_exactly(data, at, at + size), "big"), at + size

    return read


def _floating(layout: str) -> Read:
    unpack, size = struct.Struct(layout).unpack_from, struct.calcsize(layout)

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        return repr(unpack(data, at)[0]).encode(), at + size

    return read


_DIGITS: Final = 9
"""So many decimal digits stand in four bytes; fewer take _REST_BYTES."""
_REST_BYTES: Final = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def _decimal(precision: int, scale: int) -> Read:
    whole, first = divmod(precision - scale, _DIGITS)
    parts, last = divmod(scale, _DIGITS)
    groups = [(_REST_BYTES[first], first)] + [(4, _DIGITS)] * (whole + parts) + [(_REST_BYTES[last], last)]
    size = sum(width for width, _ in groups)

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        raw = bytearray(_exactly(data, at, at + size))
        negative = not raw[0] & 0x80
        raw[0] ^= 0x80
        unscaled, place = 0, 0
        for width, digits in groups:
            group = int.from_bytes(raw[place : place + width], "big")
            if negative:
                group ^= (1 << 8 * width) - 1
            unscaled = unscaled * 10**digits + group
            place += width
        text = b"%0*d" % (scale + 1, unscaled)
        if scale:
            text = text[:-scale] + b"." + text[-scale:]
        return (b"-" + text if negative else text), at + size

    return read


def _fraction(micro_units: int, digits: int) -> bytes:
    """Print what stands behind the seconds: it is stored in two, four or six digits."""
    stored = (digits + 1) // 2 * 2
    return b".%0*d" % (digits, micro_units // 10 ** (stored - digits)) if digits else b""


def _time(digits: int) -> Read:
    size = 3 + (digits + 1) // 2
    shift = 8 * (size - 3)

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        packed = int.from_bytes(_exactly(data, at, at + size), "big") - (1 << 8 * size - 1)
        sign, packed = (b"-", -packed) if packed < 0 else (b"", packed)
        whole = packed >> shift
        text = b"%02d:%02d:%02d" % (whole >> 12 & 0x3FF, whole >> 6 & 0x3F, whole & 0x3F)
        return sign + text + _fraction(packed & (1 << shift) - 1, digits), at + size

    return read


def _datetime(digits: int) -> Read:
    size = 5 + (digits + 1) // 2
    shift = 8 * (size - 5)

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        packed = int.from_bytes(_exactly(data, at, at + size), "big") - (1 << 8 * size - 1)
        whole = packed >> shift
        year, month = divmod(whole >> 22, 13)
        text = b"%04d-%02d-%02d %02d:%02d:%02d" % (
            year, month, whole >> 17 & 0x1F, whole >> 12 & 0x1F, whole >> 6 & 0x3F, whole & 0x3F,
        )  # fmt: skip
        return text + _fraction(packed & (1 << shift) - 1, digits), at + size

    return read


def _timestamp(digits: int) -> Read:
    size = 4 + (digits + 1) // 2

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        seconds = int.from_bytes(_exactly(data, at, at + 4), "big")
        fraction = _fraction(int.from_bytes(_exactly(data, at + 4, at + size), "big"), digits)
        if seconds == 0:  # the server's zero timestamp; 1970-01-01 00:00:00 itself cannot be stored
            return b"0000-00-00 00:00:00" + fraction, at + size
        return _utc(seconds) + fraction, at + size

    return read


def _utc(seconds: int) -> bytes:
    stamp = _EPOCH + timedelta(seconds=seconds)
    return stamp.strftime("%Y-%m-%d %H:%M:%S").encode()


def _date(data: bytes, at: int) -> tuple[bytes, int]:
    packed = int.from_bytes(_exactly(data, at, at + 3), "little")
    return b"%04d-%02d-%02d" % (packed >> 9, packed >> 5 & 0xF, packed & 0x1F), at + 3


def _year(data: bytes, at: int) -> tuple[bytes, int]:
    return b"%04d" % (1900 + data[at] if data[at] else 0), at + 1


_MOMENTS: Final = {
    FIELD_TYPE.TIME2: _time,
    FIELD_TYPE.DATETIME2: _datetime,
    FIELD_TYPE.TIMESTAMP2: _timestamp,
}
_OTHERS: Final[dict[int, Read]] = {FIELD_TYPE.DATE: _date, FIELD_TYPE.YEAR: _year}
