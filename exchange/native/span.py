# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Spans of bytes: copied, compared, found. The few places where compiled and plain Python differ."""

from __future__ import annotations

import cython
from cython import Py_ssize_t, bint, longlong, p_uchar, ulonglong, void

if cython.compiled:
    from cython.cimports.libc.string import memcmp, memcpy

FNV_START = cython.declare(ulonglong, 0x811C_9DC5)
FNV_PRIME = cython.declare(ulonglong, 0x0100_0193)
U32 = cython.declare(ulonglong, 0xFFFF_FFFF)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def copy(
    o: p_uchar,
    j: Py_ssize_t,
    p: p_uchar,
    at: Py_ssize_t,
    size: Py_ssize_t,
) -> void:
    if cython.compiled:
        memcpy(o + j, p + at, size)
    else:
        o[j : j + size] = p[at : at + size]


@cython.cfunc
def copy_bytes(o: p_uchar, j: Py_ssize_t, made: bytes, size: Py_ssize_t) -> void:
    if cython.compiled:
        memcpy(o + j, cython.cast(p_uchar, made), size)
    else:
        o[j : j + size] = made


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_same(
    p: p_uchar,
    at: Py_ssize_t,
    q: p_uchar,
    there: Py_ssize_t,
    size: Py_ssize_t,
) -> bint:
    if cython.compiled:
        return memcmp(p + at, q + there, size) == 0
    return bytes(p[at : at + size]) == bytes(q[there : there + size])


@cython.cfunc
def span(p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> bytes:
    if cython.compiled:
        return p[at:end]
    return bytes(p[at:end])


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def occurs(
    q: p_uchar,
    there: Py_ssize_t,
    size: Py_ssize_t,
    p: p_uchar,
    at: Py_ssize_t,
    end: Py_ssize_t,
) -> bint:
    while at + size <= end:
        if p[at] == q[there] and is_same(p, at, q, there, size):
            return True
        at += 1
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def starts_with(p: p_uchar, at: Py_ssize_t, size: Py_ssize_t, prefix: ulonglong) -> bint:
    """Whether a record begins with a zero byte and a schema id, together a number of 40 bits."""
    found: ulonglong = 0
    number: Py_ssize_t
    for number in range(at, at + 5 if size >= 5 else at):
        found = (found << 8) | p[number]
    return size >= 5 and found == prefix


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def big_endian(p: p_uchar, at: Py_ssize_t) -> longlong:
    """Return a number of 64 bits whose first bit is not set."""
    value: longlong = 0
    number: Py_ssize_t
    for number in range(at, at + 8):
        value = (value << 8) | p[number]
    return value


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def fnv(p: p_uchar, at: Py_ssize_t, size: Py_ssize_t) -> ulonglong:
    """Return the 32-bit FNV-1a hash, as exchange/engine/flat.py does."""
    value: ulonglong = FNV_START
    number: Py_ssize_t
    for number in range(at, at + size):
        value = ((value ^ p[number]) * FNV_PRIME) & U32
    return value
