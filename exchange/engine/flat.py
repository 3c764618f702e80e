"""A contract and its views as flat tables of numbers, made once: what exchange/kernel.py walks.

What has no numbers of its own is left to Python, on its field alone: an `Object` reads, judges and masks one
column; a call masks or judges one text. Both remember what they made. A shape of schema that the tables
cannot hold has no layout: then the reference does all the work.
"""

from __future__ import annotations

import io
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import fastavro

from exchange.change import Rejected
from exchange.contract import Contract
from exchange.encoding.avroread import compile_reader
from exchange.encoding.wire import prefix, without_logical_types
from exchange.engine import codes
from exchange.engine.fit import Slot
from exchange.engine.image import DATE_BOUNDS, MICROS_BOUNDS, compile_image, raw_type
from exchange.engine.memory import Memory
from exchange.engine.render import condition_of, mask_of, sensitive_paths, texts_at
from exchange.engine.schema_nodes import Nodes, namespace_of
from exchange.engine.shape import shape_of
from exchange.fieldtype import ContractField, FieldType, Rule
from exchange.keys import ViewKeys
from exchange.masking import Clear, Generalise, Mask, Null, Partial, Redact, Token
from exchange.plan import PlannedResource, PlannedView
from exchange.rules import range_bounds
from exchange.view import Shown, View, compile_view

_LONG: Final = 1 << 63
_MAX_WATCHED: Final = 63
"""Sensitive fields are bits of a 64-bit number with a sign."""
_NUMBER_KINDS: Final = frozenset({"int", "long", "boolean", "time"})
_TEXT_TESTS: Final = {
    "cn_mobile": codes.MOBILE,
    "cn_id_number": codes.ID_NUMBER,
    "cn_credit_code": codes.CREDIT_CODE,
}


class _NoLayoutError(Exception):
    """The tables cannot hold this; the reference can."""


@dataclass(slots=True)
class Layout:
    """The tables of one kernel; see exchange/engine/codes.py for their rows."""

    value_prefix: bytes
    key_prefix: bytes
    max_record_bytes: int
    topics: list[str]
    numbers: dict[str, list[int]]
    pool: bytearray
    objects: list[Object]
    calls: list[Callable[[bytes], bytes | None]]
    judges: list[Callable[[bytes], bool]]

    def table(self, name: str) -> array[int]:
        """Return a table; an empty one still has a number, so that its address can be taken."""
        return array("q", self.numbers[name] or [0])

    def shapes(self) -> array[int]:
        """Return the table of shapes, whose sets are words without a sign."""
        return array("Q", self.numbers["shapes"] or [0])

    def rows(self, name: str, width: int) -> int:
        """Return how many rows a table has."""
        return len(self.numbers[name]) // width

    def blank(self, size: int) -> array[int]:
        """Return so many zeros, for the kernel to write on."""
        return array("q", bytes(8 * max(size, 1)))


@dataclass(frozen=True, slots=True)
class Judged:
    """What an Object made of one value.

    parts: what each view writes, union branch included, None where a mask failed; texts: its sensitive texts,
    by slot; scopes: whether it meets the views' conditions, by slot.
    """

    parts: tuple[bytes | None, ...]
    texts: tuple[tuple[bytes, ...], ...]
    scopes: tuple[bool, ...]


class Object:
    """One column that Python reads, judges and masks: JSON documents, arrays, rare types and rules."""

    def __init__(self, slot: Slot, raw_schema: Any, memory: Memory) -> None:
        self._slot = slot
        self._memory = memory
        self._read = compile_reader(raw_schema)
        self._known: dict[bytes, tuple[int, Judged]] = memory.dictionary()
        self.masks: list[tuple[Mask, Callable[[Any], bytes]]] = []
        self.texts: list[Callable[[Mapping[str, Any]], list[str]]] = []
        self.conditions: list[Callable[[Mapping[str, Any]], bool]] = []
        self.of_null: Judged | None = None

    def seal(self) -> None:
        """Note what null becomes, once masks, texts and conditions are complete."""
        self.of_null = None if self._slot.if_null is not None else self._judged(None)

    def __call__(self, encoded: bytes, source_ms: int) -> Judged | None:
        """Return what becomes of a value that is not null; None when it is refused.

        What kept the contract once keeps it at any later time: no rule but `not_future` looks at the clock.
        """
        known = self._known.get(encoded)
        if known is not None and known[0] <= source_ms:
            return known[1]
        try:
            value = self._slot.read(self._read(encoded, 0), source_ms)
        except Exception:  # the reference will meet it too, and is the one to tell
            return None
        if type(value) is Rejected:
            return None
        return self._memory.keep(self._known, encoded, (source_ms, self._judged(value)))[1]

    def _judged(self, value: Any) -> Judged:
        record = {self._slot.name: value}
        return Judged(
            parts=tuple(_made(mask, encode, value) for mask, encode in self.masks),
            texts=tuple(tuple(text.encode() for text in texts(record)) for texts in self.texts),
            scopes=tuple(holds(record) for holds in self.conditions),
        )


def _made(mask: Mask, encode: Callable[[Any], bytes], value: Any) -> bytes | None:
    try:
        return encode(mask(value))
    except Exception:  # whatever went wrong: the reference says so
        return None


def compile_layout(
    resource: PlannedResource,
    value_schema: Mapping[str, Any],
    key_schema: Mapping[str, Any] | None,
    ids: tuple[int, int | None],
    view_keys: ViewKeys,
    max_record_bytes: int,
    memory: Memory,
) -> Layout | None:
    """Return the tables for records with these schemas, or None where there are none for them.

    ids: of the registered value and key schema. The reference has been compiled for the same, so that
    nothing here is a surprise.
    """
    if key_schema is None or ids[1] is None:
        return None
    contract = Contract.parse(resource.contract, resource.name)
    try:
        return Compiler(contract, value_schema, key_schema, memory).layout(
            resource, ids[0], ids[1], view_keys, max_record_bytes
        )
    except (_NoLayoutError, KeyError, ValueError):
        # KeyError, ValueError: a column whose type is named elsewhere in the schema cannot be read alone.
        return None


@dataclass(slots=True)
class _Field:
    """One field of the contract as the compiler knows it."""

    number: int
    declared: ContractField
    slot: Slot
    raw: FieldType
    raw_schema: Any
    object: Object | None = None
    object_number: int = -1


@dataclass(slots=True)
class Compiler:
    """Builds the tables; `numbers` holds those that are only appended to."""

    contract: Contract
    value_schema: Mapping[str, Any]
    key_schema: Mapping[str, Any]
    memory: Memory
    pool: bytearray = field(default_factory=bytearray)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    objects: list[Object] = field(default_factory=list)
    calls: list[Callable[[bytes], bytes | None]] = field(default_factory=list)
    judges: list[Callable[[bytes], bool]] = field(default_factory=list)
    fields: dict[str, _Field] = field(default_factory=dict)
    watched: dict[str, int] = field(default_factory=dict)

    def layout(
        self,
        resource: PlannedResource,
        value_id: int,
        key_id: int,
        view_keys: ViewKeys,
        max_record_bytes: int,
    ) -> Layout:
        """Return the tables; called once."""
        for name in ("views", "ops", "conditions", "prefixes", "watched", "tables", "slots", "shapes"):
            self.numbers[name] = []
        nodes = Nodes()
        row_schema = self._envelope(nodes)
        columns = _columns(nodes, row_schema, namespace_of(self.value_schema, ""))
        key_columns = _columns(nodes, self.key_schema, "")
        self._compile_fields(row_schema, columns, key_columns)
        for planned in resource.views:
            self._compile_view(planned, view_keys)
        for made in self.objects:
            made.seal()
        self.numbers |= {"nodes": nodes.rows, "kids": nodes.kids}
        self.numbers["columns"] = [number for pair in columns.values() for number in pair]
        self.numbers["key_columns"] = [number for pair in key_columns.values() for number in pair]
        return Layout(
            value_prefix=prefix(value_id),
            key_prefix=prefix(key_id),
            max_record_bytes=max_record_bytes,
            topics=[planned.topic for planned in resource.views],
            numbers=self.numbers,
            pool=self.pool or bytearray(1),
            objects=self.objects,
            calls=self.calls,
            judges=self.judges,
        )

    # What comes in

    def _envelope(self, nodes: Nodes) -> Mapping[str, Any]:
        """Fill the tables of the envelope and its source; return the schema of its rows."""
        steps: list[int] = []
        row_schema: Mapping[str, Any] | None = None
        rows: set[int] = set()
        space = namespace_of(self.value_schema, "")
        for member in self.value_schema["fields"]:
            name, schema = member["name"], member["type"]
            form, inner = form_of(schema)
            if name in ("before", "after"):
                if form == codes.PLAIN:
                    raise _NoLayoutError
                role = codes.BEFORE if name == "before" else codes.AFTER
                rows.add(nodes.node(inner, space))
                if isinstance(inner, Mapping):
                    row_schema = row_schema or inner
                steps += [role, form, 0]
            elif name == "source":
                self.numbers["source"] = self._source(nodes, schema, space)
                steps += [codes.SOURCE, 0, 0]
            elif name == "op":
                steps += [codes.OPERATION, 0, self._of_kind(nodes, schema, codes.STRING)]
            elif name == "ts_ms":
                steps += [codes.CAPTURED_MS, form, self._of_kind(nodes, inner, codes.LONG)]
            else:
                steps += [codes.SKIP, codes.PLAIN, nodes.node(schema, space)]
        self.numbers["envelope"] = steps
        if row_schema is None or len(rows) != 1:  # images of two types: one walk does not fit both
            raise _NoLayoutError
        return row_schema

    def _source(self, nodes: Nodes, schema: Any, space: str) -> list[int]:
        if not isinstance(schema, Mapping) or schema.get("type") != "record":
            raise _NoLayoutError
        nodes.node(schema, space)
        space = namespace_of(schema, space)
        steps: list[int] = []
        for member in schema["fields"]:
            if member["name"] == "ts_ms":
                form, inner = form_of(member["type"])
                steps += [codes.SOURCE_MS, form, self._of_kind(nodes, inner, codes.LONG)]
            else:
                steps += [codes.SKIP, codes.PLAIN, nodes.node(member["type"], space)]
        return steps

    def _of_kind(self, nodes: Nodes, schema: Any, kind: int) -> int:
        number = nodes.node(schema)
        if nodes.kind(number) != kind:
            raise _NoLayoutError
        return number

    # Fields

    def _compile_fields(
        self,
        row_schema: Mapping[str, Any],
        columns: Mapping[str, tuple[int, int]],
        key_columns: Mapping[str, tuple[int, int]],
    ) -> None:
        schemas = {column["name"]: column["type"] for column in row_schema["fields"]}
        key_schemas = {column["name"]: column["type"] for column in self.key_schema["fields"]}
        image = compile_image(self.contract.fields, row_schema, self.contract.name)
        names, key_names = list(columns), list(key_columns)
        rows: list[int] = []
        for slot in image.slots:
            declared = self.contract.fields[slot.name]
            schema = schemas[slot.source]
            made = _Field(len(self.fields), declared, slot, raw_type(schema), form_of(schema)[1])
            self.fields[slot.name] = made
            row = [0] * codes.FIELD_WIDTH
            row[codes.COLUMN] = names.index(slot.source)
            row[codes.KEY_COLUMN] = -1
            row[codes.REQUIRED] = int(slot.if_null is not None)
            self._judge_by(made, row)
            if slot.name in self.contract.key:
                row[codes.KEY_COLUMN] = key_names.index(slot.source)
                key_schema = key_schemas[slot.source]
                is_other = raw_type(key_schema).kind != made.raw.kind
                if made.object is not None or is_other or isinstance(form_of(key_schema)[1], list):
                    raise _NoLayoutError
            rows += row
        self.numbers["fields"] = rows

    def _judge_by(self, made: _Field, row: list[int]) -> None:
        """Write how a field is judged: by the kernel where it can, else by an Object."""
        rules = [rule for rule in made.declared.rules if rule.name != "required"]
        raw, type_ = made.raw, made.declared.type
        if isinstance(made.raw_schema, list):  # a union of one, whose branch is part of the value
            self._by_object(made, row)
        elif raw.kind in ("string", "uuid") and type_.kind in ("string", "uuid"):
            row[codes.KIND] = codes.TEXT
            if type_.kind == "string" and any(rule.name == "required" for rule in made.declared.rules):
                row[codes.TESTS] |= codes.NOT_BLANK
            for rule in rules:
                self._text_rule(rule, row)
        elif raw.kind == type_.kind == "bytes":
            row[codes.KIND] = codes.BINARY
            for rule in rules:
                self._length(rule, row)
        elif raw.kind == "string" and type_.kind == "enum" and not rules and not self._has_symbol(made):
            row[codes.KIND] = codes.SYMBOL
            row[codes.CODES] = self._table(type_.symbols)
        elif raw.kind in _NUMBER_KINDS and type_.kind in _NUMBER_KINDS:
            row[codes.KIND] = codes.NUMBER
            self._bounded(made, row, -_LONG, _LONG - 1)
        elif raw.kind == type_.kind == "date":
            row[codes.KIND] = codes.NUMBER
            self._bounded(made, row, *DATE_BOUNDS)
        elif raw.kind == type_.kind and raw.kind in ("timestamp", "local_timestamp"):
            row[codes.KIND] = codes.NUMBER
            self._bounded(made, row, *MICROS_BOUNDS)
        elif raw.kind == type_.kind == "decimal" and raw.scale == type_.scale and raw.precision <= 18:
            row[codes.KIND] = codes.DECIMAL
            self._bounded(made, row, 1 - 10**raw.precision, 10**raw.precision - 1)
        elif raw.kind == type_.kind and raw.kind in ("float", "double") and not rules:
            row[codes.KIND] = codes.REAL if raw.kind == "double" else codes.REAL_32
        else:
            self._by_object(made, row)

    def _has_symbol(self, made: _Field) -> bool:
        """Whether an enum before it has the same column, in whose one cell the symbol's number is noted."""
        return any(
            other is not made and other.slot.source == made.slot.source and other.declared.type.kind == "enum"
            for other in self.fields.values()
        )

    def _by_object(self, made: _Field, row: list[int]) -> None:
        made.object, made.object_number = Object(made.slot, made.raw_schema, self.memory), len(self.objects)
        self.objects.append(made.object)
        row[codes.KIND], row[codes.PYTHON] = codes.OBJECT, made.object_number

    def _text_rule(self, rule: Rule, row: list[int]) -> None:
        if rule.name in _TEXT_TESTS:
            row[codes.TESTS] |= _TEXT_TESTS[rule.name]
        elif rule.name == "length":
            self._length(rule, row)
        elif rule.name == "codes":
            row[codes.TESTS] |= codes.CODE
            row[codes.CODES] = self._table(rule.parameters["values"])
        elif rule.name == "pattern" and (shape := shape_of(rule.parameters["regex"])) is not None:
            row[codes.TESTS] |= codes.SHAPE
            row[codes.PATTERN] = len(self.numbers["shapes"]) // codes.SHAPE_WIDTH
            self.numbers["shapes"] += [len(shape), 0, 0, 0]
            self.numbers["shapes"] += [number for run in shape for number in run]
        elif row[codes.TESTS] & codes.CALL:
            row[codes.PYTHON] = self._judge(self.judges[row[codes.PYTHON]], rule)
        else:
            row[codes.TESTS] |= codes.CALL
            row[codes.PYTHON] = self._judge(None, rule)

    def _judge(self, other: Callable[[bytes], bool] | None, rule: Rule) -> int:
        """Add a judge that asks another one, then a rule; remembered, for a text is always judged alike."""
        known: dict[bytes, bool] = self.memory.dictionary()

        def judge(text: bytes) -> bool:
            if text in known:
                return known[text]
            keeps = (other is None or other(text)) and rule.test(text.decode(), 0)
            return self.memory.keep(known, text, keeps)

        self.judges.append(judge)
        return len(self.judges) - 1

    def _length(self, rule: Rule, row: list[int]) -> None:
        most = rule.parameters.get("max")
        row[codes.TESTS] |= codes.LENGTH
        row[codes.LENGTH_LOW] = min(rule.parameters.get("min") or 0, _LONG - 1)
        row[codes.LENGTH_HIGH] = _LONG - 1 if most is None else min(most, _LONG - 1)

    def _bounded(self, made: _Field, row: list[int], low: int, high: int) -> None:
        """Write the range of a number: what its type holds, less what its rules forbid."""
        for rule in made.declared.rules:
            if rule.name == "not_future":
                row[codes.TESTS] |= codes.NOT_FUTURE
                row[codes.LENGTH_LOW] = int(made.raw.kind == "date")
            elif rule.name == "range":
                least, most = range_bounds(rule.parameters, made.declared.type)
                low = low if least is None else max(low, least)
                high = high if most is None else min(high, most)
        row[codes.TESTS] |= codes.RANGE
        # A range that lies outside of all 64-bit numbers lets none of them pass.
        row[codes.LOW], row[codes.HIGH] = (low, high) if -_LONG <= low <= high < _LONG else (1, 0)

    def _table(self, texts: Iterable[str]) -> int:
        """Add a table of texts by hash; the number of a text is its place among them."""
        entries = [text.encode() for text in texts]
        size = 1 << (2 * len(entries)).bit_length()
        slots = [[0, -1, 0] for _ in range(size)]
        for number, entry in enumerate(entries):
            at = _fnv(entry) & (size - 1)
            while slots[at][1] >= 0:
                at = (at + 1) & (size - 1)
            slots[at] = [self._pooled(entry), len(entry), number]
        self.numbers["tables"] += [len(self.numbers["slots"]) // codes.SLOT_WIDTH, size - 1]
        self.numbers["slots"] += [number for slot in slots for number in slot]
        return len(self.numbers["tables"]) // codes.TABLE_WIDTH - 1

    def _pooled(self, content: bytes) -> int:
        self.pool += content
        return len(self.pool) - len(content)

    # Views

    def _compile_view(self, planned: PlannedView, view_keys: ViewKeys) -> None:
        view = compile_view(self.contract, planned.spec, planned.name)
        token_key = view_keys.token_key(planned.topic)
        constant_bytes = 0
        ops: dict[str, list[int]] = {}
        for shown in view.shown:
            mask = mask_of(shown, view, token_key)
            ops[shown.field.name] = self.op(shown, view, mask)
            if ops[shown.field.name][0] == codes.CONSTANT:
                constant_bytes += ops[shown.field.name][3]
        key_ops = [_without_union(ops[name]) for name in self.contract.key]
        row = [0] * codes.VIEW_WIDTH
        row[codes.VALUE_PREFIX] = self._pooled(prefix(planned.value_schema_id))
        row[codes.KEY_PREFIX] = self._pooled(prefix(planned.key_schema_id))
        name = _sized(planned.spec.resource.encode())
        row[codes.NAME_AT], row[codes.NAME_SIZE] = self._pooled(name), len(name)
        row[codes.OPS], row[codes.OP_COUNT] = self._ops(list(ops.values()))
        row[codes.KEY_OPS], row[codes.KEY_OP_COUNT] = self._ops(key_ops)
        row[codes.CONDITIONS], row[codes.CONDITION_COUNT] = self._conditions(view)
        row[codes.HIDDEN], row[codes.APPROVED] = (self.watch(paths) for paths in sensitive_paths(view))
        # Three times: both images and the key. 16: a date, a number or the length of a text, and its branch.
        row[codes.FIXED_BYTES] = 3 * (constant_bytes + 16 * len(ops)) + len(name)
        self.numbers["views"] += row

    def _ops(self, ops: list[list[int]]) -> tuple[int, int]:
        first = len(self.numbers["ops"]) // codes.OP_WIDTH
        self.numbers["ops"] += [number for op in ops for number in op]
        return first, len(ops)

    def op(self, shown: Shown, view: View, mask: Mask) -> list[int]:
        """Return the row that writes a field: code, field, two numbers, whether it may be null."""
        made = self.fields[shown.field.name]
        nullable = int(shown.field.name not in view.contract.key)
        type_ = made.declared.type
        if made.object is not None:
            encode = _encoder(shown.output(), nullable=bool(nullable))
            made.object.masks.append((mask, encode))
            return [codes.OBJECT_PART, made.number, len(made.object.masks) - 1, 0, nullable]
        match shown.mask:
            case Clear():
                code = codes.COPY_SYMBOL if type_.kind == "enum" else codes.COPY
                return [code, made.number, 0, 0, nullable]
            case Null():
                return [codes.EMPTY, made.number, 0, 0, nullable]
            case Redact(text=text):
                content = (b"\x02" if nullable else b"") + _sized(text.encode())
                return [codes.CONSTANT, made.number, self._pooled(content), len(content), nullable]
            case Partial(keep_first=first, keep_last=last) if max(first, last) < _LONG // 4:
                return [codes.PARTIAL, made.number, first, last, nullable]
            case Generalise(to="prefix", size=size) if size < _LONG:
                return [codes.PREFIX, made.number, size, 0, nullable]
            case Generalise(to="bucket", size=size) if type_.kind != "decimal" and size < _LONG // 2:
                return [codes.BUCKET, made.number, size, 0, nullable]
            case Generalise(to="year" | "month" as to):
                length = 4 if to == "year" else 7
                return [codes.CALENDAR, made.number, length, int(type_.kind != "date"), nullable]
            case Token() | Partial() | Generalise():
                call = self._call(made, mask, _encoder(shown.output(), nullable=False))
                return [codes.CALLED, made.number, call, 0, nullable]
            case _:
                raise _NoLayoutError

    def _call(self, made: _Field, mask: Mask, encode: Callable[[Any], bytes]) -> int:
        """Add a mask that Python applies to the bytes of one value; remembered."""
        decode = _decoder(made.declared.type, made.raw_schema)
        known: dict[bytes, bytes | None] = self.memory.dictionary()

        def call(content: bytes) -> bytes | None:
            if content in known:
                return known[content]
            return self.memory.keep(known, content, _made(mask, encode, decode(content)))

        self.calls.append(call)
        return len(self.calls) - 1

    def _conditions(self, view: View) -> tuple[int, int]:
        first = len(self.numbers["conditions"]) // codes.CONDITION_WIDTH
        for row in view.rows:
            made = self.fields[row.field.partition(".")[0]]
            if made.object is not None:
                made.object.conditions.append(condition_of(row))
                slot = len(made.object.conditions) - 1
                self.numbers["conditions"] += [made.number, codes.JUDGED_BY_OBJECT, slot, 0]
                continue
            at = len(self.numbers["prefixes"]) // 2
            for start in row.prefix:
                encoded = start.encode()
                self.numbers["prefixes"] += [self._pooled(encoded), len(encoded)]
            table = self._table(dict.fromkeys(row.values)) if row.values else -1
            self.numbers["conditions"] += [made.number, table, at, len(row.prefix)]
        return first, len(view.rows)

    def watch(self, paths: Iterable[str]) -> int:
        """Return sensitive paths as bits, each given a number when it is first met."""
        bits = 0
        for path in paths:
            if path not in self.watched:
                self.watched[path] = len(self.watched)
                made = self.fields[path.replace("[]", "").partition(".")[0]]
                slot = -1
                if made.object is not None:
                    made.object.texts.append(texts_at(path))
                    slot = len(made.object.texts) - 1
                self.numbers["watched"] += [made.number, slot]
            bits |= 1 << self.watched[path]
        if len(self.watched) > _MAX_WATCHED:
            raise _NoLayoutError
        return bits


def form_of(schema: Any) -> tuple[int, Any]:
    """Return the form of a value and its schema without null; see codes.PLAIN.

    Unions of other kinds are PLAIN: they are walked, and read by Python, as they are.
    """
    while isinstance(schema, Mapping) and isinstance(schema["type"], Mapping | list):
        schema = schema["type"]
    if isinstance(schema, list) and len(schema) == 2 and "null" in schema and schema[0] != schema[1]:
        return (codes.NULL_FIRST, schema[1]) if schema[0] == "null" else (codes.NULL_LAST, schema[0])
    return codes.PLAIN, schema


def _columns(nodes: Nodes, record: Mapping[str, Any], outer: str) -> dict[str, tuple[int, int]]:
    """Return (form, node) of each column of a row, in the row's order."""
    space = namespace_of(record, outer)
    columns: dict[str, tuple[int, int]] = {}
    for column in record["fields"]:
        form, inner = form_of(column["type"])
        columns[column["name"]] = (form, nodes.node(inner, space))
    return columns


def _without_union(op: list[int]) -> list[int]:
    """Return the op that writes a key field into the record's key; key fields are never null."""
    return [*op[:4], 0]


def _decoder(type_: FieldType, raw_schema: Any) -> Callable[[bytes], Any]:
    """Return what makes a field's value of what the kernel hands over: numbers whole, else the content."""
    if type_.kind in ("string", "uuid", "enum"):
        return bytes.decode
    if type_.kind in ("decimal", "bytes"):
        return lambda content: content
    read = compile_reader(raw_schema)
    return lambda content: read(content, 0)


def _encoder(type_: FieldType, *, nullable: bool) -> Callable[[Any], bytes]:
    """Return what encodes a value as a view's schema has it, with the union's branch where it may be null."""
    type_ = type_.or_null() if nullable else type_.not_null()
    if type_ == FieldType("string"):
        return lambda text: _sized(text.encode())
    schema = fastavro.parse_schema(without_logical_types(type_.avro("Masked")))

    def encode(value: Any) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, value)
        return out.getvalue()

    return encode


def _sized(content: bytes) -> bytes:
    out = bytearray()
    rest = len(content) << 1
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out) + content


def _fnv(content: bytes) -> int:
    """Return the 32-bit FNV-1a hash, as exchange/kernel.py does."""
    value = 0x811C_9DC5
    for byte in content:
        value = ((value ^ byte) * 0x0100_0193) & 0xFFFF_FFFF
    return value
