# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Numbers as Avro stores them. Source: Avro 1.12 specification, "Binary Encoding"."""

from __future__ import annotations

import cython
from cython import Py_ssize_t, bint, longlong, p_uchar, ulonglong


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def unzigzag(zigzag: ulonglong) -> longlong:
    if cython.compiled:
        return cython.cast(longlong, (zigzag >> 1) ^ (0 - (zigzag & 1)))
    return (zigzag >> 1) ^ -(zigzag & 1)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_long(o: p_uchar, j: Py_ssize_t, value: longlong) -> Py_ssize_t:
    zigzag: ulonglong = (cython.cast(ulonglong, value) << 1) ^ cython.cast(ulonglong, value >> 63)
    while zigzag >= 0x80:
        o[j] = (zigzag & 0x7F) | 0x80
        zigzag >>= 7
        j += 1
    o[j] = zigzag
    return j + 1


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_finite(p: p_uchar, at: Py_ssize_t, is_double: bint) -> bint:
    """Whether the exponent is not all ones; numbers are little-endian."""
    if is_double:
        return not ((p[at + 7] & 0x7F) == 0x7F and (p[at + 6] & 0xF0) == 0xF0)
    return not ((p[at + 3] & 0x7F) == 0x7F and (p[at + 2] & 0x80) == 0x80)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_shortest_decimal(p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> bint:
    """Whether two's complement bytes are as few as can be, and at most eight."""
    if end == at or end - at > 8:
        return False
    if end - at == 1:
        return True
    return not ((p[at] == 0 and p[at + 1] < 0x80) or (p[at] == 0xFF and p[at + 1] >= 0x80))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def decimal(p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> longlong:
    value: longlong = p[at]
    if value >= 0x80:
        value -= 0x100
    number: Py_ssize_t
    for number in range(at + 1, end):
        value = value * 256 + p[number]
    return value
