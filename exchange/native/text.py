# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Texts as UTF-8 bytes: how long they are, and whether they are what they should be.

Source: The Unicode Standard, "Well-Formed UTF-8 Byte Sequences".
"""

from __future__ import annotations

import cython
from cython import Py_ssize_t, bint, longlong, p_uchar

ZERO = cython.declare(longlong, ord("0"))
NINE = cython.declare(longlong, ord("9"))


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_utf8(p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> bint:
    width: longlong
    while at < end:
        if p[at] < 0x80:
            at += 1
            continue
        width = utf8_width(p, at, end)
        if width < 0:
            return False
        at += width
    return True


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def utf8_width(p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> longlong:
    """Return how many bytes a character above ASCII has; less than 0: so many bytes are not one."""
    byte: longlong = p[at]
    low: longlong = 0x80
    high: longlong = 0xBF
    width: longlong
    if byte < 0xC2 or byte > 0xF4:
        return -1
    if byte < 0xE0:
        width = 2
    elif byte < 0xF0:
        width = 3
        if byte == 0xE0:
            low = 0xA0
        elif byte == 0xED:
            high = 0x9F
    else:
        width = 4
        if byte == 0xF0:
            low = 0x90
        elif byte == 0xF4:
            high = 0x8F
    if at + 1 >= end or p[at + 1] < low or p[at + 1] > high:
        return -1
    number: longlong
    for number in range(2, width):
        if at + number >= end or (p[at + number] & 0xC0) != 0x80:
            return -number
    return width


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def code_point(p: p_uchar, at: Py_ssize_t, width: longlong) -> longlong:
    code_point: longlong = p[at] & (0xFF >> (width + 1))
    number: Py_ssize_t
    for number in range(at + 1, at + width):
        code_point = (code_point << 6) | (p[number] & 0x3F)
    return code_point


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def characters(p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> Py_ssize_t:
    """Return how many characters valid UTF-8 holds."""
    count: Py_ssize_t = 0
    number: Py_ssize_t
    for number in range(at, end):
        count += (p[number] & 0xC0) != 0x80
    return count


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def forward(p: p_uchar, at: Py_ssize_t, end: Py_ssize_t, count: longlong) -> Py_ssize_t:
    """Return the place so many characters further on."""
    while count > 0 and at < end:
        at += 1
        while at < end and (p[at] & 0xC0) == 0x80:
            at += 1
        count -= 1
    return at


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_not_blank(p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> bint:
    """Whether a text surely holds more than blanks: those above ASCII begin with C2, E1, E2 or E3."""
    number: Py_ssize_t
    byte: longlong
    for number in range(at, end):
        byte = p[number]
        if byte < 0x80:
            if not (9 <= byte <= 13 or 28 <= byte <= 32):
                return True
        elif byte >= 0xC3 and not (0xE1 <= byte <= 0xE3):
            return True
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_mobile(p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> bint:
    """Say what exchange.rules.is_mobile says."""
    return end - at == 11 and p[at] == 49 and 51 <= p[at + 1] <= NINE and digits(p, at + 2, 9) >= 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def digits(p: p_uchar, at: Py_ssize_t, count: longlong) -> longlong:
    """Return the number that so many ASCII digits are, -1 when one of them is none."""
    value: longlong = 0
    number: Py_ssize_t
    for number in range(at, at + count):
        if p[number] < ZERO or p[number] > NINE:
            return -1
        value = value * 10 + p[number] - ZERO
    return value


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_id_number(p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> bint:
    """Say what exchange.rules.is_id_number says."""
    if end - at != 18 or digits(p, at, 17) < 0:
        return False
    region: longlong = digits(p, at, 2)
    year: longlong = digits(p, at + 6, 4)
    if not is_province(region) or year < 1800 or year > 2099:
        return False
    if not is_day(year, digits(p, at + 10, 2), digits(p, at + 12, 2)):
        return False
    # The check character makes the whole divisible: weights are powers of 2 modulo 11, X stands for 10.
    rest: longlong = 0
    number: Py_ssize_t
    for number in range(at, at + 17):
        rest = (rest + p[number] - ZERO) * 2 % 11
    rest = (12 - rest) % 11
    return p[at + 17] == (88 if rest == 10 else ZERO + rest)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_province(region: longlong) -> bint:
    return (
        11 <= region <= 15
        or 21 <= region <= 23
        or 31 <= region <= 37
        or 41 <= region <= 46
        or 50 <= region <= 54
        or 61 <= region <= 65
        or region == 71
        or 81 <= region <= 83
    )


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_day(year: longlong, month: longlong, day: longlong) -> bint:
    if month < 1 or month > 12 or day < 1:
        return False
    if month == 2:
        leap: bint = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return day <= (29 if leap else 28)
    return day <= (30 if month == 4 or month == 6 or month == 9 or month == 11 else 31)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def is_credit_code(p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> bint:
    """Say what exchange.rules.is_credit_code says."""
    if end - at != 18 or digits(p, at, 8) < 0:
        return False
    total: longlong = 0
    weight: longlong = 1
    value: longlong
    number: Py_ssize_t
    for number in range(at, end):
        value = credit_value(p[number])
        if value < 0:
            return False
        if number == end - 1:
            return value == (31 - total) % 31
        total = (total + value * weight) % 31
        weight = weight * 3 % 31
    return False


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def credit_value(byte: longlong) -> longlong:
    """Return a character's place in 0-9 A-Z without I, O, S, V and Z; -1 when it has none."""
    if ZERO <= byte <= NINE:
        return byte - ZERO
    if byte < 65 or byte > 89 or byte == 73 or byte == 79 or byte == 83 or byte == 86:
        return -1
    return byte - 55 - (byte > 73) - (byte > 79) - (byte > 83) - (byte > 86)
