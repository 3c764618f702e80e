"""Avro's binary encoding of the few primitives that captured rows are made of.

Rows are encoded straight from the database's text, column by column; a generic writer would build and check
a dict for every row first, at several times the cost.

Source: Avro 1.12 specification, "Binary encoding".
"""

from __future__ import annotations

import struct
from typing import Final

NULL: Final = b"\x00"
"""Branch 0 of ["null", T]."""
PRESENT: Final = b"\x02"
"""Branch 1 of ["null", T]; the value follows."""
END: Final = b"\x00"
"""The empty block that ends an array."""


def _varint(number: int) -> bytes:
    return _unsigned((number << 1) ^ (number >> 63))


def _unsigned(rest: int) -> bytes:
    """Write 7 bits a byte, lowest first; spelled out for short numbers, which most are."""
    if rest < 0x80:
        return bytes((rest,))
    if rest < 0x4000:
        return bytes((rest & 0x7F | 0x80, rest >> 7))
    if rest < 0x20_0000:
        return bytes((rest & 0x7F | 0x80, rest >> 7 & 0x7F | 0x80, rest >> 14))
    low = bytes((rest & 0x7F | 0x80, rest >> 7 & 0x7F | 0x80, rest >> 14 & 0x7F | 0x80))
    return low + _unsigned(rest >> 21)


_SMALL: Final = tuple(_varint(number) for number in range(4096))


def long(number: int) -> bytes:
    """Return an int or long; the caller has made sure that it fits 64 bits."""
    return _SMALL[number] if 0 <= number < 4096 else _varint(number)


def sized(content: bytes) -> bytes:
    """Return bytes, or a string that is already UTF-8: its length, then itself."""
    size = len(content)
    return (_SMALL[size] if size < 4096 else _varint(size)) + content


def text(value: str) -> bytes:
    """Return a string."""
    return sized(value.encode())


def decimal(unscaled: int) -> bytes:
    """Return a decimal's unscaled value as bytes: two's complement, big-endian, as short as can be."""
    width = (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1
    return sized(unscaled.to_bytes(width, "big", signed=True))


def array(items: list[bytes]) -> bytes:
    """Return an array of items that are already encoded."""
    return long(len(items)) + b"".join(items) + END if items else END


FLOAT: Final = struct.Struct("<f").pack
DOUBLE: Final = struct.Struct("<d").pack
