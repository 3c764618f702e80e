# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""PostgreSQL's texts as Avro values, written one behind the other without an object for any of them.

What each method makes of a text are the bytes that the converter of types.py makes of it, or nothing at all.

Source: Avro 1.12 specification, "Binary Encoding".
"""

from __future__ import annotations

import cython
from cython import Py_ssize_t, bint, longlong, p_uchar, ulonglong, void

from connectors import avrobytes

if cython.compiled:
    from cython.cimports.exchange.native.number import write_long
    from cython.cimports.exchange.native.span import copy, copy_bytes
    from cython.cimports.exchange.native.text import is_utf8
    from cython.cimports.libc.string import memcpy
else:
    from exchange.native.number import write_long
    from exchange.native.span import copy, copy_bytes
    from exchange.native.text import is_utf8

_MINUS = cython.declare(longlong, ord("-"))
_POINT = cython.declare(longlong, ord("."))
_COLON = cython.declare(longlong, ord(":"))
_SPACE = cython.declare(longlong, ord(" "))
_PLUS = cython.declare(longlong, ord("+"))
_ZERO = cython.declare(longlong, ord("0"))
_NINE = cython.declare(longlong, ord("9"))
_TRUE = cython.declare(longlong, ord("t"))
_FALSE = cython.declare(longlong, ord("f"))
_BACKSLASH = cython.declare(longlong, ord("\\"))
_HEX = cython.declare(longlong, ord("x"))
_MICROS_PER_DAY = cython.declare(longlong, 86_400_000_000)
_I64_MAX = cython.declare(ulonglong, 0x7FFF_FFFF_FFFF_FFFF)
_NO_DATE = cython.declare(longlong, -1_000_000)
"""Beyond all dates: the first day of year 1 is -719,162."""
GROWTH = 5
"""So many bytes of Avro at most for a byte of text, and 12 round it: floats in an array, "1,"."""
_GROWTH = cython.declare(longlong, GROWTH)


@cython.final
@cython.cclass
class Pen:
    """Writes Avro values one behind the other, from texts in `p` into `q` at `at`; there is room for them.

    Each method is false for a text that is left to the converters of types.py.
    """

    p: p_uchar
    q: p_uchar
    at: Py_ssize_t

    @cython.cfunc
    @cython.exceptval(check=False)
    def text(self, start: Py_ssize_t, size: Py_ssize_t) -> bint:
        """Write a text as it is."""
        if not is_utf8(self.p, start, start + size):
            return False
        self.sized(start, size)
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def integer(self, start: Py_ssize_t, size: Py_ssize_t) -> bint:
        """Write a number of 64 bits or less."""
        negative: bint = size > 0 and self.p[start] == _MINUS
        if negative:
            start += 1
            size -= 1
        if size < 1 or size > 19 or not _are_digits(self.p, start, size):
            return False
        number: ulonglong = _digits(self.p, start, size)
        if number > _I64_MAX:
            return False
        self.long(-cython.cast(longlong, number) if negative else number)
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def boolean(self, start: Py_ssize_t, size: Py_ssize_t) -> bint:
        """Write t or f."""
        if size != 1 or self.p[start] not in (_TRUE, _FALSE):
            return False
        self.byte(self.p[start] == _TRUE)
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def decimal(self, start: Py_ssize_t, size: Py_ssize_t, digits: longlong, scale: longlong) -> bint:
        """Write a number of so many digits, `scale` of them behind the point, as its unscaled value."""
        p: p_uchar = self.p
        negative: bint = size > 0 and p[start] == _MINUS
        if negative:
            start += 1
            size -= 1
        whole: Py_ssize_t = size - scale - 1 if scale else size
        if whole < 1 or not _are_digits(p, start, whole):
            return False
        number: longlong = _digits(p, start, whole)
        if scale:
            if p[start + whole] != _POINT or not _are_digits(p, start + whole + 1, scale):
                return False
            fraction: longlong = _digits(p, start + whole + 1, scale)
            number = number * _power_of_ten(scale) + fraction
        if number >= _power_of_ten(digits):
            return False
        self.twos_complement(-number if negative else number)
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def twos_complement(self, number: longlong) -> void:
        """Write a number big-endian in as few bytes as can be, and before that their count."""
        rest: longlong = number if number >= 0 else -1 - number
        width: Py_ssize_t = 1
        while rest >= 128:
            rest >>= 8
            width += 1
        self.byte(2 * width)
        place: Py_ssize_t
        for place in range(width):
            self.q[self.at + width - 1 - place] = number & 0xFF
            number >>= 8
        self.at += width

    @cython.cfunc
    @cython.exceptval(check=False)
    def numeric(self, start: Py_ssize_t, size: Py_ssize_t) -> bint:
        """Write a number as its own text, -?digits(.digits)?."""
        p: p_uchar = self.p
        first: Py_ssize_t = start + 1 if size > 0 and p[start] == _MINUS else start
        point: Py_ssize_t = first
        end: Py_ssize_t = start + size
        while point < end and p[point] != _POINT:
            point += 1
        if point == first or point == end - 1 or not _are_digits(p, first, point - first):
            return False
        if point < end and not _are_digits(p, point + 1, end - point - 1):
            return False
        self.sized(start, size)
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def float_(self, start: Py_ssize_t, size: Py_ssize_t, double: bint) -> bint:
        """Write a number of 64 bits, or rounded to 32."""
        try:
            number: cython.double = _plain_float(self.p, start, size)
            if number < 0:
                number = float(bytes(self.p[start : start + size]))
        except ValueError:  # no number
            return False
        if number - number != 0:  # NaN or infinite
            return False
        return self.double(number) if double else self.single(number)

    @cython.cfunc
    @cython.exceptval(check=False)
    def double(self, number: cython.double) -> bint:
        """Write the eight bytes of a number."""
        bits: ulonglong = 0
        if cython.compiled:
            memcpy(cython.address(bits), cython.address(number), 8)
        else:
            bits = int.from_bytes(avrobytes.DOUBLE(number), "little")
        self.little_endian(bits, 8)
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def single(self, number: cython.double) -> bint:
        """Write the four bytes of a number; false when it is too large for them."""
        bits: cython.uint = 0
        if cython.compiled:
            rounded: cython.float = cython.cast(cython.float, number)
            if rounded - rounded != 0:
                return False
            memcpy(cython.address(bits), cython.address(rounded), 4)
        else:
            try:
                bits = int.from_bytes(avrobytes.FLOAT(number), "little")
            except OverflowError:
                return False
        self.little_endian(bits, 4)
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def little_endian(self, bits: ulonglong, size: longlong) -> void:
        """Write a number's bytes, the lowest first."""
        _byte: longlong
        for _byte in range(size):
            self.byte(bits & 0xFF)
            bits >>= 8

    @cython.cfunc
    @cython.exceptval(check=False)
    def date(self, start: Py_ssize_t, size: Py_ssize_t) -> bint:
        """Write the days since 1970."""
        days: longlong = _days(self.p, start) if size == 10 else _NO_DATE
        self.long(days)
        return days != _NO_DATE

    @cython.cfunc
    @cython.exceptval(check=False)
    def clock(self, start: Py_ssize_t, size: Py_ssize_t) -> bint:
        """Write the microseconds since midnight."""
        micros: longlong = _clock(self.p, start, size)
        self.long(micros)
        return micros >= 0

    @cython.cfunc
    @cython.exceptval(check=False)
    def timestamp(self, start: Py_ssize_t, size: Py_ssize_t, zoned: bint) -> bint:
        """Write the microseconds since 1970; `zoned`: the text ends in +00, as in a session in UTC."""
        p: p_uchar = self.p
        if zoned:
            size -= 3
            if size < 19 or p[start + size] != _PLUS:
                return False
            if p[start + size + 1] != _ZERO or p[start + size + 2] != _ZERO:
                return False
        if size < 19 or p[start + 10] != _SPACE:
            return False
        days: longlong = _days(p, start)
        micros: longlong = _clock(p, start + 11, size - 11)
        if days == _NO_DATE or micros < 0:
            return False
        self.long(days * _MICROS_PER_DAY + micros)
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def hex_(self, start: Py_ssize_t, size: Py_ssize_t) -> bint:
        r"""Write the bytes of a text like \x00ff."""
        p: p_uchar = self.p
        if size < 2 or size & 1 or p[start] != _BACKSLASH or p[start + 1] != _HEX:
            return False
        self.long(size // 2 - 1)
        place: Py_ssize_t
        for place in range(start + 2, start + size, 2):
            high: longlong = _hex_digit(p[place])
            low: longlong = _hex_digit(p[place + 1])
            if high < 0 or low < 0:
                return False
            self.byte(high * 16 + low)
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def converted(self, start: Py_ssize_t, size: Py_ssize_t, convert: object) -> bint:
        """Write what the converter of types.py makes of a text; whatever stops it stops the slow path too."""
        try:
            made: bytes = convert(bytes(self.p[start : start + size]))  # type: ignore[operator]
        except Exception:
            return False
        if len(made) > _GROWTH * size + 12:
            return False
        self.bytes_(made)
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def sized(self, start: Py_ssize_t, size: Py_ssize_t) -> void:
        """Write the length of a text and itself."""
        self.long(size)
        copy(self.q, self.at, self.p, start, size)
        self.at += size

    @cython.cfunc
    @cython.exceptval(check=False)
    def bytes_(self, source: bytes) -> void:
        """Write bytes as they are."""
        size: Py_ssize_t = len(source)
        copy_bytes(self.q, self.at, source, size)
        self.at += size

    @cython.cfunc
    @cython.exceptval(check=False)
    def long(self, number: longlong) -> void:
        """Write an int or long."""
        self.at = write_long(self.q, self.at, number)

    @cython.cfunc
    @cython.exceptval(check=False)
    def byte(self, value: longlong) -> void:
        """Write one byte."""
        self.q[self.at] = value
        self.at += 1

    @cython.cfunc
    @cython.exceptval(check=False)
    def big_endian(self, number: ulonglong, size: longlong) -> void:
        """Write a number's bytes, the highest first."""
        shift: longlong
        for shift in range(8 * size - 8, -8, -8):
            self.byte((number >> shift) & 0xFF)


@cython.cfunc
def _are_digits(p: p_uchar, at: Py_ssize_t, size: Py_ssize_t) -> bint:
    end: Py_ssize_t = at + size
    while at < end and _ZERO <= p[at] <= _NINE:
        at += 1
    return at >= end


@cython.cfunc
@cython.exceptval(check=False)
def _digits(p: p_uchar, at: Py_ssize_t, size: Py_ssize_t) -> ulonglong:
    """Return the number that so many digits are, up to 19 of them."""
    number: ulonglong = 0
    byte: Py_ssize_t
    for byte in range(at, at + size):
        number = number * 10 + (p[byte] - _ZERO)
    return number


@cython.cfunc
def _power_of_ten(exponent: longlong) -> longlong:
    """Return a power of ten up to the 18th."""
    power: longlong = 1
    _step: longlong
    for _step in range(exponent):
        power *= 10
    return power


@cython.cfunc
def _plain_float(p: p_uchar, at: Py_ssize_t, size: Py_ssize_t) -> cython.double:
    """Return the number that 1 to 15 digits are, with or without a point among them; -1 for other texts.

    Digits and power of ten are exact in 64 bits, so that their quotient is rounded once, and right.
    Source: W. D. Clinger, "How to Read Floating Point Numbers Accurately", 1990.
    """
    digits: longlong = 0
    behind: Py_ssize_t = -1
    byte: Py_ssize_t
    if size < 1 or size > 15 or p[at] == _POINT or p[at + size - 1] == _POINT:
        return -1.0
    for byte in range(at, at + size):
        if p[byte] == _POINT and behind < 0:
            behind = at + size - 1 - byte
        elif _ZERO <= p[byte] <= _NINE:
            digits = digits * 10 + (p[byte] - _ZERO)
        else:
            return -1.0
    quotient: cython.double = digits
    return quotient / _power_of_ten(behind) if behind > 0 else quotient


@cython.cfunc
def _days(p: p_uchar, at: Py_ssize_t) -> longlong:
    """Return the days from 1970 to the ten bytes YYYY-MM-DD, _NO_DATE when they are none.

    Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
    """
    if not (_are_digits(p, at, 4) and _are_digits(p, at + 5, 2) and _are_digits(p, at + 8, 2)):
        return _NO_DATE
    year: longlong = _digits(p, at, 4)
    month: longlong = _digits(p, at + 5, 2)
    day: longlong = _digits(p, at + 8, 2)
    if p[at + 4] != _MINUS or p[at + 7] != _MINUS or year < 1 or month < 1 or month > 12 or day < 1:
        return _NO_DATE
    leap: bint = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    longest: longlong = 31
    if month == 2:
        longest = 29 if leap else 28
    elif month in (4, 6, 9, 11):
        longest = 30
    if day > longest:
        return _NO_DATE
    if month <= 2:
        year -= 1
        month += 12
    of_era: longlong = year % 400
    of_year: longlong = (153 * (month - 3) + 2) // 5 + day - 1
    return year // 400 * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


@cython.cfunc
def _clock(p: p_uchar, at: Py_ssize_t, size: Py_ssize_t) -> longlong:
    """Return the microseconds that HH:MM:SS, or with up to six digits behind a point, are; else -1."""
    if size < 8 or size == 9 or size > 15 or p[at + 2] != _COLON or p[at + 5] != _COLON:
        return -1
    if not (_are_digits(p, at, 2) and _are_digits(p, at + 3, 2) and _are_digits(p, at + 6, 2)):
        return -1
    hour: longlong = _digits(p, at, 2)
    minute: longlong = _digits(p, at + 3, 2)
    second: longlong = _digits(p, at + 6, 2)
    if hour > 23 or minute > 59 or second > 59:
        return -1
    micros: longlong = 0
    if size > 8:
        if p[at + 8] != _POINT or not _are_digits(p, at + 9, size - 9):
            return -1
        micros = _digits(p, at + 9, size - 9)
        _missing: Py_ssize_t
        for _missing in range(15 - size):
            micros *= 10
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros


@cython.cfunc
def _hex_digit(letter: longlong) -> longlong:
    if 48 <= letter <= 57:
        return letter - 48
    if 97 <= letter <= 102:
        return letter - 87
    if 65 <= letter <= 70:
        return letter - 55
    return -1
