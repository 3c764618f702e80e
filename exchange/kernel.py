# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The fast walk over Avro bytes: what exchange/reference.py does, for records in which nothing is amiss.

One record's way, without an object for it or any of its fields:

1. header, key and envelope are walked; every byte must belong, every number must be in its shortest form
2. the fields of both images and of the key are judged by the contract's types and rules
3. per view: where the row was and is decides create, update, delete or nothing; masked key and value are
   written straight into the block that goes out, untouched spans copied whole
4. per finished record: the leak gate and the size

Whatever is not beyond doubt stops the walk at that record and leaves no trace of it: the caller has the
reference judge it, which says why it is refused, or delivers it after all. So the kernel never refuses, and
what it delivers is what the reference would have delivered, byte by byte.

Cython's pure Python mode: compiled where there is a compiler, else the same source runs as it stands. All
places are checked against the end of the record before they are read.

Source: Avro 1.12 specification, "Binary Encoding"; The Unicode Standard, "Well-Formed UTF-8 Byte Sequences".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import cython
from cython import Py_ssize_t, bint, longlong, p_uchar, ulonglong

from exchange.block import ReadBlock, WriteBlock
from exchange.engine import codes
from exchange.engine.flat import Layout

if cython.compiled:
    from cython.cimports.exchange.native.gate import Gate
    from cython.cimports.exchange.native.inline import copy
    from cython.cimports.exchange.native.mask import write_bucket, write_calendar, write_partial, write_prefix
    from cython.cimports.exchange.native.number import (
        decimal,
        is_finite,
        is_shortest_decimal,
        unzigzag,
        write_long,
    )
    from cython.cimports.exchange.native.row import fill, header, place
    from cython.cimports.exchange.native.span import (
        big_endian,
        copy_bytes,
        fnv,
        is_same,
        span,
        starts_with,
    )
    from cython.cimports.exchange.native.text import (
        characters,
        is_credit_code,
        is_id_number,
        is_mobile,
        is_not_blank,
        is_utf8,
    )
else:
    from exchange.native.gate import Gate
    from exchange.native.mask import write_bucket, write_calendar, write_partial, write_prefix
    from exchange.native.number import decimal, is_finite, is_shortest_decimal, unzigzag, write_long
    from exchange.native.row import fill, header, place
    from exchange.native.span import big_endian, copy, copy_bytes, fnv, is_same, span, starts_with
    from exchange.native.text import (
        characters,
        is_credit_code,
        is_id_number,
        is_mobile,
        is_not_blank,
        is_utf8,
    )

NULL = cython.declare(longlong, codes.NULL)
BOOLEAN = cython.declare(longlong, codes.BOOLEAN)
INT = cython.declare(longlong, codes.INT)
LONG = cython.declare(longlong, codes.LONG)
FLOAT = cython.declare(longlong, codes.FLOAT)
DOUBLE = cython.declare(longlong, codes.DOUBLE)
BYTES = cython.declare(longlong, codes.BYTES)
STRING = cython.declare(longlong, codes.STRING)
FIXED = cython.declare(longlong, codes.FIXED)
ENUM = cython.declare(longlong, codes.ENUM)
NULLABLE = cython.declare(longlong, codes.NULLABLE)
UNION = cython.declare(longlong, codes.UNION)
ARRAY = cython.declare(longlong, codes.ARRAY)
MAP = cython.declare(longlong, codes.MAP)

BEFORE = cython.declare(longlong, codes.BEFORE)
AFTER = cython.declare(longlong, codes.AFTER)
SOURCE = cython.declare(longlong, codes.SOURCE)
OPERATION = cython.declare(longlong, codes.OPERATION)
CAPTURED_MS = cython.declare(longlong, codes.CAPTURED_MS)
SOURCE_MS = cython.declare(longlong, codes.SOURCE_MS)
PLAIN = cython.declare(longlong, codes.PLAIN)
NULL_FIRST = cython.declare(longlong, codes.NULL_FIRST)

FIELD_WIDTH = cython.declare(longlong, codes.FIELD_WIDTH)
COLUMN = cython.declare(longlong, codes.COLUMN)
KEY_COLUMN = cython.declare(longlong, codes.KEY_COLUMN)
KIND = cython.declare(longlong, codes.KIND)
REQUIRED = cython.declare(longlong, codes.REQUIRED)
LOW = cython.declare(longlong, codes.LOW)
HIGH = cython.declare(longlong, codes.HIGH)
LENGTH_LOW = cython.declare(longlong, codes.LENGTH_LOW)
LENGTH_HIGH = cython.declare(longlong, codes.LENGTH_HIGH)
TESTS = cython.declare(longlong, codes.TESTS)
CODES = cython.declare(longlong, codes.CODES)
PATTERN = cython.declare(longlong, codes.PATTERN)
PYTHON = cython.declare(longlong, codes.PYTHON)
NUMBER = cython.declare(longlong, codes.NUMBER)
TEXT = cython.declare(longlong, codes.TEXT)
BINARY = cython.declare(longlong, codes.BINARY)
SYMBOL = cython.declare(longlong, codes.SYMBOL)
DECIMAL = cython.declare(longlong, codes.DECIMAL)
REAL = cython.declare(longlong, codes.REAL)
REAL_32 = cython.declare(longlong, codes.REAL_32)
OBJECT = cython.declare(longlong, codes.OBJECT)
NOT_BLANK = cython.declare(longlong, codes.NOT_BLANK)
LENGTH = cython.declare(longlong, codes.LENGTH)
RANGE = cython.declare(longlong, codes.RANGE)
CODE = cython.declare(longlong, codes.CODE)
SHAPE = cython.declare(longlong, codes.SHAPE)
MOBILE = cython.declare(longlong, codes.MOBILE)
ID_NUMBER = cython.declare(longlong, codes.ID_NUMBER)
CREDIT_CODE = cython.declare(longlong, codes.CREDIT_CODE)
NOT_FUTURE = cython.declare(longlong, codes.NOT_FUTURE)
CALL = cython.declare(longlong, codes.CALL)

COPY = cython.declare(longlong, codes.COPY)
COPY_SYMBOL = cython.declare(longlong, codes.COPY_SYMBOL)
CONSTANT = cython.declare(longlong, codes.CONSTANT)
EMPTY = cython.declare(longlong, codes.EMPTY)
PARTIAL = cython.declare(longlong, codes.PARTIAL)
PREFIX = cython.declare(longlong, codes.PREFIX)
CALENDAR = cython.declare(longlong, codes.CALENDAR)
BUCKET = cython.declare(longlong, codes.BUCKET)
CALLED = cython.declare(longlong, codes.CALLED)
OBJECT_PART = cython.declare(longlong, codes.OBJECT_PART)

VIEW_WIDTH = cython.declare(longlong, codes.VIEW_WIDTH)
VALUE_PREFIX = cython.declare(longlong, codes.VALUE_PREFIX)
KEY_PREFIX = cython.declare(longlong, codes.KEY_PREFIX)
NAME_AT = cython.declare(longlong, codes.NAME_AT)
NAME_SIZE = cython.declare(longlong, codes.NAME_SIZE)
OPS = cython.declare(longlong, codes.OPS)
OP_COUNT = cython.declare(longlong, codes.OP_COUNT)
KEY_OPS = cython.declare(longlong, codes.KEY_OPS)
KEY_OP_COUNT = cython.declare(longlong, codes.KEY_OP_COUNT)
CONDITIONS = cython.declare(longlong, codes.CONDITIONS)
CONDITION_COUNT = cython.declare(longlong, codes.CONDITION_COUNT)
HIDDEN = cython.declare(longlong, codes.HIDDEN)
APPROVED = cython.declare(longlong, codes.APPROVED)
FIXED_BYTES = cython.declare(longlong, codes.FIXED_BYTES)

# A cell is what the walk noted of one column: null, where the value and its content begin, where it ends,
# and the number it holds.
CELL_WIDTH = cython.declare(longlong, 5)
IS_NULL = cython.declare(longlong, 0)
AT = cython.declare(longlong, 1)
CONTENT = cython.declare(longlong, 2)
END = cython.declare(longlong, 3)
VALUE = cython.declare(longlong, 4)

# Images of a change.
OLD = cython.declare(longlong, 0)
NEW = cython.declare(longlong, 1)
KEY = cython.declare(longlong, 2)

MICROS_PER_DAY = cython.declare(longlong, 86_400_000_000)
MS_PER_DAY = cython.declare(longlong, 86_400_000)
BUCKET_LIMIT = cython.declare(longlong, 1 << 62)
LATEST_MS = cython.declare(longlong, 1 << 52)
FNV_START = cython.declare(ulonglong, 0x811C_9DC5)
FNV_PRIME = cython.declare(ulonglong, 0x0100_0193)
U32 = cython.declare(ulonglong, 0xFFFF_FFFF)
ZERO = cython.declare(longlong, ord("0"))
NINE = cython.declare(longlong, ord("9"))
STAR = cython.declare(longlong, ord("*"))
CREATE = cython.declare(longlong, ord("c"))
READ = cython.declare(longlong, ord("r"))
UPDATE = cython.declare(longlong, ord("u"))
DELETE = cython.declare(longlong, ord("d"))


@cython.auto_pickle(False)
@cython.final
@cython.cclass
class Kernel:
    """A contract and its views, compiled for one pair of raw schemas. For use by one thread at a time."""

    full: bint
    wanted: Py_ssize_t
    topics: list[str]
    objects: list[Any]
    calls: list[Callable[[bytes], bytes | None]]
    judges: list[Callable[[bytes], bool]]
    results: list[Any]
    pool: p_uchar
    owned: bytearray
    nodes: longlong[::1]
    kids: longlong[::1]
    envelope: longlong[::1]
    source: longlong[::1]
    columns: longlong[::1]
    key_columns: longlong[::1]
    fields: longlong[::1]
    views: longlong[::1]
    ops: longlong[::1]
    conditions: longlong[::1]
    prefixes: longlong[::1]
    watched: longlong[::1]
    tables: longlong[::1]
    slots: longlong[::1]
    shapes: ulonglong[::1]
    cells: longlong[::1]
    numbers: longlong[::1]
    gate: Gate
    value_prefix: ulonglong
    key_prefix: ulonglong
    max_record_bytes: Py_ssize_t
    envelope_count: Py_ssize_t
    source_count: Py_ssize_t
    column_count: Py_ssize_t
    key_column_count: Py_ssize_t
    field_count: Py_ssize_t
    view_count: Py_ssize_t
    watched_count: Py_ssize_t
    fixed_bytes: Py_ssize_t
    copies: Py_ssize_t
    bound_bytes: Py_ssize_t
    # What the walk found last.
    limit: Py_ssize_t
    content: Py_ssize_t
    number: longlong
    has_old: bint
    has_new: bint
    operation: longlong
    has_captured_ms: bint
    captured_ms: longlong
    has_source_ms: bint
    source_ms: longlong

    def __init__(self, layout: Layout, gate: Gate) -> None:
        self.topics = layout.topics
        self.objects = layout.objects
        self.calls = layout.calls
        self.judges = layout.judges
        self.owned = layout.pool
        self.pool = self.owned
        self.nodes = layout.table("nodes")
        self.kids = layout.table("kids")
        self.envelope = layout.table("envelope")
        self.source = layout.table("source")
        self.columns = layout.table("columns")
        self.key_columns = layout.table("key_columns")
        self.fields = layout.table("fields")
        self.views = layout.table("views")
        self.ops = layout.table("ops")
        self.conditions = layout.table("conditions")
        self.prefixes = layout.table("prefixes")
        self.watched = layout.table("watched")
        self.tables = layout.table("tables")
        self.slots = layout.table("slots")
        self.shapes = layout.shapes()
        self.value_prefix = int.from_bytes(layout.value_prefix)
        self.key_prefix = int.from_bytes(layout.key_prefix)
        self.max_record_bytes = layout.max_record_bytes
        self.envelope_count = layout.rows("envelope", codes.STEP_WIDTH)
        self.source_count = layout.rows("source", codes.STEP_WIDTH)
        self.column_count = layout.rows("columns", codes.COLUMN_WIDTH)
        self.key_column_count = layout.rows("key_columns", codes.COLUMN_WIDTH)
        self.field_count = layout.rows("fields", codes.FIELD_WIDTH)
        self.view_count = len(layout.topics)
        self.watched_count = layout.rows("watched", codes.WATCHED_WIDTH)
        self.fixed_bytes = sum(
            self.views[view * VIEW_WIDTH + FIXED_BYTES] + 512 for view in range(self.view_count)
        )
        shares = Counter(layout.numbers["fields"][codes.COLUMN :: codes.FIELD_WIDTH])
        self.copies = self.view_count * max(shares.values(), default=1)
        self.results = [None] * (3 * self.field_count)
        self.cells = layout.blank((2 * self.column_count + self.key_column_count) * CELL_WIDTH)
        self.gate = gate
        self.numbers = layout.blank(2 * self.view_count)
        self.full = False
        self.wanted = self.bound_bytes = 0
        self.content = self.number = 0

    def run(
        self,
        block: ReadBlock,
        first: int,
        last: int,
        outgoing: WriteBlock,
        filtered: WriteBlock,
        partition: int,
        plan_version: int,
    ) -> int:
        """Process records `first` to before `last`; return the first left to the reference, or `last`.

        outgoing: what views are to get is appended, to `partition`; filtered: one record, of nothing but the
        header, for each change that a view does not show.
        """
        view: Py_ssize_t
        for view in range(self.view_count):
            self.numbers[view] = outgoing.topic_number(self.topics[view])
            self.numbers[self.view_count + view] = filtered.topic_number(self.topics[view])
        while True:
            first = self.walk(block, first, last, outgoing, filtered, partition, plan_version)
            if not self.full:
                return first
            self.full = False
            outgoing.reserve(64 * self.view_count, self.wanted)
            filtered.reserve(64 * self.view_count, 64 * 40 * self.view_count)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def bound(self, index: longlong[::1], row: Py_ssize_t) -> Py_ssize_t:
        """Return how many bytes a record can become in all views together, parts made by Python aside.

        Every view may copy all of it, and several fields the same column.
        """
        return self.fixed_bytes + (index[row * 8 + 5] + 3 * index[row * 8 + 3]) * self.copies

    @cython.cfunc
    @cython.exceptval(-2, check=False)
    def walk(
        self,
        block: ReadBlock,
        first: Py_ssize_t,
        last: Py_ssize_t,
        outgoing: WriteBlock,
        filtered: WriteBlock,
        partition: longlong,
        plan_version: longlong,
    ) -> Py_ssize_t:
        """Process records until one is not taken; `full` says that a block had no room for it."""
        data: bytearray = block.data
        out_data: bytearray = outgoing.data
        dropped_data: bytearray = filtered.data
        p: p_uchar = data
        o: p_uchar = out_data
        d: p_uchar = dropped_data
        index: longlong[::1] = block.index
        out_index: longlong[::1] = outgoing.index
        dropped_index: longlong[::1] = filtered.index
        room: Py_ssize_t = len(out_data)
        dropped_room: Py_ssize_t = len(dropped_data)
        rows_room: Py_ssize_t = len(outgoing.index) // 8
        dropped_rows_room: Py_ssize_t = len(filtered.index) // 8
        row: Py_ssize_t = first
        out_row: Py_ssize_t = outgoing.count
        dropped_row: Py_ssize_t = filtered.count
        used: Py_ssize_t = outgoing.used_bytes
        dropped_used: Py_ssize_t = filtered.used_bytes
        j: Py_ssize_t
        head: Py_ssize_t
        made: Py_ssize_t
        dropped: Py_ssize_t
        view: Py_ssize_t
        operation: longlong
        key_at: Py_ssize_t
        key_size: Py_ssize_t
        value_at: Py_ssize_t
        with cython.nogil:
            while row < last:
                self.bound_bytes = self.bound(index, row)
                if (
                    used + self.bound_bytes > room
                    or out_row + 2 * self.view_count > rows_room
                    or dropped_used + 40 * self.view_count > dropped_room
                    or dropped_row + self.view_count > dropped_rows_room
                ):
                    self.full = True
                    self.wanted = 2 * self.bound_bytes
                    break
                head = index[row * 8 + 6]
                if index[row * 8 + 7] != 40 or not self.read(p, index, row, head):
                    break
                j = used
                made = out_row
                dropped = dropped_row
                for view in range(self.view_count):
                    operation = self.move(p, view)
                    if operation < 0:
                        break
                    if operation == 0:
                        copy(d, dropped_used + 40 * (dropped - dropped_row), p, head, 40)
                        fill(dropped_index, dropped, self.numbers[self.view_count + view], partition)
                        dropped_index[dropped * 8 + 6] = dropped_used + 40 * (dropped - dropped_row)
                        dropped_index[dropped * 8 + 7] = 40
                        dropped += 1
                        continue
                    key_at = j
                    j = self.write_key(p, o, j, room, view)
                    if j < 0:
                        break
                    key_size = j - key_at
                    value_at = j
                    j = self.write_value(p, o, j, room, view, operation)
                    if j < 0:
                        break
                    if j - key_at > self.max_record_bytes or not self.is_clean(o, key_at, j, view):
                        j = -1
                        break
                    fill(out_index, made, self.numbers[view], partition)
                    place(out_index, made, key_at, key_size, value_at, j - value_at, j)
                    j = header(o, j, p, head, operation, plan_version, 0)
                    made += 1
                    if operation == DELETE:
                        fill(out_index, made, self.numbers[view], partition)
                        place(out_index, made, key_at, key_size, j, -1, j)
                        j = header(o, j, p, head, operation, plan_version, 1)
                        made += 1
                else:
                    used = j
                    out_row = made
                    dropped_used += 40 * (dropped - dropped_row)
                    dropped_row = dropped
                    row += 1
                    continue
                break
        outgoing.count = out_row
        outgoing.used_bytes = used
        filtered.count = dropped_row
        filtered.used_bytes = dropped_used
        return row

    # Reading

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def read(
        self,
        p: p_uchar,
        index: longlong[::1],
        row: Py_ssize_t,
        head: Py_ssize_t,
    ) -> bint:
        """Walk a record and judge it; return whether nothing is amiss."""
        key_at: Py_ssize_t = index[row * 8 + 2]
        key_size: Py_ssize_t = index[row * 8 + 3]
        value_at: Py_ssize_t = index[row * 8 + 4]
        value_size: Py_ssize_t = index[row * 8 + 5]
        operation: longlong = p[head + 1]
        if p[head] != 1 or p[head + 2] & 0xFD or (p[head + 32] & 0x80):
            return False
        if not starts_with(p, key_at, key_size, self.key_prefix):
            return False
        if not starts_with(p, value_at, value_size, self.value_prefix):
            return False
        self.limit = key_at + key_size
        key_cells: Py_ssize_t = 2 * self.column_count * CELL_WIDTH
        at: Py_ssize_t = self.read_columns(p, key_at + 5, self.key_columns, self.key_column_count, key_cells)
        if at != self.limit:
            return False
        self.limit = value_at + value_size
        if self.read_envelope(p, value_at + 5) != self.limit:
            return False
        if not self.is_consistent(operation, big_endian(p, head + 32)):
            return False
        return (
            (not self.has_old or self.judge(p, OLD))
            and (not self.has_new or self.judge(p, NEW))
            and self.judge(p, KEY)
            and self.keys_agree(p)
            and self.take_needles(p)
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_consistent(self, operation: longlong, source_ms: longlong) -> bint:
        """Whether header and envelope tell the same story."""
        if operation != self.operation or not self.has_source_ms or self.source_ms != source_ms:
            return False
        if operation == CREATE or operation == READ:
            return self.has_new and not self.has_old
        if operation == UPDATE:
            return self.has_new
        return operation == DELETE and not self.has_new

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_envelope(self, p: p_uchar, at: Py_ssize_t) -> Py_ssize_t:
        """Walk the envelope; return where it ends, -1 when it is broken."""
        step: Py_ssize_t
        base: Py_ssize_t
        role: longlong
        self.has_old = self.has_new = self.has_source_ms = self.has_captured_ms = False
        self.operation = 0
        for step in range(self.envelope_count):
            base = step * 3
            role = self.envelope[base]
            if role == SOURCE:
                at = self.read_source(p, at)
            elif role == BEFORE or role == AFTER:
                at = self.read_image(p, at, self.envelope[base + 1], role == AFTER)
            elif role == OPERATION:
                at = self.skip(p, self.envelope[base + 2], at)
                if at >= 0:
                    self.operation = p[self.content] if at - self.content == 1 else 0
            else:
                at = self.read_number(p, at, role, self.envelope[base + 1], self.envelope[base + 2])
            if at < 0:
                return -1
        return at

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_source(self, p: p_uchar, at: Py_ssize_t) -> Py_ssize_t:
        step: Py_ssize_t
        for step in range(self.source_count):
            at = self.read_number(
                p, at, self.source[step * 3], self.source[step * 3 + 1], self.source[step * 3 + 2]
            )
            if at < 0:
                return -1
        return at

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_number(
        self,
        p: p_uchar,
        at: Py_ssize_t,
        role: longlong,
        form: longlong,
        node: longlong,
    ) -> Py_ssize_t:
        """Walk a member that is skipped, or one of the two times."""
        if form != PLAIN:
            if at >= self.limit or (p[at] != 0 and p[at] != 2):
                return -1
            at += 1
            if (p[at - 1] == 0) == (form == NULL_FIRST):
                return at
        at = self.skip(p, node, at)
        if role == SOURCE_MS:
            self.has_source_ms = True
            self.source_ms = self.number
        elif role == CAPTURED_MS:
            self.has_captured_ms = True
            self.captured_ms = self.number
        return at

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_image(self, p: p_uchar, at: Py_ssize_t, form: longlong, is_new: bint) -> Py_ssize_t:
        if at >= self.limit or (p[at] != 0 and p[at] != 2):
            return -1
        if (p[at] == 0) == (form == NULL_FIRST):
            return at + 1
        if is_new:
            self.has_new = True
        else:
            self.has_old = True
        cells: Py_ssize_t = self.column_count * CELL_WIDTH if is_new else 0
        return self.read_columns(p, at + 1, self.columns, self.column_count, cells)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def read_columns(
        self,
        p: p_uchar,
        at: Py_ssize_t,
        columns: longlong[::1],
        count: Py_ssize_t,
        cells: Py_ssize_t,
    ) -> Py_ssize_t:
        """Walk a row and note its cells; return where it ends, -1 when it is broken."""
        column: Py_ssize_t
        cell: Py_ssize_t = cells
        form: longlong
        for column in range(count):
            form = columns[2 * column]
            self.cells[cell + IS_NULL] = 0
            if form != PLAIN:
                if at >= self.limit or (p[at] != 0 and p[at] != 2):
                    return -1
                at += 1
                if (p[at - 1] == 0) == (form == NULL_FIRST):
                    self.cells[cell + IS_NULL] = 1
                    cell += CELL_WIDTH
                    continue
            self.cells[cell + AT] = at
            at = self.skip(p, columns[2 * column + 1], at)
            if at < 0:
                return -1
            self.cells[cell + CONTENT] = self.content
            self.cells[cell + END] = at
            self.cells[cell + VALUE] = self.number
            cell += CELL_WIDTH
        return at

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def skip(self, p: p_uchar, node: Py_ssize_t, at: Py_ssize_t) -> Py_ssize_t:
        """Return where a value of a schema ends, -1 when it is not one.

        Notes in `content` where a text or bytes begin behind their length, in `number` what a number is.
        """
        kind: longlong = self.nodes[node * 3]
        size: longlong
        if kind == STRING or kind == BYTES:
            at = self.read_long(p, at)
            size = self.number
            if at < 0 or size < 0 or size > self.limit - at:
                return -1
            self.content = at
            if kind == STRING and not is_utf8(p, at, at + size):
                return -1
            return at + size
        if kind == LONG or kind == INT:
            self.content = at
            at = self.read_long(p, at)
            if kind == INT and (self.number > 0x7FFF_FFFF or self.number < -0x8000_0000):
                return -1
            return at
        if kind == BOOLEAN:
            if at >= self.limit or p[at] > 1:
                return -1
            self.content = at
            self.number = p[at]
            return at + 1
        if kind == NULL:
            return at
        if kind == FLOAT or kind == DOUBLE or kind == FIXED:
            size = 4 if kind == FLOAT else 8 if kind == DOUBLE else self.nodes[node * 3 + 1]
            self.content = at
            return at + size if size <= self.limit - at else -1
        return self.skip_compound(p, kind, node, at)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def skip_compound(self, p: p_uchar, kind: longlong, node: Py_ssize_t, at: Py_ssize_t) -> Py_ssize_t:
        first: longlong = self.nodes[node * 3 + 1]
        count: longlong = self.nodes[node * 3 + 2]
        number: Py_ssize_t
        if kind == NULLABLE:
            if at >= self.limit or (p[at] != 0 and p[at] != 2):
                return -1
            return self.skip(p, first, at + 1) if p[at] == 2 else at + 1
        if kind == ENUM:
            at = self.read_long(p, at)
            return at if 0 <= self.number < first else -1
        if kind == UNION:
            at = self.read_long(p, at)
            if at < 0 or self.number < 0 or self.number >= count:
                return -1
            return self.skip(p, self.kids[first + self.number], at)
        if kind == ARRAY or kind == MAP:
            return self.skip_blocks(p, kind == MAP, first, at)
        for number in range(count):
            at = self.skip(p, self.kids[first + number], at)
            if at < 0:
                return -1
        return at

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def skip_blocks(self, p: p_uchar, is_map: bint, item: Py_ssize_t, at: Py_ssize_t) -> Py_ssize_t:
        """Walk the blocks of an array or map. A block takes at least as many bytes as it has items."""
        count: longlong
        size: longlong
        while True:
            at = self.read_long(p, at)
            if at < 0:
                return -1
            count = self.number
            if count == 0:
                return at
            if count < 0:
                if count < -(self.limit - at):
                    return -1
                count = -count
                at = self.read_long(p, at)
                if at < 0:
                    return -1
            if count > self.limit - at:
                return -1
            while count > 0:
                if is_map:
                    at = self.read_long(p, at)
                    size = self.number
                    if at < 0 or size < 0 or size > self.limit - at or not is_utf8(p, at, at + size):
                        return -1
                    at += size
                at = self.skip(p, item, at)
                if at < 0:
                    return -1
                count -= 1

    @cython.cfunc
    @cython.nogil
    @cython.inline
    @cython.exceptval(check=False)
    def read_long(self, p: p_uchar, at: Py_ssize_t) -> Py_ssize_t:
        """Read a number in its shortest form into `number`; return where it ends, -1 when it is none."""
        if at < 0 or at >= self.limit:
            return -1
        byte: ulonglong = p[at]
        zigzag: ulonglong = byte & 0x7F
        shift: longlong = 0
        while byte & 0x80:
            at += 1
            shift += 7
            if at >= self.limit or shift > 63:
                return -1
            byte = p[at]
            if byte == 0 or (shift == 63 and byte > 1):
                return -1
            zigzag |= (byte & 0x7F) << shift
        self.number = unzigzag(zigzag)
        return at + 1

    # Judging

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def judge(self, p: p_uchar, image: longlong) -> bint:
        """Whether every field of an image keeps the contract."""
        field: Py_ssize_t
        column: Py_ssize_t
        base: Py_ssize_t
        for field in range(self.field_count):
            base = field * FIELD_WIDTH
            column = self.fields[base + (KEY_COLUMN if image == KEY else COLUMN)]
            if column < 0:
                continue
            cell: Py_ssize_t = self.cell(image, column)
            if self.fields[base + KIND] == OBJECT:
                with cython.gil:
                    if not self.judge_object(p, image, field, cell):
                        return False
            elif self.cells[cell + IS_NULL]:
                if self.fields[base + REQUIRED]:
                    return False
            elif not self.keeps(p, base, cell):
                return False
        return True

    @cython.cfunc
    @cython.nogil
    @cython.inline
    @cython.exceptval(check=False)
    def cell(self, image: longlong, column: Py_ssize_t) -> Py_ssize_t:
        return (image * self.column_count + column) * CELL_WIDTH

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def judge_object(self, p: p_uchar, image: longlong, field: Py_ssize_t, cell: Py_ssize_t) -> bint:
        judged: Any = self.objects[self.fields[field * FIELD_WIDTH + PYTHON]]
        if self.cells[cell + IS_NULL]:
            result = judged.of_null
        else:
            result = judged(span(p, self.cells[cell + AT], self.cells[cell + END]), self.source_ms)
        self.results[image * self.field_count + field] = result
        return result is not None

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def keeps(self, p: p_uchar, base: Py_ssize_t, cell: Py_ssize_t) -> bint:
        """Whether a value that is there keeps its field's type and rules."""
        kind: longlong = self.fields[base + KIND]
        tests: longlong = self.fields[base + TESTS]
        at: Py_ssize_t = self.cells[cell + CONTENT]
        end: Py_ssize_t = self.cells[cell + END]
        if kind == TEXT:
            return tests == 0 or self.text_keeps(p, base, tests, at, end)
        if kind == SYMBOL:
            number: longlong = self.look_up(self.fields[base + CODES], p, at, end - at)
            self.cells[cell + VALUE] = number
            return number >= 0
        if kind == BINARY:
            return not tests & LENGTH or (
                self.fields[base + LENGTH_LOW] <= end - at <= self.fields[base + LENGTH_HIGH]
            )
        if kind == REAL or kind == REAL_32:
            return is_finite(p, at, kind == REAL)
        if kind == DECIMAL:
            if not is_shortest_decimal(p, at, end):
                return False
            self.cells[cell + VALUE] = decimal(p, at, end)
        value: longlong = self.cells[cell + VALUE]
        if tests & RANGE and (value < self.fields[base + LOW] or value > self.fields[base + HIGH]):
            return False
        if tests & NOT_FUTURE:
            return self.is_not_future(value, self.fields[base + LENGTH_LOW] != 0)
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_not_future(self, value: longlong, is_days: bint) -> bint:
        """Days or microseconds, at most a day after the commit; both are known to be of years 1 to 9999."""
        if self.source_ms > LATEST_MS:
            return False
        if is_days:
            return value * MS_PER_DAY <= self.source_ms + MS_PER_DAY
        return value <= (self.source_ms + MS_PER_DAY) * 1000

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def text_keeps(
        self,
        p: p_uchar,
        base: Py_ssize_t,
        tests: longlong,
        at: Py_ssize_t,
        end: Py_ssize_t,
    ) -> bint:
        if tests & NOT_BLANK and not is_not_blank(p, at, end):
            return False
        if tests & LENGTH:
            count: Py_ssize_t = characters(p, at, end)
            if count < self.fields[base + LENGTH_LOW] or count > self.fields[base + LENGTH_HIGH]:
                return False
        if tests & CODE and self.look_up(self.fields[base + CODES], p, at, end - at) < 0:
            return False
        if tests & SHAPE and not self.has_shape(self.fields[base + PATTERN], p, at, end):
            return False
        if tests & MOBILE and not is_mobile(p, at, end):
            return False
        if tests & ID_NUMBER and not is_id_number(p, at, end):
            return False
        if tests & CREDIT_CODE and not is_credit_code(p, at, end):
            return False
        if not tests & CALL:
            return True
        with cython.gil:
            return bool(self.judges[self.fields[base + PYTHON]](span(p, at, end)))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def look_up(self, table: Py_ssize_t, p: p_uchar, at: Py_ssize_t, size: Py_ssize_t) -> longlong:
        """Return the number of a code in a table, -1 when it is not there."""
        pool: p_uchar = self.pool
        first: Py_ssize_t = self.tables[2 * table]
        mask: ulonglong = self.tables[2 * table + 1]
        slot: ulonglong = fnv(p, at, size) & mask
        base: Py_ssize_t
        while True:
            base = (first + slot) * 3
            if self.slots[base + 1] < 0:
                return -1
            if self.slots[base + 1] == size and is_same(pool, self.slots[base], p, at, size):
                return self.slots[base + 2]
            slot = (slot + 1) & mask

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def has_shape(self, shape: Py_ssize_t, p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> bint:
        """Whether a text is a sequence of runs of ASCII characters, of which only the last varies in length.

        The first row at `shape` holds how many runs there are.
        """
        runs: Py_ssize_t = self.shapes[shape * 4]
        run: Py_ssize_t
        base: Py_ssize_t
        taken: ulonglong
        for run in range(runs):
            base = (shape + 1 + run) * 4
            taken = 0
            while at < end and taken < self.shapes[base + 3]:
                if p[at] >= 0x80 or not (self.shapes[base + (p[at] >> 6)] >> (p[at] & 63)) & 1:
                    break
                taken += 1
                at += 1
            if taken < self.shapes[base + 2]:
                return False
        return at == end

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def keys_agree(self, p: p_uchar) -> bint:
        """Whether both images have the key that the record has."""
        field: Py_ssize_t
        key_column: Py_ssize_t
        column: Py_ssize_t
        for field in range(self.field_count):
            key_column = self.fields[field * FIELD_WIDTH + KEY_COLUMN]
            if key_column < 0:
                continue
            column = self.fields[field * FIELD_WIDTH + COLUMN]
            if self.has_old and not self.is_same_cell(p, self.cell(OLD, column), self.cell(KEY, key_column)):
                return False
            if self.has_new and not self.is_same_cell(p, self.cell(NEW, column), self.cell(KEY, key_column)):
                return False
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def is_same_cell(self, p: p_uchar, one: Py_ssize_t, other: Py_ssize_t) -> bint:
        if self.cells[one + IS_NULL] or self.cells[other + IS_NULL]:
            return False
        size: Py_ssize_t = self.cells[one + END] - self.cells[one + AT]
        return size == self.cells[other + END] - self.cells[other + AT] and is_same(
            p, self.cells[one + AT], p, self.cells[other + AT], size
        )

    # Scope

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def move(self, p: p_uchar, view: Py_ssize_t) -> longlong:
        """Return what the change is to a view: an operation, 0 for nothing; see exchange/reference.py."""
        is_in: bint = self.has_new and self.in_scope(p, view, NEW)
        if self.operation == CREATE or self.operation == READ:
            return self.operation if is_in else 0
        was_out: bint = self.has_old and not self.in_scope(p, view, OLD)
        if is_in:
            return CREATE if was_out else UPDATE
        return 0 if was_out else DELETE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def in_scope(self, p: p_uchar, view: Py_ssize_t, image: longlong) -> bint:
        first: Py_ssize_t = self.views[view * VIEW_WIDTH + CONDITIONS]
        number: Py_ssize_t
        for number in range(self.views[view * VIEW_WIDTH + CONDITION_COUNT]):
            if not self.holds(p, (first + number) * 4, image):
                return False
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def holds(self, p: p_uchar, condition: Py_ssize_t, image: longlong) -> bint:
        field: Py_ssize_t = self.conditions[condition]
        table: longlong = self.conditions[condition + 1]
        first: Py_ssize_t = self.conditions[condition + 2]
        if table == -2:
            with cython.gil:
                return bool(self.results[image * self.field_count + field].scopes[first])
        cell: Py_ssize_t = self.cell(image, self.fields[field * FIELD_WIDTH + COLUMN])
        if self.cells[cell + IS_NULL]:
            return False
        at: Py_ssize_t = self.cells[cell + CONTENT]
        size: Py_ssize_t = self.cells[cell + END] - at
        if table >= 0 and self.look_up(table, p, at, size) >= 0:
            return True
        pool: p_uchar = self.pool
        number: Py_ssize_t
        for number in range(self.conditions[condition + 3]):
            wanted: Py_ssize_t = self.prefixes[(first + number) * 2 + 1]
            if wanted <= size and is_same(pool, self.prefixes[(first + number) * 2], p, at, wanted):
                return True
        return False

    # Writing. Each returns where it stopped, -1 when it could not.

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def write_key(
        self,
        p: p_uchar,
        o: p_uchar,
        j: Py_ssize_t,
        room: Py_ssize_t,
        view: Py_ssize_t,
    ) -> Py_ssize_t:
        base: Py_ssize_t = view * VIEW_WIDTH
        pool: p_uchar = self.pool
        copy(o, j, pool, self.views[base + KEY_PREFIX], 5)
        return self.write_ops(
            p, o, j + 5, room, self.views[base + KEY_OPS], self.views[base + KEY_OP_COUNT], KEY
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def write_value(
        self,
        p: p_uchar,
        o: p_uchar,
        j: Py_ssize_t,
        room: Py_ssize_t,
        view: Py_ssize_t,
        operation: longlong,
    ) -> Py_ssize_t:
        """Write the view's envelope; see View.value_schema()."""
        base: Py_ssize_t = view * VIEW_WIDTH
        pool: p_uchar = self.pool
        copy(o, j, pool, self.views[base + VALUE_PREFIX], 5)
        j += 5
        shows_old: bint = self.has_old and (operation == UPDATE or operation == DELETE)
        j = self.write_image(p, o, j, room, base, OLD, shows_old)
        if j < 0:
            return -1
        j = self.write_image(p, o, j, room, base, NEW, operation != DELETE)
        if j < 0:
            return -1
        copy(o, j, pool, self.views[base + NAME_AT], self.views[base + NAME_SIZE])
        j = write_long(o, j + self.views[base + NAME_SIZE], self.source_ms)
        o[j] = self.operation == READ
        o[j + 1] = 2
        o[j + 2] = operation
        o[j + 3] = 2 if self.has_captured_ms else 0
        return write_long(o, j + 4, self.captured_ms) if self.has_captured_ms else j + 4

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def write_image(
        self,
        p: p_uchar,
        o: p_uchar,
        j: Py_ssize_t,
        room: Py_ssize_t,
        base: Py_ssize_t,
        image: longlong,
        shown: bint,
    ) -> Py_ssize_t:
        o[j] = 2 if shown else 0
        if not shown:
            return j + 1
        return self.write_ops(p, o, j + 1, room, self.views[base + OPS], self.views[base + OP_COUNT], image)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def write_ops(
        self,
        p: p_uchar,
        o: p_uchar,
        j: Py_ssize_t,
        room: Py_ssize_t,
        first: Py_ssize_t,
        count: Py_ssize_t,
        image: longlong,
    ) -> Py_ssize_t:
        number: Py_ssize_t
        base: Py_ssize_t
        field: Py_ssize_t
        code: longlong
        at: Py_ssize_t
        pool: p_uchar = self.pool
        for number in range(first, first + count):
            base = number * 5
            code = self.ops[base]
            field = self.ops[base + 1]
            if code == CONSTANT:
                copy(o, j, pool, self.ops[base + 2], self.ops[base + 3])
                j += self.ops[base + 3]
                continue
            if code == OBJECT_PART:
                with cython.gil:
                    j = self.write_made(
                        o, j, room, self.results[image * self.field_count + field].parts[self.ops[base + 2]]
                    )
                if j < 0:
                    return -1
                continue
            cell: Py_ssize_t = self.cell(
                image, self.fields[field * FIELD_WIDTH + (KEY_COLUMN if image == KEY else COLUMN)]
            )
            if code == EMPTY or self.cells[cell + IS_NULL]:
                o[j] = 0
                j += 1
                continue
            if self.ops[base + 4]:
                o[j] = 2
                j += 1
            if code == COPY:
                at = self.cells[cell + AT]
                copy(o, j, p, at, self.cells[cell + END] - at)
                j += self.cells[cell + END] - at
                continue
            j = self.write_op(p, o, j, room, base, code, cell)
            if j < 0:
                return -1
        return j

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def write_op(
        self,
        p: p_uchar,
        o: p_uchar,
        j: Py_ssize_t,
        room: Py_ssize_t,
        base: Py_ssize_t,
        code: longlong,
        cell: Py_ssize_t,
    ) -> Py_ssize_t:
        content: Py_ssize_t = self.cells[cell + CONTENT]
        end: Py_ssize_t = self.cells[cell + END]
        if code == PARTIAL:
            return write_partial(p, o, j, content, end, self.ops[base + 2], self.ops[base + 3])
        if code == COPY_SYMBOL:
            return write_long(o, j, self.cells[cell + VALUE])
        if code == PREFIX:
            return write_prefix(p, o, j, content, end, self.ops[base + 2])
        if code == CALENDAR:
            return write_calendar(o, j, self.cells[cell + VALUE], self.ops[base + 2], self.ops[base + 3] != 0)
        if code == BUCKET:
            return write_bucket(o, j, self.cells[cell + VALUE], self.ops[base + 2])
        with cython.gil:
            return self.write_made(o, j, room, self.calls[self.ops[base + 2]](span(p, content, end)))

    @cython.cfunc
    @cython.exceptval(-2, check=False)
    def write_made(self, o: p_uchar, j: Py_ssize_t, room: Py_ssize_t, made: object) -> Py_ssize_t:
        """Write what Python has encoded; None where its mask failed.

        Behind it there must still be room for all that was reckoned with.
        """
        if made is None:
            return -1
        encoded: bytes = cython.cast(bytes, made)
        size: Py_ssize_t = len(encoded)
        if size + self.bound_bytes > room - j:
            self.full = True
            self.wanted = room + size + self.bound_bytes
            return -1
        copy_bytes(o, j, encoded, size)
        return j + size

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def take_needles(self, p: p_uchar) -> bint:
        """Collect the sensitive texts of the change; return whether the gate can handle them."""
        number: Py_ssize_t
        image: longlong
        self.gate.reset()
        for number in range(self.watched_count):
            for image in range(3):
                if (image == OLD and not self.has_old) or (image == NEW and not self.has_new):
                    continue
                if not self.take_needle(p, number, image):
                    return False
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def take_needle(self, p: p_uchar, number: Py_ssize_t, image: longlong) -> bint:
        field: Py_ssize_t = self.watched[2 * number]
        slot: longlong = self.watched[2 * number + 1]
        column: Py_ssize_t = self.fields[field * FIELD_WIDTH + (KEY_COLUMN if image == KEY else COLUMN)]
        if column < 0:
            return True
        if slot >= 0:
            with cython.gil:
                return self.take_texts(self.results[image * self.field_count + field].texts[slot], number)
        cell: Py_ssize_t = self.cell(image, column)
        if self.cells[cell + IS_NULL]:
            return True
        return self.gate.add(p, self.cells[cell + CONTENT], self.cells[cell + END], number)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def take_texts(self, texts: tuple[bytes, ...], number: Py_ssize_t) -> bint:
        for text in texts:
            held: bytearray = bytearray(text)
            if not self.gate.add(held, 0, len(held), number):
                return False
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def is_clean(self, o: p_uchar, start: Py_ssize_t, end: Py_ssize_t, view: Py_ssize_t) -> bint:
        """Whether a finished record passes the gate."""
        base: Py_ssize_t = view * VIEW_WIDTH
        return self.gate.is_clean(o, start, end, self.views[base + HIDDEN], self.views[base + APPROVED])
