# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The stream's rows, from PostgreSQL's bytes straight to framed Avro in a block, without an object per value.

A table's shape compiles to a flat `Program`; a `Coder` walks the stream's frames with it. It takes what it is
sure of: begin, commit, and rows whose every value it can write exactly as the converters of types.py do. It
leaves each other frame to the objects of pgoutput.py and record.py, which are the specification: so it never
raises for what the server sends, and reads nothing beyond a frame's end.
"""

from __future__ import annotations

import time
import zlib
from array import array
from typing import Any

import cython
from cython import Py_ssize_t, bint, longlong, p_uchar, ulonglong, void

from connectors import avrobytes
from connectors.source import LARGEST_RECORD_BYTES, Framing
from connectors.sources.postgres.envelope import TableShape
from connectors.sources.postgres.pen import GROWTH
from connectors.sources.postgres.types import Form
from exchange.block import WriteBlock
from exchange.change import Op

if cython.compiled:
    from cython.cimports.connectors.sources.postgres.pen import Pen
    from cython.cimports.exchange.native.row import fill, place
    from cython.cimports.exchange.native.span import is_same
else:
    from connectors.sources.postgres.pen import Pen
    from exchange.native.row import fill, place
    from exchange.native.span import is_same

_WAL_HEAD = cython.declare(longlong, 25)
"""Bytes of a WAL frame before the pgoutput message: w, two log positions, a time."""
_PREFIX_BYTES = cython.declare(longlong, 5)
_EPOCH_2000_US = cython.declare(longlong, 946_684_800_000_000)
_LARGEST = cython.declare(longlong, LARGEST_RECORD_BYTES)
_MOST_COLUMNS = cython.declare(longlong, 1664)
"""Source: PostgreSQL's MaxTupleAttributeNumber; a row with more is not ours to read."""

_WAL = cython.declare(longlong, ord("w"))
_BEGIN = cython.declare(longlong, ord("B"))
_COMMIT = cython.declare(longlong, ord("C"))
_INSERT = cython.declare(longlong, ord("I"))
_UPDATE = cython.declare(longlong, ord("U"))
_DELETE = cython.declare(longlong, ord("D"))
_NEW = cython.declare(longlong, ord("N"))
_OLD = cython.declare(longlong, ord("O"))
_OLD_KEY = cython.declare(longlong, ord("K"))
_CELL_TEXT = cython.declare(longlong, ord("t"))
_CELL_NULL = cython.declare(longlong, ord("n"))
_CELL_UNCHANGED = cython.declare(longlong, ord("u"))
_OP_CREATE = cython.declare(longlong, ord(Op.CREATE.value))
_OP_UPDATE = cython.declare(longlong, ord(Op.UPDATE.value))
_OP_DELETE = cython.declare(longlong, ord(Op.DELETE.value))
_BRANCH_NULL = cython.declare(longlong, 0)
_BRANCH_VALUE = cython.declare(longlong, 2)
"""How Avro writes the number of a union's branch: 0, or 1."""

_NULL = cython.declare(longlong, -1)
_UNCHANGED = cython.declare(longlong, -2)
"""In place of a cell's size."""

_INTEGER = cython.declare(longlong, Form.INTEGER)
_BOOLEAN = cython.declare(longlong, Form.BOOLEAN)
_TEXT = cython.declare(longlong, Form.TEXT)
_NUMERIC = cython.declare(longlong, Form.NUMERIC)
_DECIMAL = cython.declare(longlong, Form.DECIMAL)
_DATE = cython.declare(longlong, Form.DATE)
_TIME = cython.declare(longlong, Form.TIME)
_TIMESTAMP = cython.declare(longlong, Form.TIMESTAMP)
_TIMESTAMPTZ = cython.declare(longlong, Form.TIMESTAMPTZ)
_BYTES = cython.declare(longlong, Form.BYTES)
_FLOAT = cython.declare(longlong, Form.FLOAT)
_DOUBLE = cython.declare(longlong, Form.DOUBLE)

_EXACT_DIGITS = 18
"""So many decimal digits fit 64 bits whatever they are; longer decimals go through Python's integers."""
_EXACT_SIZE = cython.declare(longlong, _EXACT_DIGITS)

if cython.compiled:
    _crc_table = cython.declare(cython.uint[256])


@cython.final
@cython.cclass
class Program:
    """One table as of one relation message: how each column's text becomes Avro, and the bytes around it."""

    columns: longlong
    key_columns: longlong
    partitions: cython.uint
    spare: Py_ssize_t
    growth: Py_ssize_t
    forms: p_uchar
    in_key: p_uchar
    digits: p_uchar
    scales: p_uchar
    key_at: longlong[::1]
    topic: str
    converts: list[Any]
    key_prefix: bytes
    value_prefix: bytes
    source_head: bytes
    source_tail: bytes
    kept: tuple[bytes, ...]

    def __init__(self, shape: TableShape, framing: Framing) -> None:
        mappings = [column.mapping for column in shape.columns]
        sizes = [_decimal_size(mapping.avro) for mapping in mappings]
        forms = bytes(
            Form.OTHER if mapping.form is Form.DECIMAL and size is None else mapping.form
            for mapping, size in zip(mappings, sizes, strict=True)
        )
        in_key = bytes(column.in_key for column in shape.columns)
        digits = bytes(size[0] if size else 0 for size in sizes)
        scales = bytes(size[1] if size else 0 for size in sizes)
        self.kept = (forms, in_key, digits, scales)
        self.forms, self.in_key, self.digits, self.scales = forms, in_key, digits, scales
        self.columns = len(mappings)
        self.key_at = array("q", shape.key_at)
        self.key_columns = len(shape.key_at)
        self.converts = [mapping.convert for mapping in mappings]
        self.topic, self.partitions = framing.topic, framing.partitions
        self.key_prefix, self.value_prefix = framing.key_prefix, framing.value_prefix
        self.source_head, self.source_tail = shape.source_texts()
        # What a row needs at most: each text up to three times (before, after, key), with a branch and twelve
        # bytes for each, and what goes round them. Of converters see Pen.converted.
        self.growth = 3 * GROWTH if Form.OTHER in forms or Form.DECIMAL in forms else 3
        self.spare = 48 * len(mappings) + len(self.source_head) + len(self.source_tail) + 256


@cython.final
@cython.cclass
class Table:
    """What the stream said of one oid: its program, and how many changes it has in the open transaction.

    since: transactions that were committed before this log position are in its snapshot, and left out.
    """

    program: Program
    since: ulonglong
    known: bint
    transaction: longlong
    changes: longlong

    def __init__(self) -> None:
        self.program = None  # type: ignore[assignment] # of a table that the plan does not capture
        self.known = False
        self.since = 0
        self.transaction = self.changes = 0

    @cython.ccall
    def learn(self, program: object, since: int = 0) -> object:
        """Take the program for the rows that follow; None for a table that the plan does not capture."""
        self.program = program  # type: ignore[assignment] # Cython checks it
        self.known = True
        self.since = since
        return None


@cython.final
@cython.cclass
class Progress:
    """How far the stream is: the open transaction, and the number that its last change had.

    Every change of the transaction is numbered, captured or not, so that the numbers are the same when it is
    sent again. resume: start of the log to read again; (last_commit, last_index): the last change captured.
    begun: commit position and xid of each transaction since it was emptied last; None: nobody asks.
    """

    resume = cython.declare(ulonglong, visibility="public")
    is_open = cython.declare(bint, visibility="public")
    commit_lsn = cython.declare(ulonglong, visibility="public")
    source_ms = cython.declare(longlong, visibility="public")
    xid = cython.declare(ulonglong, visibility="public")
    captured_ms = cython.declare(longlong, visibility="public")
    transaction = cython.declare(longlong, visibility="public")
    changes = cython.declare(ulonglong, visibility="public")
    last_commit = cython.declare(ulonglong, visibility="public")
    last_index = cython.declare(ulonglong, visibility="public")
    begun = cython.declare(object, visibility="public")
    tables: dict[int, Table]
    plain: bint
    id_text: bytes

    def __init__(self, resume: int, last_commit: int, last_index: int) -> None:
        self.resume, self.last_commit, self.last_index = resume, last_commit, last_index
        self.is_open = self.plain = False
        self.commit_lsn = self.xid = self.changes = 0
        self.source_ms = self.captured_ms = self.transaction = 0
        self.tables = {}
        self.id_text = b""
        self.begun = None

    @cython.ccall
    def begin(self, commit_lsn: int, commit_us: int, xid: int) -> object:
        """Open a transaction."""
        self.commit_lsn, self.source_ms, self.xid = commit_lsn, commit_us // 1000, xid
        self.captured_ms = time.time_ns() // 1_000_000
        self.id_text = avrobytes.text(f"{xid}:{commit_lsn}")
        self.plain = commit_us >= 0 and commit_lsn >> 63 == 0
        self.transaction += 1
        self.changes = 0
        self.is_open = True
        if self.begun is not None:
            self.begun.append((commit_lsn, xid))
        return None

    @cython.ccall
    def end(self, end_lsn: int) -> object:
        """Close the transaction; what follows is to be read again from here."""
        self.resume = end_lsn
        self.is_open = False
        return None

    @cython.ccall
    def table(self, oid: int) -> object:
        """Return what there is to a table's oid."""
        found = self.tables.get(oid)
        if found is None:
            found = self.tables[oid] = Table()
        return found

    @cython.ccall
    def number(self, oid: int) -> object:
        """Count one more change; return its number, overall and of its table, from 1."""
        table: Table = self.table(oid)
        self.count(table)
        return self.changes, table.changes

    @cython.cfunc
    @cython.exceptval(check=False)
    def count(self, table: Table) -> void:
        """Count one more change."""
        table.changes = self.next_of(table)
        table.transaction = self.transaction
        self.changes += 1

    @cython.cfunc
    @cython.exceptval(check=False)
    def next_of(self, table: Table) -> longlong:
        """Return the number that the table's next change in this transaction gets."""
        return table.changes + 1 if table.transaction == self.transaction else 1


@cython.final
@cython.cclass
class Coder:
    """Writes the stream's rows after the stored position into blocks; `progress` moves with them."""

    progress: Progress
    stream: ulonglong
    done_commit: ulonglong
    done_index: longlong
    recent_oid: longlong
    recent: Table
    pen: Pen

    # The block that is written to, while it is, up to `used` bytes and `row` records.
    block: WriteBlock
    rows: longlong[::1]
    room: Py_ssize_t
    row_room: Py_ssize_t
    used: Py_ssize_t
    row: Py_ssize_t
    writing: Program
    topic: longlong

    # The cells of the change under way, place and size of each: the old row's, then the new one's.
    cells: longlong[::1]
    old_count: longlong
    new_count: longlong

    def __init__(self, stream_id: int, done: tuple[int, int], progress: Progress) -> None:
        """Begin after `done`: commit position and index of the last change that Kafka has."""
        self.stream = stream_id
        self.done_commit, self.done_index = done
        self.progress = progress
        self.pen = Pen()
        self.recent_oid = -1
        self.recent = None  # type: ignore[assignment] # before the first
        self.cells = array("q", bytes(8 * 4 * _MOST_COLUMNS))
        self.old_count = self.new_count = 0

    def encode(
        self,
        data: bytearray,
        index: array[int],
        first: Py_ssize_t,
        count: Py_ssize_t,
        block: WriteBlock,
        most_rows: Py_ssize_t,
        most_bytes: Py_ssize_t,
    ) -> int:
        """Take frames `first` to before `count` into the block; return the number of the first not taken.

        index: place and size of each frame in `data`. Ends early at a frame that it leaves to others, or when
        the block holds that many rows or bytes.
        """
        frames: longlong[::1] = index
        number: Py_ssize_t = first
        at: Py_ssize_t
        self.pen.p = data
        self._open(block)
        try:
            while number < count and self.row < most_rows and self.used < most_bytes:
                at = frames[2 * number]
                if not self._take(self.pen.p, at, at + frames[2 * number + 1]):
                    break
                number += 1
        finally:
            self._close()
        return int(number)

    @cython.cfunc
    def _open(self, block: WriteBlock) -> object:
        self.block = block
        self.writing = None  # type: ignore[assignment]
        self.row, self.used = block.count, block.used_bytes
        self._see()
        return None

    @cython.cfunc
    def _see(self) -> object:
        """Look at the block's bytes and index where they are now."""
        data: bytearray = self.block.data
        self.pen.q = data
        self.room = len(data)
        self.rows = self.block.index
        self.row_room = len(self.block.index) // 8
        return None

    @cython.cfunc
    def _close(self) -> object:
        self.block.count, self.block.used_bytes = self.row, self.used
        self.rows = None
        self.block = None  # type: ignore[assignment]
        return None

    @cython.cfunc
    def _take(self, p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> bint:
        """Take one frame; false when it is left to others, and nothing has happened."""
        if end - at <= _WAL_HEAD or p[at] != _WAL:
            return False
        at += _WAL_HEAD
        kind: longlong = p[at]
        if kind in (_INSERT, _UPDATE, _DELETE):
            return self._change(p, at, end)
        if kind == _BEGIN:
            return self._begin(p, at, end)
        if kind == _COMMIT and end - at == 26:
            self.progress.end(_u64(p, at + 10))
            return True
        return False

    @cython.cfunc
    def _begin(self, p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> bint:
        if end - at != 21 or p[at + 9] >= 64:  # a time before 2000, or beyond all years
            return False
        micros: longlong = _u64(p, at + 9)
        self.progress.begin(_u64(p, at + 1), micros + _EPOCH_2000_US, _u32(p, at + 17))
        return True

    @cython.cfunc
    def _change(self, p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> bint:
        """Take a row's change: number it, and write it unless it is not captured, or in Kafka already."""
        progress: Progress = self.progress
        if end - at < 6 or not progress.is_open:
            return False
        table: Table = self._table(_u32(p, at + 1))
        marker: longlong = self._walk_change(p, at, end) if table.known else -1
        if marker < 0:
            return False
        index: ulonglong = progress.changes
        program: Program = table.program
        if program is None or progress.commit_lsn < table.since or self._is_done(index):
            progress.count(table)
            return True
        if end - at > _LARGEST or not progress.plain or index >= 0xFFFF_FFFF:
            return False
        self._make_room(program, end - at)
        if not self._write(program, table, marker, p[at]):
            return False
        progress.count(table)
        progress.last_commit, progress.last_index = progress.commit_lsn, index
        return True

    @cython.cfunc
    def _table(self, oid: longlong) -> Table:
        if oid != self.recent_oid:
            self.recent = self.progress.table(oid)
            self.recent_oid = oid
        return self.recent

    @cython.cfunc
    def _is_done(self, index: longlong) -> bint:
        """Tell whether a change of the open transaction is in Kafka already."""
        lsn: ulonglong = self.progress.commit_lsn
        return lsn < self.done_commit or (lsn == self.done_commit and index <= self.done_index)

    @cython.cfunc
    def _make_room(self, program: Program, size: Py_ssize_t) -> object:
        need: Py_ssize_t = program.spare + program.growth * size
        if self.used + need > self.room or self.row == self.row_room:
            self.rows = None  # an array that is looked at cannot grow
            self.block.count, self.block.used_bytes = self.row, self.used
            self.block.reserve(1, need)
            self._see()
        if program is not self.writing:
            self.writing = program
            self.topic = self.block.topic_number(program.topic)
        return None

    # -- reading

    @cython.cfunc
    def _walk_change(self, p: p_uchar, at: Py_ssize_t, end: Py_ssize_t) -> longlong:
        """Read a change's rows into `cells`; return the first one's marker (N, O or K), or -1."""
        kind: longlong = p[at]
        marker: longlong = p[at + 5]
        at += 5
        self.old_count = self.new_count = 0
        if marker in (_OLD, _OLD_KEY):
            if kind == _INSERT:
                return -1
            at = self._walk(p, at + 1, end, 0)
            if kind == _DELETE:
                return marker if at == end else -1
            if at < 0 or at >= end or p[at] != _NEW:
                return -1
        elif marker != _NEW or kind == _DELETE:
            return -1
        at = self._walk(p, at + 1, end, 2 * _MOST_COLUMNS)
        return marker if at == end else -1

    @cython.cfunc
    def _walk(self, p: p_uchar, at: Py_ssize_t, end: Py_ssize_t, cell: Py_ssize_t) -> Py_ssize_t:
        """Note place and size of each cell of a row; return where the row ends, -1 when it is not whole."""
        if end - at < 2:
            return -1
        count: longlong = (p[at] << 8) | p[at + 1]
        if count > _MOST_COLUMNS:
            return -1
        if cell == 0:
            self.old_count = count
        else:
            self.new_count = count
        at += 2
        size: Py_ssize_t
        _column: longlong
        for _column in range(count):
            if at >= end:
                return -1
            if p[at] == _CELL_TEXT:
                if end - at < 5:
                    return -1
                size = _u32(p, at + 1)
                at += 5
                if size > end - at:
                    return -1
                self.cells[cell] = at
                self.cells[cell + 1] = size
                at += size
            elif p[at] in (_CELL_NULL, _CELL_UNCHANGED):
                self.cells[cell + 1] = _NULL if p[at] == _CELL_NULL else _UNCHANGED
                at += 1
            else:
                return -1
            cell += 2
        return at

    @cython.cfunc
    def _settle_update(self, program: Program, marker: longlong) -> bint:
        """Fill an update's unchanged values in from the old row; false when its key changed, or may have."""
        if marker == _NEW:
            return True
        if marker != _OLD or self.old_count != program.columns:
            return False
        column: Py_ssize_t
        new: Py_ssize_t = 2 * _MOST_COLUMNS
        for column in range(program.columns):
            if self.cells[new + 2 * column + 1] == _UNCHANGED:
                self.cells[new + 2 * column] = self.cells[2 * column]
                self.cells[new + 2 * column + 1] = self.cells[2 * column + 1]
            if program.in_key[column] and not self._same(2 * column, new + 2 * column):
                return False
        return True

    @cython.cfunc
    def _same(self, one: Py_ssize_t, other: Py_ssize_t) -> bint:
        size: Py_ssize_t = self.cells[one + 1]
        if size < 0 or size != self.cells[other + 1]:
            return False
        return is_same(self.pen.p, self.cells[one], self.pen.p, self.cells[other], size)

    # -- writing

    @cython.cfunc
    def _write(self, program: Program, table: Table, marker: longlong, kind: longlong) -> bint:
        """Write a record behind those of the block: key, value, header; false leaves the block as it is."""
        new: Py_ssize_t = -1 if kind == _DELETE else 2 * _MOST_COLUMNS
        old: Py_ssize_t = 0 if kind == _DELETE or marker == _OLD else -1
        if new >= 0 and self.new_count != program.columns:
            return False
        if old >= 0 and self.old_count != program.columns:
            return False
        if kind == _UPDATE and not self._settle_update(program, marker):
            return False
        pen: Pen = self.pen
        pen.at = self.used
        if not self._key(program, new if new >= 0 else old):
            return False
        value: Py_ssize_t = pen.at
        pen.bytes_(program.value_prefix)
        if not (self._image(program, old) and self._image(program, new)):
            return False
        op: longlong = _OP_CREATE if kind == _INSERT else _OP_UPDATE if kind == _UPDATE else _OP_DELETE
        self._surround(program, table, op)
        if pen.at - self.used > _LARGEST:
            return False
        self._enter(program, value, pen.at)
        self._header(op)
        self.used = pen.at
        self.row += 1
        return True

    @cython.cfunc
    def _key(self, program: Program, row: Py_ssize_t) -> bint:
        self.pen.bytes_(program.key_prefix)
        number: Py_ssize_t
        for number in range(program.key_columns):
            column: Py_ssize_t = program.key_at[number]
            size: Py_ssize_t = self.cells[row + 2 * column + 1]
            if size < 0 or not self._value(program, column, self.cells[row + 2 * column], size):
                return False
        return True

    @cython.cfunc
    def _image(self, program: Program, row: Py_ssize_t) -> bint:
        """Write a row as the envelope's before or after; -1 in place of a row: there is none."""
        pen: Pen = self.pen
        pen.byte(_BRANCH_NULL if row < 0 else _BRANCH_VALUE)
        if row < 0:
            return True
        column: Py_ssize_t
        size: Py_ssize_t
        for column in range(program.columns):
            size = self.cells[row + 2 * column + 1]
            if not program.in_key[column]:
                pen.byte(_BRANCH_NULL if size == _NULL else _BRANCH_VALUE)
                if size == _NULL:
                    continue
            if size < 0 or not self._value(program, column, self.cells[row + 2 * column], size):
                return False
        return True

    @cython.cfunc
    def _value(self, program: Program, column: Py_ssize_t, start: Py_ssize_t, size: Py_ssize_t) -> bint:
        """Write a column's value."""
        form: longlong = program.forms[column]
        pen: Pen = self.pen
        if form == _TEXT:
            return pen.text(start, size)
        if form == _INTEGER:
            return pen.integer(start, size)
        if form in (_TIMESTAMP, _TIMESTAMPTZ):
            return pen.timestamp(start, size, form == _TIMESTAMPTZ)
        if form == _DATE:
            return pen.date(start, size)
        if form == _DECIMAL and size <= _EXACT_SIZE:
            return pen.decimal(start, size, program.digits[column], program.scales[column])
        if form == _BOOLEAN:
            return pen.boolean(start, size)
        if form in (_FLOAT, _DOUBLE):
            return pen.float_(start, size, form == _DOUBLE)
        if form == _NUMERIC:
            return pen.numeric(start, size)
        if form == _TIME:
            return pen.clock(start, size)
        if form == _BYTES:
            return pen.hex_(start, size)
        return pen.converted(start, size, program.converts[column])

    @cython.cfunc
    def _surround(self, program: Program, table: Table, op: longlong) -> object:
        """Write what follows the images in an envelope."""
        progress: Progress = self.progress
        pen: Pen = self.pen
        pen.bytes_(program.source_head)
        pen.long(progress.source_ms)
        pen.bytes_(program.source_tail)
        pen.byte(_BRANCH_VALUE)
        pen.long(progress.xid)
        pen.byte(_BRANCH_VALUE)
        pen.long(progress.commit_lsn)
        pen.long(1)
        pen.byte(op)
        pen.byte(_BRANCH_VALUE)
        pen.long(progress.captured_ms)
        pen.byte(_BRANCH_VALUE)
        pen.bytes_(progress.id_text)
        pen.long(progress.changes + 1)
        pen.long(progress.next_of(table))
        return None

    @cython.cfunc
    @cython.exceptval(check=False)
    def _header(self, op: longlong) -> void:
        """Write the 40 bytes of exchange.change.RecordHeader."""
        pen: Pen = self.pen
        pen.byte(1)
        pen.byte(op)
        pen.big_endian(0, 6)
        pen.big_endian(self.stream, 8)
        pen.big_endian(self.progress.commit_lsn, 8)
        pen.big_endian(self.progress.changes, 4)
        pen.big_endian(0, 4)
        pen.big_endian(self.progress.source_ms, 8)

    @cython.cfunc
    def _enter(self, program: Program, value: Py_ssize_t, header: Py_ssize_t) -> object:
        """Enter the record in the block's index; its partition follows from the key, as everywhere."""
        key: Py_ssize_t = self.used + _PREFIX_BYTES
        partition: longlong = _crc32(self.pen.q, key, value - key) % program.partitions
        fill(self.rows, self.row, self.topic, partition)
        place(self.rows, self.row, self.used, value - self.used, value, header - value, header)
        return None


@cython.cfunc
@cython.exceptval(check=False)
def _u64(p: p_uchar, at: Py_ssize_t) -> ulonglong:
    high: ulonglong = _u32(p, at)
    return (high << 32) | _u32(p, at + 4)


@cython.cfunc
@cython.exceptval(check=False)
def _u32(p: p_uchar, at: Py_ssize_t) -> cython.uint:
    high: cython.uint = p[at]
    return (high << 24) | (p[at + 1] << 16) | (p[at + 2] << 8) | p[at + 3]


@cython.cfunc
@cython.exceptval(check=False)
def _crc32(p: p_uchar, at: Py_ssize_t, size: Py_ssize_t) -> cython.uint:
    """Return zlib's CRC-32; compiled without a call of it, which would need an object for the bytes."""
    if not cython.compiled:
        return zlib.crc32(p[at : at + size])
    crc: cython.uint = 0xFFFF_FFFF
    byte: Py_ssize_t
    for byte in range(at, at + size):
        crc = (crc >> 8) ^ _crc_table[(crc ^ p[byte]) & 0xFF]
    return crc ^ 0xFFFF_FFFF


def _fill_crc_table() -> None:
    byte: longlong
    _bit: longlong
    crc: cython.uint
    for byte in range(256):
        crc = byte
        for _bit in range(8):
            crc = (crc >> 1) ^ 0xEDB8_8320 if crc & 1 else crc >> 1
        _crc_table[byte] = crc


if cython.compiled:
    _fill_crc_table()


def _decimal_size(avro: Any) -> tuple[int, int] | None:
    """Return digits and scale of a decimal whose numbers fit 64 bits or may; None of anything else.

    More digits than 18 are as good as 18: no more than that is read here, see _EXACT_SIZE.
    """
    if not isinstance(avro, dict) or avro.get("logicalType") != "decimal" or avro["scale"] > _EXACT_DIGITS:
        return None
    return min(avro["precision"], _EXACT_DIGITS), avro["scale"]
