"""Sorts of fields for generated contracts: a type, rules, the column behind it, and values of every heat."""

from __future__ import annotations

import json
import random
import re
import string
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, Final

from exchange.fieldtype import decimal_bytes
from tests.unit.exchange.samples import NOW_DAYS, credit_code, id_number

VALID, EDGE, BAD = range(3)
"""Heat of a value: one that keeps type and rules; one at a limit, which may; one that should not."""

Make = Callable[[random.Random, int], Any]

BLANKS: Final = " \t\n\v\f\r\x1c\x1f\x85\xa0\u1680\u2000\u2009\u2028\u2029\u202f\u205f\u3000"
PIECES: Final[tuple[str, ...]] = (
    *(
        "王小明",
        "文三路100号",
        "Zoë",
        "e\u0301",
        "Å",
        "ß",
        "ﬁ",
        "ﷺ",
        "𠀀",
        "😀",
        "\ufffd",
        "０１２３",
        "①",
        "Ⅷ",
    ),
    *("a", "B7", "-", "·", "—", "'", "\0", "\x7f", "あ", "々", "ก", "한", "x" * 50, "丰" * 50, "13857112345"),
    *BLANKS,
)
EDGE_TEXTS: Final = ("", " ", BLANKS, "\u3000\u3000", "\0", "\n", "x\n", "　王", "十" * 300)
LONG_MIN, LONG_MAX = -(1 << 63), (1 << 63) - 1
INT_MIN, INT_MAX = -(1 << 31), (1 << 31) - 1
FIRST_DAY, LAST_DAY = (date.min - date(1970, 1, 1)).days, (date.max - date(1970, 1, 1)).days
MICROS: Final = 86_400_000_000
JSON_COLUMN: Final = {"type": "string", "connect.name": "io.debezium.data.Json"}
NUMERIC_COLUMN: Final = {"type": "string", "connect.name": "exchange.Numeric"}


@dataclass(frozen=True)
class Sort:
    """One field's type and rules, the schema of its column, and what makes and writes the column's values."""

    kind: str
    avro: Any
    column: Any
    rules: tuple[dict[str, Any], ...]
    make: Make
    encode: Callable[[Any], bytes]
    parts: tuple[tuple[str, Sort], ...] = ()
    """Of a record: its fields."""


# Avro bytes


def long_(value: int) -> bytes:
    rest = value << 1 if value >= 0 else (~value << 1) | 1
    out = bytearray()
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def sized(content: bytes) -> bytes:
    return long_(len(content)) + content


def text_(text: str) -> bytes:
    return sized(text.encode())


def boolean_(value: bool) -> bytes:
    return bytes([value])


def float_(value: float) -> bytes:
    return struct.pack("<f", value)


def double_(value: float) -> bytes:
    return struct.pack("<d", value)


# Texts


def some_text(r: random.Random, least: int = 1, most: int = 12) -> str:
    """A text that is not blank; its first character says so surely."""
    text = r.choice("王李abcXYZ019")
    size = r.randint(max(least, 1), max(most, 1))
    while len(text) < size:
        text += r.choice(PIECES)
    return text[:size]


def any_text(r: random.Random) -> str:
    if r.random() < 0.02:
        return "b" * r.choice((1000, 6000))
    if r.random() < 0.3:
        return r.choice(EDGE_TEXTS)
    return "".join(r.choices(PIECES, k=r.randint(0, 5)))


def some_id_number(r: random.Random) -> str:
    region = r.choice(("110101", "330106", "820000", "710000", "542621"))
    born = r.choice(("19900307", "18000101", "20991231", "20000229", "19041111"))
    return id_number(r.randrange(999), region, born)


def some_mobile(r: random.Random) -> str:
    return f"1{r.randint(3, 9)}{r.randrange(10**9):09d}"


def some_email(r: random.Random) -> str:
    return f"{''.join(r.choices(string.ascii_letters, k=r.randint(1, 9)))}@mail.example.cn"


SHAPES: Final[tuple[tuple[str, Callable[[random.Random], str]], ...]] = (
    (r"[0-9]{6}", lambda r: f"{r.randrange(10**6):06d}"),
    (r"\d{3}[A-Z]{2}\w{0,4}", lambda r: f"{r.randrange(1000):03d}AB" + "x_9"[: r.randint(0, 3)]),
    (r"(?:[A-Za-z])+", lambda r: "".join(r.choices(string.ascii_letters, k=r.randint(1, 20)))),
    (r"E-\d{4}\s?", lambda r: f"E-{r.randrange(10**4):04d}{r.choice(('', ' '))}"),
    (r"[ -~]{1,70}", lambda r: "".join(r.choices(string.printable[:62], k=r.randint(1, 70)))),
    (r"", lambda r: ""),
    (r"[0-9]{2,3}[A-Z]", lambda r: r.choice(("12A", "123B"))),
    (r"(?i:abc)[^0-9]{1,3}", lambda r: r.choice(("ABCxyz", "abcé", "aBc文字"))),
    (r"(?:北京|上海)?.{2,9}", lambda r: "上海" + some_text(r, 2, 4).replace("\n", "n")),
    (r"[一-龥]{2,20}", lambda r: r.choice(("王明", "欧阳修"))),
)
TEXT_RULES: Final[tuple[tuple[str, Callable[[random.Random], str]], ...]] = (
    ("cn_id_number", some_id_number),
    ("cn_mobile", some_mobile),
    ("cn_credit_code", lambda r: credit_code(r.randrange(10**7))),
    ("email", some_email),
)


def spoilt(r: random.Random, text: str) -> str:
    """A text near to one that is valid."""
    at = r.randrange(len(text) + 1)
    match r.randrange(6):
        case 0:
            return text[:at] + text[at + 1 :]
        case 1:
            return text + r.choice(("\n", " ", "０", "9", "\0"))
        case 2:
            return text[:at] + r.choice(PIECES) + text[at:]
        case 3:
            return text.translate({ord("0") + n: chr(0xFF10 + n) for n in range(10)})
        case 4:
            return text.swapcase()
        case _:
            return any_text(r)


def text_sort(r: random.Random, *, inside: bool, rule: str | None = None) -> Sort:
    rules, valid = _text_rules(r, rule or r.choice(("", "length", "codes", "pattern", "pattern", "cn")))
    if r.random() < 0.4:
        rules.append({"rule": "required"})
    r.shuffle(rules)

    def make(r: random.Random, heat: int) -> str:
        text = valid(r)
        return text if heat == VALID else any_text(r) if heat == EDGE else spoilt(r, text)

    column = "string" if inside else r.choice(("string", {"type": "string", "connect.name": "exchange.Text"}))
    return Sort("string", "string", column, tuple(rules), make, text_)


def _text_rules(r: random.Random, rule: str) -> tuple[list[dict[str, Any]], Callable[[random.Random], str]]:
    if rule == "length":
        least, most = r.choice(((0, 50), (1, 50), (2, None), (None, 20), (3, 3)))
        bounds = {name: bound for name, bound in (("min", least), ("max", most)) if bound is not None}
        return [{"rule": "length"} | bounds], lambda r: some_text(r, max(least or 1, 1), most or 30)
    if rule == "codes":
        values = [f"{number:02d}" for number in range(r.choice((1, 2, 9, 300)))] + ["", "王", "x" * 60]
        return [{"rule": "codes", "values": values}], lambda r: values[r.randrange(len(values) - 3)]
    if rule == "pattern":
        regex, valid = r.choice(SHAPES)
        return [{"rule": "pattern", "regex": regex}], lambda r: valid(r) or "x" * (regex != "")
    for name, valid in TEXT_RULES:
        if name == rule or (rule == "cn" and r.random() < 0.4):
            more = [{"rule": "length", "max": 400}] if r.random() < 0.3 else []
            return [{"rule": name}, *more], valid
    return [], some_text


def uuid_sort(r: random.Random) -> Sort:
    column = {"type": "string", "logicalType": "uuid"}

    def make(r: random.Random, heat: int) -> str:
        return f"{r.getrandbits(128):032x}" if heat == VALID else any_text(r)

    rules = ({"rule": "required"},) if r.random() < 0.5 else ()
    kind = r.choice(("uuid", "string"))
    return Sort(kind, column if kind == "uuid" else "string", column, rules, make, text_)


def enum_sort(r: random.Random, name: str) -> Sort:
    symbols = [f"S{number}" for number in range(r.choice((1, 3, 70)))] + ["NORMAL", "Closed_out"]
    r.shuffle(symbols)

    def make(r: random.Random, heat: int) -> str:
        return r.choice(symbols) if heat == VALID else spoilt(r, r.choice(symbols))

    rules = ({"rule": "required"},) if r.random() < 0.3 else ()
    column = {"type": "string", "connect.name": "io.debezium.data.Enum"}
    return Sort("enum", {"type": "enum", "name": name, "symbols": symbols}, column, rules, make, text_)


# Numbers


def whole_sort(r: random.Random, *, inside: bool) -> Sort:
    kind = r.choice(("int", "long"))
    low, high = (INT_MIN, INT_MAX) if kind == "int" else (LONG_MIN, LONG_MAX)
    column = kind if inside or kind == "int" else r.choice(("int", "long"))
    if column == "int":
        low, high = INT_MIN, INT_MAX
    least, most = r.choice(((low, high), (0, high), (-100, 100), (1, 1), (low, -1), (-(10**30), 10**30)))
    rules = _range(r, least, most)
    if not rules:
        least, most = low, high
    make = _number(max(least, low), min(most, high), low, high)
    return Sort(kind, kind, column, rules, make, long_)


def _range(r: random.Random, least: Any, most: Any) -> tuple[dict[str, Any], ...]:
    ends = r.choice(({}, {"min": least}, {"max": most}, {"min": least, "max": most}))
    return ({"rule": "range", **ends},) if ends else ()


def _number(least: int, most: int, low: int, high: int) -> Make:
    def make(r: random.Random, heat: int) -> int:
        if heat == VALID:
            return r.choice((least, most, r.randint(least, most), min(max(r.randint(-9, 9), least), most)))
        value = r.choice((least - 1, most + 1, low, high, 0, -1, 1, 63, 64, -64, -65, 1 << 62, -(1 << 62)))
        return min(max(value, low), high)

    return make


def boolean_sort(r: random.Random) -> Sort:
    return Sort("boolean", "boolean", "boolean", (), lambda r, _: r.random() < 0.5, boolean_)


def real_sort(r: random.Random, *, inside: bool) -> Sort:
    kind = r.choice(("float", "double"))
    column = kind if inside or kind == "float" else r.choice(("float", "double"))
    rules = _range(r, -1000, 10**6) if r.random() < 0.3 else ()

    def make(r: random.Random, heat: int) -> float:
        if heat == VALID:
            return r.choice((0.0, 1.5, -2.25, r.randint(-1000, 1000) / 8))
        small = (-0.0, 3.4e38, -3.4e38, 1e-45, 5e-324, 2.5)
        return r.choice(small if heat == EDGE or inside else (float("nan"), float("inf"), float("-inf")))

    return Sort(kind, kind, column, rules, make, float_ if column == "float" else double_)


def decimal_sort(r: random.Random, *, inside: bool) -> Sort:
    precision = r.choice((1, 6, 14, 18, 19, 30, 76))
    scale = r.choice((0, min(2, precision), precision))
    avro = {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}
    rules = _range(r, 0, 10 ** (precision - scale) - 1) if scale < precision and precision < 28 else ()
    form = "json" if inside else r.choice(("same", "same", "narrow", "numeric"))
    column: Any = avro | {"precision": precision - 1, "scale": max(scale - 1, 0)}
    if form != "narrow" or precision == 1 or scale == 0:
        column = avro
    if form == "numeric":
        column = NUMERIC_COLUMN
    most = 10 ** column["precision"] - 1 if column is not NUMERIC_COLUMN else 10**precision - 1

    def make(r: random.Random, heat: int) -> Any:
        unscaled = r.choice((0, 1, most, r.randint(0, most)))
        if heat != VALID:
            unscaled = r.choice((-1, -most, most + 1, -most - 1, 127, 128, -128, -129, 10**40, 255))
        if form in ("json", "numeric"):
            text = f"{Decimal(unscaled).scaleb(-scale, _EXACT):f}"
            if heat == BAD:
                text = r.choice((text + "1", f"{text}e2", "NaN", "-", "1.", "٣", "0" * 30 + "1.50"))
            return Raw(text) if form == "json" else text
        content = decimal_bytes(unscaled)
        if heat != VALID and r.random() < 0.3:
            content = r.choice((b"\0" + content, b"\xff" + content, b"", b"\0" * 9, content * 2))
        return content

    encode = text_ if form == "numeric" else sized
    return Sort("decimal", avro, column, rules, make, encode)


def bytes_sort(r: random.Random) -> Sort:
    rules = ({"rule": "length", **r.choice(({"min": 2}, {"max": 3}, {"min": 1, "max": 40}))},)

    def make(r: random.Random, heat: int) -> bytes:
        return r.randbytes(r.choice((2, 3))) if heat == VALID else r.randbytes(r.choice((0, 1, 4, 40, 41)))

    return Sort("bytes", "bytes", "bytes", rules if r.random() < 0.5 else (), make, sized)


# Times


def date_sort(r: random.Random, *, inside: bool) -> Sort:
    avro = {"type": "int", "logicalType": "date"}
    rules: tuple[dict[str, Any], ...] = r.choice(((), ({"rule": "not_future"},)))
    rules += r.choice((({"rule": "range", "min": "1900-01-01"},), _range(r, "0001-01-01", "9999-12-31")))

    def make(r: random.Random, heat: int) -> Any:
        days = r.randint(-25_567, NOW_DAYS - 400)
        if heat != VALID:
            days = r.choice((FIRST_DAY, LAST_DAY, NOW_DAYS, NOW_DAYS + 1, NOW_DAYS + 2, -25_568))
        if inside:
            text = (date(1970, 1, 1) + timedelta(days)).isoformat()
            return text if heat != BAD else r.choice((text + " ", "2020-02-30", "20200101", days))
        return days if heat != BAD else r.choice((FIRST_DAY - 1, LAST_DAY + 1, INT_MAX, INT_MIN))

    return Sort("date", avro, avro, rules, make, long_)


def timestamp_sort(r: random.Random, *, inside: bool) -> Sort:
    kind = "timestamp" if inside else r.choice(("timestamp", "local_timestamp"))
    avro = {"type": "long", "logicalType": f"{kind.replace('_', '-')}-micros"}
    rules = ({"rule": "not_future"},) if r.random() < 0.4 else ()
    first, last = FIRST_DAY * MICROS, (LAST_DAY + 1) * MICROS - 1

    def make(r: random.Random, heat: int) -> Any:
        micros = r.randint(0, (NOW_DAYS - 400) * MICROS)
        if heat != VALID:
            micros = r.choice((first, last, (NOW_DAYS + 1) * MICROS, -1, (NOW_DAYS + 2) * MICROS, -MICROS))
        if inside:
            when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
            return when.isoformat() if heat != BAD else r.choice((when.isoformat()[:-6], "x", micros))
        return micros if heat != BAD else r.choice((first - 1, last + 1, LONG_MAX, LONG_MIN))

    return Sort(kind, avro, avro, rules, make, long_)


def time_sort(r: random.Random) -> Sort:
    avro = {"type": "long", "logicalType": "time-micros"}
    return Sort("time", avro, avro, (), lambda r, heat: r.randint(0, MICROS) * (1 - heat), long_)


# Compound


class Raw(str):
    """A number written into a JSON document as it stands."""


_EXACT: Final = Context(prec=200)
_LIFTED: Final = re.compile(r'"\\u0001([^"]*)"')


def json_text(r: random.Random, value: Any) -> str:
    ascii_only, gap = r.random() < 0.3, r.choice((None, 1))
    return _LIFTED.sub(r"\1", json.dumps(_lift(value), ensure_ascii=ascii_only, indent=gap))


def _lift(value: Any) -> Any:
    if isinstance(value, Raw):
        return "\x01" + value
    if isinstance(value, dict):
        return {name: _lift(part) for name, part in value.items()}
    return [_lift(part) for part in value] if isinstance(value, list) else value


def array_sort(r: random.Random, *, inside: bool) -> Sort:
    """An array of plain items, as a column or in JSON."""
    item = r.choice(ITEMS)(r)
    nullable = r.random() < 0.3
    avro = {"type": "array", "items": ["null", item.avro] if nullable else item.avro}
    rules = tuple(rule for rule in item.rules if rule["rule"] in _EACH) + r.choice(
        ((), ({"rule": "length", "max": 6},), ({"rule": "required"},))
    )
    rules = tuple({rule["rule"]: rule for rule in rules}.values())
    column_nullable = r.random() < 0.5
    column = {"type": "array", "items": ["null", item.column] if column_nullable else item.column}

    def make(r: random.Random, heat: int) -> list[Any]:
        size = r.randint(1, 4) if heat == VALID else r.choice((0, 0, 1, 1, 7, 7, 40, 400))
        nulls = heat == BAD or (heat == EDGE and nullable)
        return [None if nulls and r.random() < 0.3 else item.make(r, heat) for _ in range(size)]

    def encode(values: list[Any]) -> bytes:
        items = [_with_branch(item, value, nullable=column_nullable) for value in values if value is not None
                 or column_nullable]  # fmt: skip
        blocks = long_(len(items)) + b"".join(items) if items else b""
        if len(items) > 2:  # in two blocks, one of them with its size
            blocks = long_(2) + b"".join(items[:2])
            rest = b"".join(items[2:])
            blocks += long_(2 - len(items)) + long_(len(rest)) + rest
        return blocks + b"\0"

    if r.random() < 0.3:  # out of JSON, where numbers take few bytes
        return Sort("array", avro, JSON_COLUMN, rules, make, text_)
    return Sort("array", avro, column, rules, make, encode)


_EACH: Final = frozenset({"pattern", "codes", "cn_id_number", "cn_mobile", "cn_credit_code", "email"})
ITEMS: Final[tuple[Callable[[random.Random], Sort], ...]] = (
    lambda r: text_sort(r, inside=True),
    lambda r: text_sort(r, inside=True, rule="cn"),
    lambda r: Sort("double", "double", "double", (), lambda r, _: r.randrange(99) / 8, double_),
    lambda r: Sort("long", "long", "long", (), lambda r, _: r.randint(LONG_MIN, LONG_MAX), long_),
    boolean_sort,
)


def _with_branch(item: Sort, value: Any, *, nullable: bool) -> bytes:
    if value is None:
        return b"\0"
    return (b"\x02" if nullable else b"") + item.encode(value)


def record_sort(r: random.Random, name: str, depth: int = 0) -> Sort:
    """A record out of JSON, or an array of them; nullable fields are those whose rules do not require one."""
    parts = []
    for number in range(r.randint(1, 4)):
        inner = nested_sort(r, f"{name}N{number}", depth + 1)
        parts.append((f"n{number}", inner))
    optional = [r.random() < 0.4 for _ in parts]
    sources = [f"s-{part}" if r.random() < 0.2 else part for part, _ in parts]
    sensitive = [r.choice((None, None, "free_text", "mobile")) for _ in parts]
    fields = []
    for number, (part, inner) in enumerate(parts):
        entry = declared(part, inner, 1, sensitive[number], nullable=optional[number])
        fields.append(entry | ({"source": sources[number]} if sources[number] != part else {}))

    def make(r: random.Random, heat: int) -> Any:
        made: dict[str, Any] = {"unknown": "never shown 999"} if r.random() < 0.2 else {}
        for number, (_, inner) in enumerate(parts):
            hot = heat if r.random() < 0.4 else VALID
            value = inner.make(r, hot)
            if optional[number] and heat != VALID and r.random() < 0.3:
                value = None
            if heat != BAD or r.random() < 0.9:
                made[sources[number]] = value
        return made if heat != BAD or r.random() < 0.9 else r.choice((None, [], "x", 7, [made]))

    avro = {"type": "record", "name": name, "fields": fields}
    if r.random() < 0.3:
        many = {"type": "array", "items": avro}

        def make_many(r: random.Random, heat: int) -> Any:
            return [make(r, heat) for _ in range(r.randint(0, 3))]

        return Sort("records", many, JSON_COLUMN, (), make_many, text_)
    return Sort("record", avro, JSON_COLUMN, (), make, text_, tuple(parts))


def nested_sort(r: random.Random, name: str, depth: int) -> Sort:
    choices: list[Callable[[], Sort]] = [
        lambda: text_sort(r, inside=True),
        lambda: text_sort(r, inside=True, rule="cn"),
        lambda: enum_sort(r, name),
        lambda: whole_sort(r, inside=True),
        lambda: boolean_sort(r),
        lambda: real_sort(r, inside=True),
        lambda: decimal_sort(r, inside=True),
        lambda: date_sort(r, inside=True),
        lambda: timestamp_sort(r, inside=True),
        lambda: array_sort(r, inside=True),
    ]
    if depth < 3:
        choices.append(lambda: record_sort(r, name, depth))
    return r.choice(choices)()


def declared(
    name: str, sort: Sort, classification: int, sensitivity: str | None, *, nullable: bool
) -> dict[str, Any]:
    """A field as a contract declares it."""
    entry = {
        "name": name,
        "type": ["null", sort.avro] if nullable else sort.avro,
        "classification": classification,
        "label": {"zh": "字段", "en": name},
        "rules": list(sort.rules),
    }
    return entry if sensitivity is None else entry | {"sensitivity": sensitivity}


def top_sort(r: random.Random, name: str) -> Sort:
    """Any sort of field at the top of a contract."""
    choices: list[Callable[[], Sort]] = [
        lambda: text_sort(r, inside=False),
        lambda: text_sort(r, inside=False),
        lambda: text_sort(r, inside=False, rule="cn"),
        lambda: uuid_sort(r),
        lambda: enum_sort(r, name),
        lambda: whole_sort(r, inside=False),
        lambda: boolean_sort(r),
        lambda: real_sort(r, inside=False),
        lambda: decimal_sort(r, inside=False),
        lambda: bytes_sort(r),
        lambda: date_sort(r, inside=False),
        lambda: timestamp_sort(r, inside=False),
        lambda: time_sort(r),
        lambda: array_sort(r, inside=False),
        lambda: record_sort(r, name),
    ]
    return r.choice(choices)()


def key_sort(r: random.Random, name: str) -> Sort:
    choices: list[Callable[[], Sort]] = [
        lambda: text_sort(r, inside=False, rule="cn_id_number"),
        lambda: text_sort(r, inside=False),
        lambda: uuid_sort(r),
        lambda: whole_sort(r, inside=False),
        lambda: date_sort(r, inside=False),
    ]
    return r.choice(choices)()
