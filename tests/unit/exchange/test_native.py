"""The native functions against Python's own, on their plain source; compiled, the kernel's tests try them.

Where a function can be called in compiled form too, both are tried.
"""

from __future__ import annotations

import random
import unicodedata
import zlib
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchange.engine.flat import _fnv
from exchange.engine.leak import _loose, find_leak
from exchange.fieldtype import FieldType, decimal_bytes, decimal_unscaled
from exchange.keys import TokenKey
from exchange.masking import Generalise, Partial, TokenScope, compile_mask
from exchange.rules import is_credit_code, is_id_number, is_mobile
from tests.unit.exchange.generated_sorts import PIECES, long_
from tests.unit.exchange.natively import plain
from tests.unit.exchange.samples import credit_code, id_number

TEXT: Any = plain("exchange.native.text")
NUMBER: Any = plain("exchange.native.number")
MASK: Any = plain("exchange.native.mask")
SPAN: Any = plain("exchange.native.span")
GATE: Any = plain("exchange.native.gate")
TALLY: Any = plain("exchange.tally")

TEXTS = st.text() | st.lists(st.sampled_from(PIECES)).map("".join)
LONGS = st.integers(-(1 << 63), (1 << 63) - 1)
SCOPE = TokenScope(TokenKey(1, bytes(32)), "shop.item.v0", "f", None, exact=False)


def is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_every_sequence_of_two_and_many_of_three_bytes_is_utf8_or_not_as_python_says() -> None:
    for first in range(0x80, 256):
        for second in range(256):
            for rest in (b"", b"\x80", b"\xbf", b"A", b"\x80\x80", b"\xbf\xbf", b"\x80A", b"\xc2\x80"):
                content = bytes([first, second]) + rest
                assert TEXT.is_utf8(content, 0, len(content)) == is_utf8(content), content


@given(st.binary(), TEXTS)
def test_random_bytes_are_utf8_or_not_as_python_says(content: bytes, text: str) -> None:
    for one in (content, text.encode() + content, content + text.encode()):
        assert TEXT.is_utf8(one, 0, len(one)) == is_utf8(one)


@given(TEXTS, st.integers(0, 20))
def test_characters_are_counted_as_python_counts_them(text: str, count: int) -> None:
    content = text.encode()
    assert TEXT.characters(content, 0, len(content)) == len(text)
    assert TEXT.forward(content, 0, len(content), count) == len(text[:count].encode())
    if TEXT.is_not_blank(content, 0, len(content)):
        assert text.strip()


def test_every_blank_alone_is_blank() -> None:
    for code in range(0x11_0000):
        if not 0xD800 <= code < 0xE000 and not chr(code).strip():
            content = chr(code).encode() * 3
            assert not TEXT.is_not_blank(content, 0, len(content)), hex(code)


CHECKS = [
    (TEXT.is_id_number, is_id_number, [id_number(n, born=born) for n in range(30) for born in ("20000229",)]),
    (TEXT.is_credit_code, is_credit_code, [credit_code(n) for n in range(40)]),
    (TEXT.is_mobile, is_mobile, ["13857112345", "19999999999", "12000000000"]),
]


@pytest.mark.parametrize(("native", "python", "valid"), CHECKS)
def test_numbers_are_valid_exactly_when_the_rule_says_so(native: Any, python: Any, valid: list[str]) -> None:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcxyz０9\n -"
    for text in valid:
        for at in range(len(text)):
            for character in alphabet:
                other = text[:at] + character + text[at + 1 :]
                content = b"5" + other.encode() + b"5"
                assert bool(native(content, 1, len(content) - 1)) == python(other), other
    for text in (valid[0][:-1], valid[0] + "0", ""):
        assert bool(native(text.encode(), 0, len(text.encode()))) == python(text)


def test_every_province_and_day_is_judged_as_the_rule_does() -> None:
    days = [f"{year}{month:02d}{day:02d}" for year in ("1800", "1900", "2000", "2023", "2024", "1799", "2100")
            for month in range(14) for day in (0, 1, 28, 29, 30, 31, 32)]  # fmt: skip
    for head in [f"{region:02d}010119900307" for region in range(100)] + [f"110101{day}" for day in days]:
        text = id_number(1, head[:6], head[6:])
        assert TEXT.is_id_number(text.encode(), 0, 18) == is_id_number(text), text


@given(LONGS)
def test_numbers_are_written_and_read_as_avro_has_them(value: int) -> None:
    out = bytearray(12)
    end = NUMBER.write_long(out, 1, value)
    assert bytes(out[1:end]) == long_(value)
    assert NUMBER.unzigzag((value << 1) ^ (value >> 63)) == value


@given(st.binary(max_size=10))
def test_decimals_are_taken_in_their_shortest_form_only(content: bytes) -> None:
    is_shortest = len(content) <= 8 and content == decimal_bytes(decimal_unscaled(content))
    assert bool(NUMBER.is_shortest_decimal(content, 0, len(content))) == is_shortest
    if is_shortest:
        assert NUMBER.decimal(content, 0, len(content)) == decimal_unscaled(content)


def test_first_and_last_day_of_every_month_become_their_year_and_month() -> None:
    epoch, micros = date(1970, 1, 1), 86_400_000_000
    out = bytearray(8)
    for year in range(1, 10_000):
        for month in range(1, 13):
            first = (date(year, month, 1) - epoch).days
            for days in (first, first - 1):
                if days < (date.min - epoch).days:
                    continue
                wanted = (epoch + timedelta(days)).isoformat()[:7].encode()
                MASK.write_calendar(out, 0, days, 7, False)
                assert out == b"\x0e" + wanted
            MASK.write_calendar(out, 0, first * micros - 1 if first > -719_162 else 0, 4, True)
            before = (epoch + timedelta(first - 1)).isoformat()[:4] if first > -719_162 else "1970"
            assert out[:5] == b"\x08" + before.encode()


@given(LONGS, st.integers(1, (1 << 62) - 1))
def test_bucket_is_the_masks_or_none(value: int, size: int) -> None:
    out = bytearray(12)
    end = MASK.write_bucket(out, 0, value, size)
    if end >= 0:
        mask = compile_mask(Generalise(kind="generalise", to="bucket", size=size), FieldType("long"), SCOPE)
        assert bytes(out[:end]) == long_(mask(value))
    else:
        assert value < -(1 << 62)


@given(TEXTS, st.integers(0, 12), st.integers(0, 12))
def test_partial_and_prefix_are_the_masks(text: str, first: int, last: int) -> None:
    content, out = text.encode(), bytearray(20_000)
    partial = compile_mask(
        Partial(kind="partial", keep_first=first, keep_last=last), FieldType("string"), SCOPE
    )
    prefix = compile_mask(
        Generalise(kind="generalise", to="prefix", size=first + 1), FieldType("string"), SCOPE
    )
    end = MASK.write_partial(content, out, 0, 0, len(content), first, last)
    assert bytes(out[:end]) == long_(len(partial(text).encode())) + partial(text).encode()
    end = MASK.write_prefix(content, out, 0, 0, len(content), first + 1)
    assert bytes(out[:end]) == long_(len(prefix(text).encode())) + prefix(text).encode()


GATE_OF_ALL = GATE.Gate()


def loosened(content: bytes) -> bytes:
    out = bytearray(40 * len(content) + 200)
    return bytes(out[: GATE_OF_ALL.loosen(content, 0, len(content), out, 0, len(out))])


CUT_TEXTS = st.lists(st.sampled_from(PIECES)).map(
    lambda pieces: b"".join(piece.encode()[: 1 + number % 4] for number, piece in enumerate(pieces))
)


@given(st.binary() | TEXTS.map(str.encode) | CUT_TEXTS)
def test_random_bytes_are_loosened_as_the_gate_of_the_reference_does(content: bytes) -> None:
    assert loosened(content) == _loose(content.decode("utf-8", "replace")).encode()


EVERY_CHARACTER = [
    "".join(chr(code) for code in range(first, first + 0x400) if not 0xD800 <= code < 0xE000)
    for first in range(0, 0x3_0000, 0x400)  # no character above has another form
]


def test_every_character_is_loosened_as_the_gate_of_the_reference_does() -> None:
    for text in EVERY_CHARACTER:
        assert loosened(text.encode()) == _loose(text).encode(), ascii(text[:1])


HIDDEN_TEXTS = (
    "13857112345",
    "1234567890X",
    id_number(),
    "xm.wang@mail.cn",
    "a\u0301bcdefé",
    "西溪街道文三路100号",
    "Ключ-ключ",
)
HIDDEN = st.one_of(
    st.sampled_from(HIDDEN_TEXTS),
    st.text("0123456789X", min_size=6, max_size=18),
    st.text("019-xX \uff11\u00b2西路\ufffd", min_size=6, max_size=18),
)
_WIDE_DIGITS = {ord(str(digit)): 0xFF10 + digit for digit in range(10)}


@st.composite
def disguised(draw: st.DrawFn, text: str) -> bytes:
    """A text in another form, which is perhaps not quite it, behind bytes that it may belong to."""
    form = draw(st.integers(0, 6))
    if form == 1:
        text = draw(st.sampled_from(["-", " ", ".", "\u2010", "\u0301", "8", "中"])).join(text)
    elif form == 2:
        text = text.translate(_WIDE_DIGITS)
    elif form == 3:
        text = text.swapcase()
    elif form == 4:
        at = draw(st.integers(0, len(text) - 1))
        text = text[:at] + draw(st.sampled_from(["", "*", "0", "-", "\xad", "西"])) + text[at + 1 :]
    elif form == 5:
        text = text[draw(st.integers(0, 2)) :]
    return draw(st.binary(max_size=4)) + text.encode() + draw(st.binary(max_size=4))


@given(st.data(), st.lists(HIDDEN, min_size=1, max_size=4, unique=True))
@settings(max_examples=400)
def test_the_gate_holds_back_what_the_reference_would_hold_back(
    data: st.DataObject, hidden: list[str]
) -> None:
    pieces = st.one_of(
        st.sampled_from([*hidden, id_number(3), "文三路", "A", "1990"]).flatmap(disguised),
        st.binary(max_size=12),
    )
    output = b"".join(data.draw(st.lists(pieces, max_size=4)))
    approved = set(data.draw(st.lists(st.sampled_from(hidden), max_size=1)))
    gate = GATE.Gate()
    for number, text in enumerate(hidden):
        assert gate.add(text.encode(), 0, len(text.encode()), number)
    bits = sum(1 << number for number, text in enumerate(hidden) if text in approved)
    found = find_leak(output, dict.fromkeys(hidden, "field"), approved)
    assert gate.is_clean(output, 0, len(output), (1 << len(hidden)) - 1, bits) == (found is None)


@pytest.mark.parametrize("text", HIDDEN_TEXTS)
def test_the_gate_holds_back_a_text_in_all_its_forms(text: str) -> None:
    joined = [between.join(text) for between in ("-", " ", "\u2010", "\u0301")]
    wide, accented = text.translate(_WIDE_DIGITS), unicodedata.normalize("NFC", joined[-1])
    for form in (text, text.swapcase(), *joined, wide, accented):
        gate, hidden, output = GATE.Gate(), text.encode(), b"\x01\xff" + form.encode() + b"\x02"
        gate.add(hidden, 0, len(hidden), 0)
        assert find_leak(output, {text: "field"}, set()) == "field", form
        assert not gate.is_clean(output, 0, len(output), 1, 0), form


def test_the_gate_holds_back_a_text_that_ends_within_what_a_character_counts_as() -> None:
    """U+3318 counts as three: a text may end with the first of them."""
    gate, hidden = GATE.Gate(), "西溪街道文三ク".encode()
    gate.add(hidden, 0, len(hidden), 0)
    output = "西溪街道文三\u3318".encode()
    assert find_leak(output, {hidden.decode(): "field"}, set()) == "field"
    assert not gate.is_clean(output, 0, len(output), 1, 0)


def test_no_character_counts_as_more_digits_than_it_has_bytes() -> None:
    """On this the gate relies that looks at one byte of ten."""
    for character in "".join(EVERY_CHARACTER):
        digits = sum(part.isdigit() for part in _loose(character))
        assert digits <= len(character.encode()), ascii(character)


NUMBERS = ("13857112345", id_number(), "1234567890X")


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("between", ["", "-", "\u0301", "  "])
@pytest.mark.parametrize("wide", [False, True])
def test_the_gate_finds_a_number_wherever_it_stands(number: str, between: str, wide: bool) -> None:
    """At every place, so that each of its bytes is once the one that is looked at; behind what misleads."""
    text = between.join(number.translate(_WIDE_DIGITS) if wide else number).encode()
    gate, hidden = GATE.Gate(), number.encode()
    gate.add(hidden, 0, len(hidden), 0)
    for before in (b"*", b"12345678*", "\u738b*".encode(), b"\xe7\x8e*"):
        for shift in range(24):
            output = bytes(shift) + before + text + b"*"
            assert not gate.is_clean(output, 0, len(output), 1, 0), (before, shift)
            assert not gate.is_clean(output, 0, len(output) - 1, 1, 0), (before, shift)
            cut = bytes(shift) + before + text[: len(text) // 2] + b"*" + text[len(text) // 2 :]
            assert gate.is_clean(cut, 0, len(cut), 1, 0) == (find_leak(cut, {number: "f"}, set()) is None)


def test_what_is_masked_is_found_clean_at_a_glance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the gate would be as right, and slow."""
    gate = GATE.Gate()
    monkeypatch.setattr(gate, "holds_none", lambda *_: pytest.fail("loosened and looked at again"))
    shown = "王*明,330106********001X,138****2345,2026-11,西湖区,é,я".encode() + bytes(range(128, 256))
    for number, text in enumerate((id_number(), "13857112345", "xm.wang@mail.cn")):
        gate.add(text.encode(), 0, len(text), number)
    assert gate.is_clean(shown, 0, len(shown), 0b111, 0)


@given(st.binary(max_size=200), st.integers(0, 20))
def test_sums_over_bytes_are_the_known_ones(content: bytes, at: int) -> None:
    at = min(at, len(content))
    rest = content[at:]
    assert SPAN.fnv(content, at, len(rest)) == _fnv(rest)
    assert TALLY.crc32(content, at, len(rest)) == zlib.crc32(rest)


@given(st.binary(max_size=30), st.binary(max_size=4))
def test_spans_are_found_where_python_finds_them(content: bytes, wanted: bytes) -> None:
    r = random.Random(len(content))
    at = r.randint(0, len(content))
    if wanted:
        assert SPAN.occurs(wanted, 0, len(wanted), content, at, len(content)) == (wanted in content[at:])
    assert SPAN.span(content, at, len(content)) == content[at:]
    assert SPAN.starts_with(content, at, len(content) - at, 0) == (content[at : at + 5] == bytes(5))
