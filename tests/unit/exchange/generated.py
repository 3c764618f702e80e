"""Whole cases made by chance: a contract, the table behind it, views, and records of every kind.

Everything is drawn from one `random.Random`, so a seed repeats a case. Records are written here byte by
byte, not by an Avro library, for it would refuse to write most of what must be tried.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from exchange.block import Record
from exchange.change import Op, Position
from exchange.contract import Contract
from exchange.encoding.wire import prefix
from exchange.plan import PlannedResource
from exchange.view import ViewSpec
from tests.unit.exchange import generated_sorts as sorts
from tests.unit.exchange.generated_raw import Column, Extra, Member, envelope_of, extra_columns
from tests.unit.exchange.generated_sorts import BAD, EDGE, JSON_COLUMN, VALID, Sort
from tests.unit.exchange.samples import NOW_MS, RAW_KEY_ID, RAW_VALUE_ID, header, resource, spec

SENSITIVE: Final = ("id_number", "person_name", "mobile", "free_text", "credit_code", "address")
OTHER_ID: Final = 77
Row = dict[str, Any]
"""Column → value as the column's sort makes it, None for null."""


@dataclass
class Case:
    """One contract with its table and views; `records` makes what is to be processed."""

    contract: Contract
    resource: PlannedResource
    columns: list[Column]
    key_columns: list[Column]
    members: list[Member]
    value_schema: dict[str, Any]
    key_schema: dict[str, Any]
    offset: int = field(default=0)

    def schema_of(self, schema_id: int) -> dict[str, Any]:
        return {RAW_KEY_ID: self.key_schema, RAW_VALUE_ID: self.value_schema}[schema_id]

    def records(self, r: random.Random, count: int, *, tame: bool = False) -> list[Record]:
        """So many records; tame ones are as a healthy source writes them, of one minute."""
        return [self._record(r, tame=tame) for _ in range(count)]

    def _record(self, r: random.Random, *, tame: bool) -> Record:
        self.offset += 1
        op = r.choice((Op.CREATE, Op.READ, Op.UPDATE, Op.UPDATE, Op.DELETE))
        if not tame and r.random() < 0.03:
            op = Op.TRUNCATE
        old, new = self._images(r, op, tame=tame)
        row = new or old or self._row(r, VALID)
        source_ms = NOW_MS
        if not tame:
            source_ms += r.choice((0, 0, 0, -60_000, 3_600_000, r.randint(-200_000, 200_000)))
            source_ms = r.choice((0, 1 << 52, (1 << 63) - 1)) if r.random() < 0.02 else source_ms
        told_ms, told_op = source_ms, op
        if not tame and r.random() < 0.03:
            told_ms, told_op = r.choice(((source_ms + 1, op), (source_ms, r.choice(tuple(Op)))))
        value = prefix(RAW_VALUE_ID) + self._value(r, old, new, told_op, told_ms)
        key: bytes | None = prefix(RAW_KEY_ID) + b"".join(column.write(row) for column in self.key_columns)
        position = Position(r.getrandbits(64), 1000 + self.offset, r.getrandbits(32), r.getrandbits(16))
        made = header(op, position=position, source_ms=source_ms, redriven=r.random() < 0.1)
        packed: bytes | None = made.pack()
        if op is Op.TRUNCATE and r.random() < 0.8:
            key = None
        record = Record(self.offset, NOW_MS, key, value, packed)
        return record if tame or r.random() < 0.95 else _estranged(r, record)

    def _images(self, r: random.Random, op: Op, *, tame: bool) -> tuple[Row | None, Row | None]:
        if op is Op.TRUNCATE:
            return None, None
        row = self._row(r, VALID if tame else r.choice((VALID, VALID, EDGE, BAD)))
        if not tame and r.random() < 0.4:
            self._hide_something(r, row)
        other = None
        if op in (Op.UPDATE, Op.DELETE) and r.random() < 0.8:
            other = dict(row)
            fresh = self._row(r, VALID if tame or r.random() < 0.7 else r.choice((EDGE, BAD)))
            for column in self.columns:
                if column.name not in self._key_names() and r.random() < 0.5:
                    other[column.name] = fresh[column.name]
        if not tame and r.random() < 0.04:  # another row's key, or images where none belong
            other = self._row(r, VALID)
        if op is Op.DELETE:
            return other, None if tame or r.random() < 0.97 else row
        return other, row

    def _key_names(self) -> set[str]:
        return {column.name for column in self.key_columns}

    def _row(self, r: random.Random, heat: int) -> Row:
        """Return a row: at heats above VALID some of its values are of that heat."""
        row: Row = {}
        share = r.choice((0.05, 0.3))
        for column in self.columns:
            hot = heat if heat != VALID and r.random() < share else VALID
            row[column.name] = column.make(r, hot)
        return row

    def _hide_something(self, r: random.Random, row: Row) -> None:
        """Copy a text of the row, or a stranger's number, into a text column, disguised."""
        texts = [name for name, value in row.items() if isinstance(value, str)]
        if not texts:
            return
        secret = row[r.choice(texts)]
        if r.random() < 0.3:
            secret = sorts.some_id_number(r)
        row[r.choice(texts)] = disguised(r, secret)

    def _value(self, r: random.Random, old: Row | None, new: Row | None, op: Op, source_ms: int) -> bytes:
        given = {
            "before": None if old is None else b"".join(column.write(old) for column in self.columns),
            "after": None if new is None else b"".join(column.write(new) for column in self.columns),
            "op": op.value,
            "source_ms": source_ms,
            "captured_ms": r.choice((None, source_ms + 5, -1)),
        }
        return b"".join(member.write(r, given) for member in self.members)


def disguised(r: random.Random, secret: str) -> str:
    match r.randrange(7):
        case 0:
            secret = secret.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)})
        case 1:
            secret = r.choice((" ", "-", "·", "\u3000", "\u2010", "\n")).join(secret)
        case 2:
            secret = "".join(character + r.choice(("", "\u0301")) for character in secret)
        case 3:
            secret = secret.swapcase()
        case 4:
            secret = secret[: r.randrange(len(secret) + 1)]
        case _:
            pass
    return r.choice(("", "见", "7", "a-", "\x80")) + secret + r.choice(("", "。", "X", "0", "\u0301"))


def _estranged(r: random.Random, record: Record) -> Record:
    """A record that something is amiss with besides its row."""
    packed = record.header or b""
    match r.randrange(8):
        case 0:
            return record._replace(header=r.choice((None, b"", packed[:39], packed + b"\0")))
        case 1:
            at = r.choice((0, 1, 2, 3, 30, 31, 32))
            return record._replace(header=packed[:at] + r.randbytes(1) + packed[at + 1 :])
        case 2:
            return record._replace(value=r.choice((None, b"", b"\0\0\0")))
        case 3:
            return record._replace(key=r.choice((None, b"", b"\0\0\0\0")))
        case 4:
            return record._replace(header=packed[:2] + b"\x01" + packed[3:])
        case 5:
            return record._replace(value=b"\x01" + (record.value or b"")[1:])
        case 6:
            return record._replace(value=prefix(RAW_KEY_ID) + (record.value or b"")[5:])
        case _:
            return record._replace(key=prefix(RAW_VALUE_ID) + (record.key or b"")[5:])


# Contracts


def make_case(r: random.Random, *, most_fields: int = 9) -> Case:
    key_count = r.choice((1, 1, 2))
    top = [(f"k{number}", sorts.key_sort(r, f"K{number}"), False) for number in range(key_count)]
    for number in range(r.randint(0, most_fields)):
        top.append((f"f{number}", sorts.top_sort(r, f"F{number}"), r.random() < 0.5))
    r.shuffle(top)
    entries = [_entry(r, *one) for one in top]
    columns = [_column(r, *one, entry["source"]) for one, entry in zip(top, entries, strict=True)]
    if r.random() < 0.4:
        entries.append(_twin(r, *r.choice(list(zip(top, entries, strict=True)))))
    contract = Contract.parse(
        {
            "type": "record",
            "namespace": "shop",
            "name": "item",
            "label": {"zh": "物", "en": "Item"},
            "contractVersion": 1,
            "key": r.sample([f"k{number}" for number in range(key_count)], key_count),
            "fields": entries,
        },
        "generated",
    )
    sources = {contract.fields[name].source for name in contract.key}
    key_columns = [_key_column(r, column) for column in columns if column.name in sources]
    columns += extra_columns(r)
    r.shuffle(columns)
    columns = _names_first(columns)
    value_schema, members = envelope_of(r, columns)
    key_schema = {
        "type": "record",
        "name": "Key",
        "namespace": "raw.test",
        "fields": [column.declared() for column in key_columns],
    }
    views = [make_view(r, contract) for _ in range(r.choice((1, 1, 2, 4)))]
    planned = resource(contract, *views)
    return Case(contract, planned, columns, key_columns, members, value_schema, key_schema)


def _names_first(columns: list[Column]) -> list[Column]:
    """Put the columns that define a named type before those that refer to it."""
    return sorted(columns, key=lambda column: isinstance(column, Extra) and column.refers)


def _entry(r: random.Random, name: str, sort: Sort, nullable: bool) -> dict[str, Any]:
    sensitivity = r.choice((None, None, *SENSITIVE))
    entry = sorts.declared(name, sort, r.choice((1, 2, 2, 3)), sensitivity, nullable=nullable)
    return entry | {"source": f"col_{name}" if r.random() < 0.2 else name}


def _twin(r: random.Random, one: tuple[str, Sort, bool], entry: Mapping[str, Any]) -> dict[str, Any]:
    """A second field on the column of another, that may be declared otherwise."""
    name, sort, _ = one
    twin = dict(entry) | {"name": f"{name}_again", "classification": r.choice((1, 3))}
    if sort.kind == "enum":
        twin["type"] = sort.avro | {"name": f"{name}Again", "symbols": [*reversed(sort.avro["symbols"]), "Z"]}
    elif sort.kind in ("record", "records"):
        twin["type"] = _named(entry["type"])
    return twin


def _named(type_: Any) -> Any:
    """Refer to a record by its name, which the contract has declared before."""
    if isinstance(type_, list):
        return ["null", _named(type_[1])]
    return {"type": "array", "items": type_["items"]["name"]} if type_["type"] == "array" else type_["name"]


def _column(r: random.Random, name: str, sort: Sort, nullable: bool, source: str) -> Column:
    forms = ("null_first", "null_first", "null_last", "plain")
    form = r.choice(("plain", "plain", *forms)) if name[0] == "k" else r.choice(forms)
    form = r.choice(("wrapped", "alone")) if r.random() < 0.04 else form
    schema: Any = {"type": sort.column} if r.random() < 0.1 and isinstance(sort.column, str) else sort.column
    return Column(source, schema, form, _maker(sort, nullable), sort.encode)


def _maker(sort: Sort, nullable: bool) -> Callable[[random.Random, int], Any]:
    def make(r: random.Random, heat: int) -> Any:
        if r.random() < (0.2 if nullable else 0.1 * (heat == BAD)) and not _requires(sort):
            return None
        value = sort.make(r, heat)
        return sorts.json_text(r, value) if sort.column is JSON_COLUMN else value

    return make


def _requires(sort: Sort) -> bool:
    return any(rule["rule"] == "required" for rule in sort.rules)


def _key_column(r: random.Random, column: Column) -> Column:
    form = "plain" if r.random() < 0.9 else r.choice(("null_first", "null_last", "wrapped", "alone"))
    return Column(column.name, column.schema, form, column.make, column.encode)


# Views


def make_view(r: random.Random, contract: Contract) -> ViewSpec:
    fields: dict[str, Any] = {}
    clear = {"kind": "clear", "reason": "generated"}
    for declared in contract.fields.values():
        if declared.name in contract.key:
            fields[declared.name] = r.choice(("token", clear))
        elif r.random() < 0.8:
            _show(r, declared.name, declared.type, fields)
    rows = [_condition(r, *leaf) for leaf in _texts(contract) if r.random() < 0.15]
    return spec(contract, fields, tuple(rows))


def _show(r: random.Random, path: str, type_: Any, fields: dict[str, Any]) -> None:
    clear = {"kind": "clear", "reason": "generated"}
    if type_.kind == "record" and r.random() < 0.7:
        for part in type_.fields:
            if r.random() < 0.7:
                _show(r, f"{path}.{part.name}", part.type, fields)
        return
    text = "*" * r.choice((0, 3, 3, 1500))
    masks: list[Any] = [clear, clear, "null", "omit", "redact", {"kind": "redact", "text": text}]
    if type_.kind in ("string", "uuid"):
        ends = {"keep_first": r.choice((0, 1, 3, 1 << 62)), "keep_last": r.choice((0, 1, 4))}
        masks += [{"kind": "partial", **ends}] * 2
        masks += [{"kind": "generalise", "to": "prefix", "size": r.choice((1, 2, 6, 1 << 63))}] * 2
    if type_.kind in ("string", "uuid", "enum", "int", "long", "date"):
        masks += ["token"] * 2
    if type_.kind in ("date", "timestamp", "local_timestamp"):
        masks += [{"kind": "generalise", "to": to} for to in ("year", "month")]
    if type_.kind in ("int", "long", "decimal"):
        masks += [
            {"kind": "generalise", "to": "bucket", "size": r.choice((1, 7, 1000, 1 << 61, 1 << 70))}
        ] * 2
    fields[path] = r.choice(masks)


def _texts(contract: Contract) -> list[tuple[str, Any]]:
    return [
        (path, leaf.type)
        for declared in contract.fields.values()
        for path, leaf in declared.leaves()
        if leaf.type.kind in ("string", "uuid", "enum") and "[]" not in path
    ]


def _condition(r: random.Random, path: str, type_: Any) -> dict[str, Any]:
    if type_.kind == "enum":
        values = r.sample(type_.symbols, r.randint(1, len(type_.symbols)))
        return (
            {"field": path, "values": values} if r.random() < 0.6 else {"field": path, "prefix": ["S", "N"]}
        )
    prefixes = r.sample(["1", "13", "3301", "王", "a", "b", "X", "0", "9", "E", "5"], 6)
    return {"field": path, "prefix": prefixes} | (
        {"values": ["01", "02", "王", ""]} if r.random() < 0.5 else {}
    )
