# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Masks, written straight into a buffer; see exchange/masking.py for what each means."""

from __future__ import annotations

import cython
from cython import Py_ssize_t, bint, longlong, p_uchar

if cython.compiled:
    from cython.cimports.exchange.native.number import write_long
    from cython.cimports.exchange.native.span import copy
    from cython.cimports.exchange.native.text import characters, forward
else:
    from exchange.native.number import write_long
    from exchange.native.span import copy
    from exchange.native.text import characters, forward

MICROS_PER_DAY = cython.declare(longlong, 86_400_000_000)
BUCKET_LIMIT = cython.declare(longlong, 1 << 62)
ZERO = cython.declare(longlong, ord("0"))
STAR = cython.declare(longlong, ord("*"))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_partial(
    p: p_uchar,
    o: p_uchar,
    j: Py_ssize_t,
    at: Py_ssize_t,
    end: Py_ssize_t,
    first: longlong,
    last: longlong,
) -> Py_ssize_t:
    """Keep so many characters at either end, and stars between; where nothing would be hidden, all is."""
    count: longlong = characters(p, at, end)
    hidden: longlong = count - first - last
    head: Py_ssize_t = at
    tail: Py_ssize_t = end
    if hidden <= 0:
        hidden = count
    elif count == end - at:  # each byte is a character
        head, tail = at + first, end - last
    else:
        head = forward(p, at, end, first)
        tail = forward(p, head, end, hidden)
    j = write_long(o, j, (head - at) + hidden + (end - tail))
    copy(o, j, p, at, head - at)
    j += head - at
    while hidden > 0:
        o[j] = STAR
        j += 1
        hidden -= 1
    copy(o, j, p, tail, end - tail)
    return j + end - tail


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def write_prefix(
    p: p_uchar,
    o: p_uchar,
    j: Py_ssize_t,
    at: Py_ssize_t,
    end: Py_ssize_t,
    size: longlong,
) -> Py_ssize_t:
    count: longlong = characters(p, at, end)
    if count > size:
        stop: Py_ssize_t = forward(p, at, end, size)
        j = write_long(o, j, stop - at)
        copy(o, j, p, at, stop - at)
        return j + stop - at
    j = write_long(o, j, count)
    while count > 0:
        o[j] = STAR
        j += 1
        count -= 1
    return j


@cython.cfunc
@cython.nogil
@cython.exceptval(-1, check=True)
@cython.cdivision(False)
def write_calendar(
    o: p_uchar,
    j: Py_ssize_t,
    value: longlong,
    length: longlong,
    is_micros: bint,
) -> Py_ssize_t:
    """Write YYYY or YYYY-MM of days or microseconds since 1970-01-01, of the years 1 to 9999.

    Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    """
    days: longlong = (value // MICROS_PER_DAY if is_micros else value) + 719_468
    era: longlong = days // 146_097
    of_era: longlong = days - era * 146_097
    year: longlong = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year: longlong = of_era - (365 * year + year // 4 - year // 100)
    month: longlong = (5 * of_year + 2) // 153
    month = month + 3 if month < 10 else month - 9
    year = year + era * 400 + (1 if month <= 2 else 0)
    o[j] = length * 2
    o[j + 1] = ZERO + year // 1000
    o[j + 2] = ZERO + year // 100 % 10
    o[j + 3] = ZERO + year // 10 % 10
    o[j + 4] = ZERO + year % 10
    if length == 4:
        return j + 5
    o[j + 5] = 45
    o[j + 6] = ZERO + month // 10
    o[j + 7] = ZERO + month % 10
    return j + 8


@cython.cfunc
@cython.nogil
@cython.exceptval(-1, check=True)
@cython.cdivision(False)
def write_bucket(o: p_uchar, j: Py_ssize_t, value: longlong, size: longlong) -> Py_ssize_t:
    """Write the bucket's lower bound, rounded towards less; what could overflow is left to the reference."""
    if value < -BUCKET_LIMIT:
        return -1
    return write_long(o, j, value // size * size)
