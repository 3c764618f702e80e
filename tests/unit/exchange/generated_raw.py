"""Raw tables made by chance: columns of the contract's fields and others, and the envelope around them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.unit.exchange.generated_sorts import (
    INT_MAX,
    INT_MIN,
    LONG_MAX,
    LONG_MIN,
    any_text,
    double_,
    float_,
    long_,
    sized,
    text_,
)

Write = Callable[[random.Random], bytes]
_FORMS: Final = {
    "plain": (b"", b""),
    "null_first": (b"\0", b"\x02"),
    "null_last": (b"\x02", b"\0"),
    "wrapped": (b"\0", b"\x02"),
    "alone": (b"\0", b"\0"),
}
"""Form → branch of null, branch of a value."""


@dataclass
class Column:
    """One column: its schema without null, how null is said, what makes and what writes its values."""

    name: str
    schema: Any
    form: str
    make: Callable[[random.Random, int], Any]
    encode: Callable[[Any], bytes]

    def declared(self) -> dict[str, Any]:
        forms = {
            "plain": self.schema,
            "null_first": ["null", self.schema],
            "null_last": [self.schema, "null"],
            "wrapped": {"type": ["null", self.schema]},
            "alone": [self.schema],
        }
        return {"name": self.name, "type": forms[self.form]}

    def write(self, row: Mapping[str, Any]) -> bytes:
        """Its value of a row; null in a column that has none is a broken record."""
        value = row[self.name]
        null, some = _FORMS[self.form]
        return null if value is None else some + self.encode(value)


@dataclass
class Extra(Column):
    """A column that no field names; `refers`: to a type that another one defines."""

    refers: bool = False


def extra_columns(r: random.Random) -> list[Column]:
    columns: list[Column] = []
    for number in range(r.choice((0, 0, 1, 3))):
        schema, write = any_type(r, f"X{number}", 0)
        columns.append(_extra(f"x{number}", schema, "plain", write))
    if r.random() < 0.2:
        name = r.choice(("Twice", "other.space.Twice"))
        schema = {"type": "enum", "name": name, "symbols": ["A", "B"]}
        columns.append(_extra("x_first", schema, "plain", lambda r: r.choice((b"\0", b"\x02"))))
        columns.append(_extra("x_again", name, "null_first", lambda r: b"\x02", refers=True))
    return columns


def _extra(name: str, schema: Any, form: str, write: Write, *, refers: bool = False) -> Extra:
    return Extra(name, schema, form, lambda r, _heat: write(r), bytes, refers)


def any_type(r: random.Random, name: str, depth: int) -> tuple[Any, Write]:
    """A schema of any kind, and what writes values of it; `name` is free for a named type."""
    if depth > 2 or r.random() < 0.5:
        return r.choice(_PLAIN)
    match r.randrange(6):
        case 0:
            item, write = any_type(r, f"{name}I", depth + 1)
            return {"type": "array", "items": item}, lambda r: _blocks(r, write)
        case 1:
            item, write = any_type(r, f"{name}V", depth + 1)
            return {"type": "map", "values": item}, lambda r: _blocks(
                r, lambda r: text_(any_text(r)) + write(r)
            )
        case 2:
            kinds = [any_type(r, f"{name}U{number}", 3) for number in range(r.randint(1, 4))]
            return [schema for schema, _ in kinds], lambda r: _branch(r, [write for _, write in kinds])
        case 3:
            size = r.choice((0, 1, 16))
            return {"type": "fixed", "name": name, "size": size}, lambda r: r.randbytes(size)
        case 4:
            symbols = [f"S{number}" for number in range(r.choice((1, 100)))]
            schema = {"type": "enum", "name": name, "symbols": symbols}
            return schema, lambda r: long_(r.randrange(len(symbols)))
        case _:
            parts = [any_type(r, f"{name}F{number}", depth + 1) for number in range(r.randint(0, 3))]
            fields = [{"name": f"p{number}", "type": part} for number, (part, _) in enumerate(parts)]
            record = {"type": "record", "name": name, "fields": fields}
            if r.random() < 0.3:
                record["namespace"] = "some.where"
            return record, lambda r: b"".join(write(r) for _, write in parts)


_PLAIN: Final[tuple[tuple[Any, Write], ...]] = (
    ("null", lambda r: b""),
    ("boolean", lambda r: r.choice((b"\0", b"\x01"))),
    ("int", lambda r: long_(r.choice((INT_MIN, INT_MAX, 0, -1)))),
    ("long", lambda r: long_(r.choice((LONG_MIN, LONG_MAX, 0, 63, 64)))),
    ("float", lambda r: float_(float("nan"))),
    ("double", lambda r: double_(-0.0)),
    ("bytes", lambda r: sized(r.randbytes(r.choice((0, 3, 80))))),
    ("string", lambda r: text_(any_text(r))),
    ({"type": "string", "connect.name": "x"}, lambda r: text_(any_text(r))),
    (["null", "string"], lambda r: r.choice((b"\0", b"\x02\x02a"))),
    (["long", "null"], lambda r: r.choice((b"\x02", b"\0\x02"))),
    (["string", "int", "null"], lambda r: r.choice((b"\0\x02a", b"\x02\x02", b"\x04"))),
)


def _blocks(r: random.Random, write: Write) -> bytes:
    out = b""
    for _ in range(r.choice((0, 1, 1, 3))):
        count = r.randint(1, 3)
        items = b"".join(write(r) for _ in range(count))
        out += long_(-count) + long_(len(items)) + items if r.random() < 0.3 else long_(count) + items
    return out + b"\0"


def _branch(r: random.Random, writes: list[Write]) -> bytes:
    branch = r.randrange(len(writes))
    return long_(branch) + writes[branch](r)


# The envelope


@dataclass
class Member:
    """One member of the envelope, written from what is `given` of the change."""

    name: str
    schema: Any
    write: Callable[[random.Random, Mapping[str, Any]], bytes]


def envelope_of(r: random.Random, columns: list[Column]) -> tuple[dict[str, Any], list[Member]]:
    row = {
        "type": "record",
        "name": "Value",
        "namespace": r.choice(("raw.test", "raw.test", "elsewhere")),
        "fields": [column.declared() for column in columns],
    }
    name = f"{row['namespace']}.Value"
    members = [_image(r, "before", row), _image(r, "after", name), _source(r)]
    members.append(Member("op", "string", lambda r, given: text_(given["op"])))
    if r.random() < 0.8:
        members.append(_captured(r))
    if r.random() < 0.5:
        schema, write = any_type(r, "Transaction", 0)
        members.insert(r.randrange(len(members) + 1), Member("transaction", schema, lambda r, _: write(r)))
    if r.random() < 0.3:
        members.insert(0, members.pop(next(at for at, one in enumerate(members) if one.name == "op")))
    schema = {
        "type": "record",
        "name": "Envelope",
        "namespace": "raw.test",
        "fields": [{"name": member.name, "type": member.schema} for member in members],
    }
    return schema, members


def _image(r: random.Random, name: str, schema: Any) -> Member:
    null, some = _FORMS[form := r.choice(("null_first", "null_first", "null_last"))]

    def write(_r: random.Random, given: Mapping[str, Any]) -> bytes:
        return null if given[name] is None else some + given[name]

    return Member(name, ["null", schema] if form == "null_first" else [schema, "null"], write)


def _captured(r: random.Random) -> Member:
    form = r.choice(("null_first", "null_first", "null_last", "plain"))
    null, some = _FORMS[form]

    def write(_r: random.Random, given: Mapping[str, Any]) -> bytes:
        ms = given["captured_ms"]
        return null if ms is None and form != "plain" else some + long_(ms or 0)

    return Member("ts_ms", Column("", "long", form, lambda *_: 0, long_).declared()["type"], write)


def _source(r: random.Random) -> Member:
    """The block about the source: its time, and others around it."""
    form = r.choice(("plain", "plain", "null_first", "null_last"))
    some = _FORMS[form][1]
    time = Column("ts_ms", "long", form, lambda *_: 0, long_).declared()
    others = [(f"s{number}", *any_type(r, f"So{number}", 0)) for number in range(r.randint(0, 3))]
    at = r.randint(0, len(others))
    fields = [{"name": name, "type": schema} for name, schema, _ in others]
    fields.insert(at, time)

    def write(r: random.Random, given: Mapping[str, Any]) -> bytes:
        parts = [make(r) for _, _, make in others]
        parts.insert(at, some + long_(given["source_ms"]))
        return b"".join(parts)

    record = {"type": "record", "name": "Source", "namespace": "io.debezium", "fields": fields}
    return Member("source", record, write)
