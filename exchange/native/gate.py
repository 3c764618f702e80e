# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The last gate, compiled: no finished record may hold a sensitive value that its view does not show.

The same as exchange/engine/leak.py, which says what it looks for. Texts and outputs are loosened into
buffers; then one pass looks only where a text could end, or an ID number.
"""

from __future__ import annotations

from array import array

import cython
from cython import Py_ssize_t, bint, longlong, p_uchar, ulonglong, void

from exchange.engine.leak import MIN_CHARACTERS, loosened

if cython.compiled:
    from cython.cimports.exchange.native.span import copy, copy_bytes, is_same, occurs
    from cython.cimports.exchange.native.text import characters, code_point, is_id_number, utf8_width
else:
    from exchange.native.span import copy, copy_bytes, is_same, occurs
    from exchange.native.text import characters, code_point, is_id_number, utf8_width

# Needles: texts that the gate looks for. Watched field, raw text, loosened text, characters of either.
NEEDLE_WIDTH = cython.declare(longlong, 7)
MAX_NEEDLES = cython.declare(longlong, 64)
SCRATCH_BYTES = cython.declare(Py_ssize_t, 1 << 17)
MAX_GATED_BYTES = cython.declare(Py_ssize_t, 1 << 15)
"""Longer outputs are left to the reference: they are few, and the scratch buffer has an end."""
LONGEST_LOOSE = cython.declare(Py_ssize_t, 128)
"""More than any one character becomes when loosened: U+FDFA makes 18 characters of at most 3 bytes."""
IS_DIGIT = cython.declare(longlong, 1)
IS_X = cython.declare(longlong, 2)
IS_END = cython.declare(longlong, 4)
MIN_NEEDLE = cython.declare(longlong, MIN_CHARACTERS)


@cython.auto_pickle(False)
@cython.final
@cython.cclass
class Gate:
    """Knows the sensitive texts of one change at a time: reset → add* → is_clean*."""

    count: Py_ssize_t
    used: Py_ssize_t
    needles: longlong[::1]
    ends: ulonglong[::1]
    marks: bytearray
    folded: bytearray
    kept: bytearray
    loose_at: longlong[::1]
    loose_pool: bytearray
    scratch: bytearray
    text: bytearray

    def __init__(self) -> None:
        self.count = self.used = 0
        self.needles = array("q", bytes(8 * MAX_NEEDLES * NEEDLE_WIDTH))
        self.ends = array("Q", bytes(8 * 256))
        self.marks = bytearray(IS_DIGIT if 48 <= byte < 58 else 0 for byte in range(256))
        self.marks[ord("X")] = IS_X
        ascii_text = [loosened(chr(byte)) for byte in range(128)]
        self.kept = bytearray(len(text) for text in ascii_text)
        self.folded = bytearray(ord(text or "-") for text in ascii_text)
        self.loose_at = array("q", bytes(8 << 16))
        self.loose_pool = bytearray(1)
        self.scratch = bytearray(SCRATCH_BYTES)
        self.text = bytearray(SCRATCH_BYTES)

    @cython.cfunc
    @cython.exceptval(check=False)
    def reset(self) -> void:
        """Forget the texts of the change before."""
        self.count = 0
        self.used = 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def add(
        self,
        p: p_uchar,
        at: Py_ssize_t,
        end: Py_ssize_t,
        number: Py_ssize_t,
    ) -> bint:
        """Note a text, raw and loosened, unless it is too short to count or just noted for the same field."""
        length: Py_ssize_t = characters(p, at, end)
        size: Py_ssize_t = end - at
        if length < MIN_NEEDLE:
            return True
        held: p_uchar = self.text
        base: Py_ssize_t = (self.count - 1) * NEEDLE_WIDTH
        if (
            self.count
            and self.needles[base] == number
            and self.needles[base + 2] == size
            and is_same(held, self.needles[base + 1], p, at, size)
        ):
            return True
        raw: Py_ssize_t = self.used
        if self.count == MAX_NEEDLES or size > MAX_GATED_BYTES or raw + size > SCRATCH_BYTES // 2:
            return False
        copy(held, raw, p, at, size)
        loose: Py_ssize_t = raw + size
        used: Py_ssize_t = self.loosen(p, at, end, held, loose, SCRATCH_BYTES)
        if used < 0:
            return False
        base += NEEDLE_WIDTH
        self.needles[base] = number
        self.needles[base + 1] = raw
        self.needles[base + 2] = size
        self.needles[base + 3] = loose
        self.needles[base + 4] = used - loose
        self.needles[base + 5] = characters(held, loose, used)
        self.used = used
        self.count += 1
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def is_clean(
        self, o: p_uchar, start: Py_ssize_t, end: Py_ssize_t, hidden: ulonglong, approved: ulonglong
    ) -> bint:
        """Whether an output holds none of the hidden texts and no ID number but approved ones.

        hidden, approved: the numbers of watched fields, as bits.
        """
        if end - start > MAX_GATED_BYTES:
            return False
        held: p_uchar = self.text
        marks: p_uchar = self.marks
        number: Py_ssize_t
        base: Py_ssize_t
        last: longlong
        sought: ulonglong = 0
        one: ulonglong = 1
        for number in range(self.count):
            base = number * NEEDLE_WIDTH
            if not (hidden >> self.needles[base]) & 1 or self.is_approved(
                held, self.needles[base + 1], self.needles[base + 2], approved
            ):
                continue
            if self.needles[base + 5] < MIN_NEEDLE:
                if occurs(held, self.needles[base + 1], self.needles[base + 2], o, start, end):
                    return False
                continue
            last = held[self.needles[base + 3] + self.needles[base + 4] - 1]
            self.ends[last] |= one << number
            marks[last] |= IS_END
            sought |= one << number
        clean: bint = self.holds_none(o, start, end, approved)
        for number in range(self.count):
            if (sought >> number) & 1:
                base = number * NEEDLE_WIDTH
                last = held[self.needles[base + 3] + self.needles[base + 4] - 1]
                self.ends[last] = 0
                marks[last] &= IS_END ^ 0xFF
        return clean

    @cython.cfunc
    @cython.exceptval(check=False)
    def is_approved(
        self,
        text: p_uchar,
        at: Py_ssize_t,
        size: Py_ssize_t,
        approved: ulonglong,
    ) -> bint:
        """Whether the record holds a text in a field that the view shows for a stated reason."""
        if approved == 0:
            return False
        held: p_uchar = self.text
        number: Py_ssize_t
        base: Py_ssize_t
        for number in range(self.count):
            base = number * NEEDLE_WIDTH
            if (
                (approved >> self.needles[base]) & 1
                and self.needles[base + 2] == size
                and is_same(held, self.needles[base + 1], text, at, size)
            ):
                return True
        return False

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def holds_none(
        self,
        o: p_uchar,
        start: Py_ssize_t,
        end: Py_ssize_t,
        approved: ulonglong,
    ) -> bint:
        """Loosen an output; look where a text could end, and at runs of digits that may be an ID number."""
        loose: p_uchar = self.scratch
        held: p_uchar = self.text
        used: Py_ssize_t = self.loosen(o, start, end, loose, 0, SCRATCH_BYTES)
        if used < 0:
            return False
        marks: p_uchar = self.marks
        at: Py_ssize_t
        run: Py_ssize_t = 0
        mark: longlong
        for at in range(used):
            mark = marks[loose[at]]
            if mark == 0:
                run = 0
                continue
            if mark & IS_END and self.ends_here(held, loose, at + 1):
                return False
            if mark & IS_DIGIT:
                run += 1
                if run < 18:
                    continue
            elif mark & IS_X and run >= 17:
                run = 0
            else:
                run = 0
                continue
            if is_id_number(loose, at - 17, at + 1) and not self.is_approved(loose, at - 17, 18, approved):
                return False
        return True

    @cython.cfunc
    @cython.exceptval(check=False)
    def ends_here(self, held: p_uchar, loose: p_uchar, end: Py_ssize_t) -> bint:
        """Whether one of the needles that end with the byte before `end` stands before it."""
        found: ulonglong = self.ends[loose[end - 1]]
        number: Py_ssize_t = 0
        while found:
            if found & 1:
                base: Py_ssize_t = number * NEEDLE_WIDTH
                size: Py_ssize_t = self.needles[base + 4]
                at: Py_ssize_t = self.needles[base + 3]
                # The byte before the last tells most of them apart.
                if (
                    size <= end
                    and held[at + size - 2] == loose[end - 2]
                    and is_same(held, at, loose, end - size, size)
                ):
                    return True
            found >>= 1
            number += 1
        return False

    @cython.cfunc
    @cython.exceptval(-2, check=False)
    def loosen(
        self,
        p: p_uchar,
        at: Py_ssize_t,
        end: Py_ssize_t,
        loose: p_uchar,
        j: Py_ssize_t,
        room: Py_ssize_t,
    ) -> Py_ssize_t:
        """Decode bytes as UTF-8, broken ones replaced by U+FFFD, and write what each character counts as.

        Returns where writing stopped, -1 when there is no room.
        """
        folded: p_uchar = self.folded
        kept: p_uchar = self.kept
        byte: longlong
        width: longlong
        room -= LONGEST_LOOSE
        while at < end:
            if j > room:
                return -1
            byte = p[at]
            if byte < 0x80:
                loose[j] = folded[byte]
                j += kept[byte]
                at += 1
                continue
            width = utf8_width(p, at, end)
            if width < 0:
                at -= width
                loose[j] = 0xEF
                loose[j + 1] = 0xBF
                loose[j + 2] = 0xBD
                j += 3
                continue
            if width == 3 and 0xE5 <= byte <= 0xE9:  # U+5000 to U+9FFF: ideographs count as they are
                loose[j] = byte
                loose[j + 1] = p[at + 1]
                loose[j + 2] = p[at + 2]
                j += 3
            else:
                j = self.write_loosened(loose, j, code_point(p, at, width))
            at += width
        return j

    @cython.cfunc
    @cython.exceptval(-2, check=False)
    def write_loosened(self, loose: p_uchar, j: Py_ssize_t, character: longlong) -> Py_ssize_t:
        """Write what one character counts as; remembered for those of the basic plane."""
        if character >= 0x1_0000:
            made: bytes = loosened(chr(character)).encode()
            copy_bytes(loose, j, made, len(made))
            return j + len(made)
        place: longlong = self.loose_at[character]
        if place == 0:
            encoded: bytes = loosened(chr(character)).encode()
            place = (len(self.loose_pool) << 8) | len(encoded)
            self.loose_pool += encoded
            self.loose_at[character] = place
        pool: p_uchar = self.loose_pool
        copy(loose, j, pool, place >> 8, place & 0xFF)
        return j + (place & 0xFF)
