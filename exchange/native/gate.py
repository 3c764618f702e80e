# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The last gate, compiled: no finished record may hold a sensitive value that its view does not show.

The same as exchange/engine/leak.py, which says what it looks for. Nearly every output is found clean by a
glance at its bytes as they stand, which only looks where a text could end, or an ID number; where nothing but
numbers are hidden, at one byte of ten. The others are loosened into a buffer, and looked at again.
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

# Needles: texts that the gate looks for. Watched field, place and size of the raw text, and of the loosened
# one, how many characters that has, and whether it is a number of at least LONG_NUMBER digits.
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
# For the glance: a digit, a digit or what may stand between digits, a byte of no ASCII character; and IS_END.
COUNTS = cython.declare(longlong, 1)
CONTINUES = cython.declare(longlong, 2)
IS_WIDE = cython.declare(longlong, 8)
LONG_NUMBER = cython.declare(longlong, 11)
"""Digits: those of a mobile number. So many in a row are rare where none is shown."""
ID_DIGITS = cython.declare(longlong, 17)
FIRST_LEAD = cython.declare(longlong, 0xC2)
"""Bytes from 0x80 to before this one begin no character."""
IN_DOUBT = cython.declare(longlong, 1)
IS_NOTHING = cython.declare(longlong, 2)
"""In place of the last byte of what a character counts as: several, or a digit; or nothing at all."""
LAST_OF_BROKEN = cython.declare(longlong, 0xBD)
"""What is not UTF-8 counts as U+FFFD, of which this is the last byte."""
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
    fewest_digits: Py_ssize_t
    has_variant: bint
    loose_at: longlong[::1]
    loose_pool: bytearray
    loose: p_uchar
    owned: tuple[bytearray, ...]
    marks: p_uchar
    glanced: p_uchar
    lower: p_uchar
    last_bytes: p_uchar
    folded: p_uchar
    kept: p_uchar
    scratch: p_uchar
    text: p_uchar

    def __init__(self) -> None:
        self.count = self.used = 0
        self.fewest_digits = ID_DIGITS
        self.has_variant = False
        self.needles = array("q", bytes(8 * MAX_NEEDLES * NEEDLE_WIDTH))
        self.ends = array("Q", bytes(8 * 256))
        marks = bytearray(IS_DIGIT if 48 <= byte < 58 else 0 for byte in range(256))
        marks[ord("X")] = IS_X
        ascii_text = [loosened(chr(byte)) for byte in range(128)]
        kept = bytearray(len(text) for text in ascii_text)
        folded = bytearray(ord(text or "-") for text in ascii_text)
        lower = bytearray(ord(chr(byte).lower()) if byte < 128 else byte for byte in range(256))
        glanced = bytearray(
            COUNTS | CONTINUES if text.isdigit() else 0 if text else CONTINUES for text in ascii_text
        )
        glanced += bytearray([IS_WIDE] * 128)
        last_bytes = bytearray(1 << 16)
        scratch = bytearray(SCRATCH_BYTES)
        text = bytearray(SCRATCH_BYTES)
        self.owned = (marks, glanced, lower, last_bytes, folded, kept, scratch, text)
        self.marks, self.glanced, self.lower, self.last_bytes = marks, glanced, lower, last_bytes
        self.folded, self.kept, self.scratch, self.text = folded, kept, scratch, text
        self.loose_at = array("q", bytes(8 << 16))
        self.loose_pool = bytearray(1)
        self.loose = self.loose_pool

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def reset(self) -> void:
        """Forget the texts of the change before."""
        self.count = 0
        self.used = 0

    @cython.cfunc
    @cython.nogil
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
        self.needles[base + 6] = self.is_long_number(loose, used)
        self.used = used
        self.count += 1
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_long_number(self, at: Py_ssize_t, end: Py_ssize_t) -> bint:
        """Whether a loosened text is nothing but digits, of which the last may be an X."""
        held: p_uchar = self.text
        marks: p_uchar = self.marks
        number: Py_ssize_t
        for number in range(at, end - 1):
            if not marks[held[number]] & IS_DIGIT:
                return False
        return end - at >= LONG_NUMBER and marks[held[end - 1]] & (IS_DIGIT | IS_X) != 0

    @cython.cfunc
    @cython.nogil
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
        number: Py_ssize_t
        base: Py_ssize_t
        texts: ulonglong = 0
        numbers: ulonglong = 0
        one: ulonglong = 1
        self.fewest_digits = ID_DIGITS
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
            if not self.needles[base + 6]:
                texts |= one << number
                continue
            numbers |= one << number
            if self.needles[base + 4] - 1 < self.fewest_digits:
                self.fewest_digits = self.needles[base + 4] - 1
        if texts:
            self.seek(texts)
        clean: bint = (
            self.is_clean_at_a_glance(o, start, end) if texts else self.has_no_long_number(o, start, end)
        )
        if not clean:
            self.seek(numbers)
            clean = self.holds_none(o, start, end, approved)
            self.forget(numbers)
        if texts:
            self.forget(texts)
        return clean

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def seek(self, needles: ulonglong) -> void:
        """Look for needles, given as bits, where their last bytes stand."""
        one: ulonglong = 1
        number: Py_ssize_t
        for number in range(self.count):
            if (needles >> number) & 1:
                last: longlong = self.last_byte(number)
                self.ends[last] |= one << number
                self.marks[last] |= IS_END
                self.glanced[last] |= IS_END
                self.glanced[self.lower[last]] |= IS_END

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def forget(self, needles: ulonglong) -> void:
        """Look no more where needles end, nor for others that end alike."""
        number: Py_ssize_t
        for number in range(self.count):
            if (needles >> number) & 1:
                last: longlong = self.last_byte(number)
                self.ends[last] = 0
                self.marks[last] &= IS_END ^ 0xFF
                self.glanced[last] &= IS_END ^ 0xFF
                self.glanced[self.lower[last]] &= IS_END ^ 0xFF

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def last_byte(self, number: Py_ssize_t) -> longlong:
        held: p_uchar = self.text
        base: Py_ssize_t = number * NEEDLE_WIDTH
        return held[self.needles[base + 3] + self.needles[base + 4] - 1]

    @cython.cfunc
    @cython.nogil
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

    # The glance: True is certain, False means that the output must be loosened to know.

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def has_no_long_number(self, o: p_uchar, start: Py_ssize_t, end: Py_ssize_t) -> bint:
        """Look for so many digits in a row that they may be a hidden number, where no other text is hidden.

        No character has fewer bytes than digits that it counts as. So a number takes at least as many bytes
        as it has digits, and one byte of that many is enough to tell that none lies across it.
        """
        glanced: p_uchar = self.glanced
        step: Py_ssize_t = self.fewest_digits
        at: Py_ssize_t = start + step - 1
        first: Py_ssize_t
        while at < end:
            if glanced[o[at]] & (CONTINUES | IS_WIDE):
                first = at
                while first > start and glanced[o[first - 1]] & (CONTINUES | IS_WIDE):
                    first -= 1
                while at < end and glanced[o[at]] & (CONTINUES | IS_WIDE):
                    at += 1
                if at - first >= step and not self.is_clean_at_a_glance(o, first, at):
                    return False
            at += step
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def is_clean_at_a_glance(self, o: p_uchar, start: Py_ssize_t, end: Py_ssize_t) -> bint:
        """Look where a text could end, and for so many digits in a row that they may be a hidden number.

        Nearly without branches: most bytes of a record are of no kind that could be foretold.
        """
        if self.ends[LAST_OF_BROKEN]:
            return False
        glanced: p_uchar = self.glanced
        fewest_digits: Py_ssize_t = self.fewest_digits
        at: Py_ssize_t = start
        run: Py_ssize_t = 0
        before: Py_ssize_t
        mark: Py_ssize_t
        width: longlong
        self.has_variant = False
        while at < end:
            mark = glanced[o[at]]
            before = run
            run = (run + (mark & COUNTS)) & -((mark & CONTINUES) >> 1)
            if run >= fewest_digits:
                return False
            if mark < IS_END or (mark & IS_WIDE and o[at] < FIRST_LEAD):
                at += 1
                continue
            if mark & IS_WIDE:
                width = self.clean_width(o, at, end)
                if width == 0:
                    return False
                if width < 0:
                    width = -width
                    run = before
                at += width
                continue
            if self.ends_here(o, start, at, False):
                return False
            at += 1
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def clean_width(self, o: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> longlong:
        """Return how many bytes a wide character has, or what is no character; negated: it counts as nothing.

        0 where it may matter: a needle may end with it, or within what it counts as, or it counts as a digit.
        """
        width: longlong = utf8_width(o, at, end)
        if width < 0:
            return -width
        if width == 4:
            return 0
        character: longlong = code_point(o, at, width)
        last_bytes: p_uchar = self.last_bytes
        if last_bytes[character] == 0:
            with cython.gil:
                last_bytes[character] = last_byte_of(character)
        last: longlong = last_bytes[character]
        if last == IN_DOUBT or self.ends[last]:
            return 0
        if last < 0x80:
            self.has_variant = True
        return -width if last == IS_NOTHING else width

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def ends_here(self, p: p_uchar, start: Py_ssize_t, at: Py_ssize_t, is_loose: bint) -> bint:
        """Whether a needle ends with the byte at `at`; where the text is not loosened, whether one may."""
        found: ulonglong = self.ends[p[at] if is_loose else self.folded[p[at]]]
        number: Py_ssize_t = 0
        while found:
            if found & 1 and (
                self.stands_before(p, at + 1, number)
                if is_loose
                else self.may_stand_before(p, start, at, number)
            ):
                return True
            found >>= 1
            number += 1
        return False

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def may_stand_before(self, o: p_uchar, start: Py_ssize_t, at: Py_ssize_t, number: Py_ssize_t) -> bint:
        """Compare backwards, without separators, until a character differs; whether none did."""
        held: p_uchar = self.text
        folded: p_uchar = self.folded
        kept: p_uchar = self.kept
        first: Py_ssize_t = self.needles[number * NEEDLE_WIDTH + 3]
        wanted: Py_ssize_t = first + self.needles[number * NEEDLE_WIDTH + 4] - 2
        while wanted >= first:
            at -= 1
            if at < start:
                return False
            if o[at] >= 0x80:
                # It ends with such a byte when loosened too, unless it counts as a letter or as nothing.
                return held[wanted] >= 0x80 or self.has_variant
            if kept[o[at]] == 0:
                continue
            if folded[o[at]] != held[wanted]:
                return False
            wanted -= 1
        return True

    @cython.cfunc
    @cython.nogil
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
            if mark & IS_END and self.ends_here(loose, 0, at, True):
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
    @cython.nogil
    @cython.exceptval(check=False)
    def stands_before(self, loose: p_uchar, end: Py_ssize_t, number: Py_ssize_t) -> bint:
        """Whether a needle stands before `end`, with whose last byte the text before it ends."""
        held: p_uchar = self.text
        size: Py_ssize_t = self.needles[number * NEEDLE_WIDTH + 4]
        at: Py_ssize_t = self.needles[number * NEEDLE_WIDTH + 3]
        # The byte before the last tells most of them apart.
        return (
            size <= end
            and held[at + size - 2] == loose[end - 2]
            and is_same(held, at, loose, end - size, size)
        )

    @cython.cfunc
    @cython.nogil
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
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def write_loosened(self, loose: p_uchar, j: Py_ssize_t, character: longlong) -> Py_ssize_t:
        """Write what one character counts as; remembered for those of the basic plane."""
        if character >= 0x1_0000:
            with cython.gil:
                return write_astral(loose, j, character)
        place: longlong = self.loose_at[character]
        if place == 0:
            with cython.gil:
                place = self.remember(character)
        copy(loose, j, self.loose, place >> 8, place & 0xFF)
        return j + (place & 0xFF)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def remember(self, character: longlong) -> longlong:
        """Note what a character counts as; return its place in the pool, and its size in the last byte."""
        encoded: bytes = loosened(chr(character)).encode()
        place: longlong = (len(self.loose_pool) << 8) | len(encoded)
        self.loose_pool += encoded
        self.loose = self.loose_pool
        self.loose_at[character] = place
        return place


@cython.cfunc
@cython.exceptval(-2, check=False)
def write_astral(loose: p_uchar, j: Py_ssize_t, character: longlong) -> Py_ssize_t:
    made: bytes = loosened(chr(character)).encode()
    copy_bytes(loose, j, made, len(made))
    return j + len(made)


def last_byte_of(character: int) -> int:
    """Return the last byte of what a character counts as, where that is one character and no digit."""
    text = loosened(chr(character))
    if not text:
        return int(IS_NOTHING)
    if len(text) > 1 or (text.isascii() and not text.isalpha()):
        return int(IN_DOUBT)
    made = text.encode()
    return made[len(made) - 1]
