"""The coder's records are those of the slow path, byte for byte; compiled and as plain Python."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any
from unittest.mock import Mock, patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.source import LARGEST_RECORD_BYTES, Captured, Framing
from connectors.sources.postgres import transaction
from connectors.sources.postgres.catalog import Catalog, SourceTable
from connectors.sources.postgres.frames import Frames
from connectors.sources.postgres.pgoutput import (
    UNCHANGED,
    Column,
    Relation,
    Row,
    decode,
)
from connectors.sources.postgres.shapes import Shapes
from connectors.sources.postgres.transaction import Transactions
from connectors.sources.postgres.types import Form
from exchange.block import Outgoing, WriteBlock
from exchange.change import Op, RecordHeader
from exchange.position import SourcePosition
from tests.unit.connectors.coders import both
from tests.unit.connectors.test_types import CATALOGUE, numeric

WAL_HEAD = b"w" + bytes(24)
BEGIN = b"B" + struct.pack(">QqI", 0x1_0000_0010, 757_382_400_123_456, 77)
COMMIT = b"C" + struct.pack(">BQQq", 0, 0x1_0000_0010, 0x1_0000_0020, 757_382_400_123_456)
FRAMING = Framing("raw.town.public.person", 3, b"\0\0\0\0\x0a", b"\0\0\0\0\x0b")

digits = st.integers(-(10**20), 10**20).map(lambda number: str(number).encode())
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).map(str.encode)
clocks = st.times().map(lambda clock: clock.isoformat().rstrip("0").rstrip(".:").encode())
doubles = st.floats().map(lambda number: repr(number).encode()) | st.decimals(
    allow_nan=False, allow_infinity=False
).map(lambda number: f"{number:f}".encode())
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=2).map(
    lambda number: f"{number:f}".encode()
)
short = st.decimals(-10_000, 10_000, places=2).map(lambda number: f"{number:f}".encode())
stamps = st.datetimes().map(lambda instant: instant.isoformat(" ").encode())
arrays = st.lists(st.integers(-9, 9)).map(lambda items: f"{{{','.join(map(str, items))}}}".encode())
EDGES = [
    *(b"", b"0", b"-", b"-0", b"00", b"t", b"f", b"NaN", b"infinity", b"-Infinity", b"9" * 18, b"9" * 19),
    *(b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808"),
    *(b"-9223372036854775809", b".5", b"5.", b"1.2.3", b"1_0", b" 1", b"+1", b"1e3", b"1e400"),
    *(b"3.4028236e+38", b"9.99", b"-9.99", b"123456789.123456", b"-0.0", b"000000000000.10"),
    *(b"0000-01-01", b"0001-01-01", b"9999-12-31", b"2023-02-29", b"2024-02-29", b"2024-W01-1"),
    *(b"1900-02-29", b"10000-01-01", b"0044-03-15 BC", b"2024-01-01 00:00:00", b"24:00:00", b"12:00"),
    *(b"2024-01-01 24:00:00", b"2024-01-01 00:00:60", b"2024-01-01T00:00:00", b"2024-01-01 00:00:00+08"),
    *(b"2024-01-01 00:00:00+00", b"2024-01-01 00:00:00.+00", b"2024-01-01 00:00:00.1234567", b"12:00:00."),
    *(b"2024-01-01 00:00:00.5+00", b"\\x", b"\\x0", b"\\x00fF", b"\\xgg", b"\\x 00", b"\\x00 ff", b"x00"),
    *(b"{}", b"{1,NULL}", b"{{1}}", b"[0:1]={1}", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xe0\x80\x80"),
    *(b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80", b"\xe4\xb8", b"12345678\x80", "é".encode(), "中文".encode()),
    *("😀".encode(), "\ud7ff\ue000\U0010ffff".encode()),
]
TYPES: list[tuple[int, int, st.SearchStrategy[bytes]]] = [
    (16, -1, st.sampled_from([b"t", b"f"])),
    (17, -1, st.binary().map(lambda content: b"\\x" + content.hex().encode())),
    (20, -1, st.integers(-(2**63), 2**63 - 1).map(lambda number: str(number).encode())),
    (23, -1, digits),
    (25, -1, texts),
    (700, -1, doubles),
    (701, -1, doubles),
    (1082, -1, st.dates().map(lambda day: day.isoformat().encode())),
    (1083, -1, clocks),
    (1114, -1, stamps),
    (1184, -1, stamps.map(lambda text: text + b"+00")),
    (1700, -1, decimals),
    (1700, numeric(12, 2), short),
    (1700, numeric(38, 2), decimals),
    (1700, numeric(18, 18), st.integers(-(10**18), 10**18).map(lambda number: b"0.%018d" % abs(number))),
    (1700, numeric(5, 0), digits),
    (1700, numeric(100, 30), decimals),
    (2950, -1, st.uuids().map(lambda value: str(value).encode())),
    (3802, -1, texts),
    (1007, -1, arrays),
    (1022, -1, arrays),
    (9001, -1, texts),
    (9003, -1, short),
    (1186, -1, texts),
]  # fmt: skip
"""Oid and typmod of a column, and texts that it mostly has."""


def row(cells: Row) -> bytes:
    """TupleData."""
    written = [struct.pack(">H", len(cells))]
    for cell in cells:
        if isinstance(cell, bytes):
            written.append(b"t" + struct.pack(">I", len(cell)) + cell)
        else:
            written.append(b"n" if cell is None else b"u")
    return b"".join(written)


@st.composite
def streams(draw: st.DrawFn) -> tuple[Relation, tuple[str, ...], list[bytes]]:
    """A table of some types, its key, and messages about it and another table, in transactions."""
    kinds = draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=8))
    key = draw(st.sets(st.integers(0, len(kinds) - 1), min_size=1, max_size=2))
    columns = tuple(Column(f"c{at}", oid, typmod, at in key) for at, (oid, typmod, _) in enumerate(kinds))
    relation = Relation(1, "public", "person", draw(st.sampled_from("df")), columns)
    rows = st.tuples(*(_cells(values, at in key) for at, (_, _, values) in enumerate(kinds)))
    messages = [BEGIN, *draw(st.lists(_changes(rows), min_size=1, max_size=6)), COMMIT]
    return relation, tuple(f"c{at}" for at in sorted(key)), messages


def _cells(values: st.SearchStrategy[bytes], in_key: bool) -> st.SearchStrategy[Any]:
    usual = values | values | st.sampled_from(EDGES)
    return usual if in_key else usual | usual | st.sampled_from([None, UNCHANGED])


@st.composite
def _changes(draw: st.DrawFn, rows: st.SearchStrategy[Row]) -> bytes:
    oid = struct.pack(">I", draw(st.sampled_from([1, 1, 1, 1, 2])))
    new, old = draw(rows), draw(rows)
    if draw(st.booleans()):
        old = draw(st.sampled_from([new, tuple(new[at] if at % 2 else old[at] for at in range(len(new)))]))
    kind = draw(st.sampled_from(["I", "U", "UO", "UK", "DK", "DO", "BC"]))
    match kind:
        case "I":
            return b"I" + oid + b"N" + row(new)
        case "U":
            return b"U" + oid + b"N" + row(new)
        case "UO" | "UK":
            return b"U" + oid + kind[1].encode() + row(old) + b"N" + row(new)
        case "DK" | "DO":
            return b"D" + oid + kind[1].encode() + row(old)
    return draw(st.sampled_from([COMMIT, BEGIN, b"T" + struct.pack(">IBI", 1, 0, 1)]))


class Run:
    """Transactions on one table, of which everything comes out as it goes to Kafka."""

    def __init__(
        self,
        relation: Relation,
        key: tuple[str, ...],
        module: ModuleType | None,
        done: tuple[int, int] = (0, 0),
    ) -> None:
        """module: the coder's; None leaves all to the slow path."""
        catalog = Mock(spec=Catalog, system="town", type_of=CATALOGUE.get)
        catalog.database.return_value = "db"
        table = SourceTable("public.person", False, relation, key, ("text",) * len(key))
        position = SourcePosition("town", "1", 1, "slot", 90, *done)
        names = ("Coder", "Program", "Progress")
        with patch.multiple(transaction, **{name: getattr(module or transaction, name) for name in names}):
            shapes = Shapes(catalog, {"public.person": table})
            self.transactions = Transactions(9, shapes, position, (lambda _: FRAMING) if module else None)
            self.transactions.take(relation)
            self.transactions.take(Relation(2, "public", "other", "d", relation.columns))
        self.blocks = 0

    def records(self, messages: Sequence[bytes]) -> Iterator[Any]:
        """Take all messages; the last item is the error that ended it, if any."""
        frames = Frames()
        for message in messages:
            frames.add(WAL_HEAD + message)
        try:
            while not frames.all_taken:
                block = WriteBlock()
                self.transactions.encode(frames, block, 10**6, 10**9)
                self.blocks += len(block)
                yield from block
                if not frames.all_taken:
                    taken = self.transactions.take(decode(frames.take()[len(WAL_HEAD) :]))
                    yield from map(as_written, taken)
        except Exception as error:
            yield type(error), str(error)

    def outcome(self, messages: Sequence[bytes]) -> Any:
        with patch("time.time_ns", lambda: 1_700_000_000_000_000_000):
            found = list(self.records(messages))
        of = self.transactions
        return found, of.resume, of.last, of.is_open


def as_written(change: Captured) -> Any:
    """What the writer does with a record; of a refused or a large one no more than is told here."""
    header = RecordHeader(change.position, change.op, change.source_ms).pack()
    if change.op is Op.TRUNCATE or change.rejected is not None or change.key is None:
        return change.op, change.position, change.key, change.value, change.rejected
    partition = zlib.crc32(change.key) % FRAMING.partitions
    key, value = FRAMING.key_prefix + change.key, FRAMING.value_prefix + change.value
    return Outgoing(FRAMING.topic, partition, key, value, header)


PERSON = Relation(1, "public", "person", "d", (Column("id", 20, -1, True), Column("name", 25, -1, False)))
ROW = (b"1", b"w")
INSERT = b"I\0\0\0\x01N" + row(ROW)


@pytest.mark.parametrize("module", both())
class TestCoder:
    """Of the module as installed, and of its source as plain Python."""

    def test_both_forms_are_tried(self, module: ModuleType) -> None:
        installed, plain = both()
        assert str(plain.__file__).endswith(".py")
        assert module.__file__ in (installed.__file__, plain.__file__)

    @given(streams(), st.sampled_from([(0, 0), (0x1_0000_0010, 1), (0x1_0000_0011, 0)]))
    def test_records_and_position_are_those_of_the_slow_path(
        self, module: ModuleType, stream: Any, done: tuple[int, int]
    ) -> None:
        relation, key, messages = stream
        expected = Run(relation, key, None, done).outcome(messages)
        assert Run(relation, key, module, done).outcome(messages) == expected

    @given(streams(), st.data())
    def test_damaged_messages_have_the_outcome_of_the_slow_path(
        self, module: ModuleType, stream: Any, data: st.DataObject
    ) -> None:
        relation, key, messages = stream
        number = data.draw(st.integers(0, len(messages) - 1))
        messages[number] = data.draw(damaged(messages[number]))
        expected = Run(relation, key, None).outcome(messages)
        assert Run(relation, key, module).outcome(messages) == expected

    @pytest.mark.parametrize(("oid", "typmod"), [kind[:2] for kind in TYPES])
    def test_every_type_takes_every_odd_text_as_the_slow_path_does(
        self, module: ModuleType, oid: int, typmod: int
    ) -> None:
        columns = (Column("id", 23, -1, True), Column("odd", oid, typmod, False))
        relation = Relation(1, "public", "person", "d", columns)
        messages = [BEGIN, *(b"I\0\0\0\x01N" + row((b"1", text)) for text in EDGES), COMMIT]
        assert Run(relation, ("id",), module).outcome(messages) == Run(relation, ("id",), None).outcome(
            messages
        )

    @pytest.mark.parametrize("oid", [16, 17, 20, 25, 700, 701, 1082, 1083, 1114, 1184, 1700])
    def test_usual_values_never_need_the_slow_path(self, module: ModuleType, oid: int) -> None:
        usual = {
            16: b"t", 17: b"\\x00", 20: b"-12", 25: "王".encode(), 700: b"1.5", 701: b"0.1", 1700: b"1.50",
            1082: b"2024-02-29", 1083: b"12:00:00.5", 1114: b"2024-02-29 12:00:00",
            1184: b"2024-02-29 12:00:00+00",
        }  # fmt: skip
        columns = (Column("id", 23, -1, True), Column("usual", oid, -1, False))
        run = Run(Relation(1, "public", "person", "d", columns), ("id",), module)
        image = row((b"1", usual[oid]))
        full = b"U\0\0\0\x01O" + image + b"N" + image
        run.outcome([BEGIN, b"I\0\0\0\x01N" + image, full, b"D\0\0\0\x01O" + image, COMMIT])
        assert run.blocks == 3

    def test_record_as_large_as_a_topic_takes_is_written_and_a_larger_one_left_to_others(
        self, module: ModuleType
    ) -> None:
        def insert(size: int) -> list[bytes]:
            return [BEGIN, b"I\0\0\0\x01N" + row((b"1", b"x" * size)), COMMIT]

        [[record], *_] = Run(PERSON, ("id",), None).outcome(insert(900_000))
        largest = LARGEST_RECORD_BYTES - len(record.key) - len(record.value) + 900_000
        for size, blocks in ((largest, 1), (largest + 1, 0)):
            run = Run(PERSON, ("id",), module)
            assert run.outcome(insert(size)) == Run(PERSON, ("id",), None).outcome(insert(size))
            assert run.blocks == blocks

    def test_block_ends_where_it_may_hold_no_more(self, module: ModuleType) -> None:
        run, frames, block = Run(PERSON, ("id",), module), Frames(), WriteBlock()
        for message in [BEGIN, *[INSERT] * 300, COMMIT]:
            frames.add(WAL_HEAD + message)
        run.transactions.encode(frames, block, 200, 10**9)
        assert (len(block), frames.next) == (200, 201)
        run.transactions.encode(frames, block, 300, block.used_bytes + 1)
        assert (len(block), frames.next) == (201, 202)

    def test_change_of_a_table_that_was_never_told_is_left_to_others(self, module: ModuleType) -> None:
        messages = [BEGIN, b"I\0\0\0\x09N" + row(ROW), INSERT]
        run = Run(PERSON, ("id",), module)
        assert run.outcome(messages) == Run(PERSON, ("id",), None).outcome(messages)
        assert run.blocks == 1

    def test_table_told_anew_is_written_in_its_new_shape(self, module: ModuleType) -> None:
        run = Run(PERSON, ("id",), module)
        wider = Relation(1, "public", "person", "d", (*PERSON.columns, Column("more", 23, -1, False)))
        first, *_ = run.outcome([BEGIN, INSERT])
        with patch.multiple(transaction, Program=module.Program):
            run.transactions.take(wider)
        second, *_ = run.outcome([b"I\0\0\0\x01N" + row((*ROW, b"7")), COMMIT])
        assert run.blocks == 2
        assert first[0].key == second[0].key
        assert b"\x02\x0e" in second[0].value

    def test_wrong_bytes_would_be_found(self, module: ModuleType) -> None:
        """Control: a coder that takes a decimal for a text."""
        compile_shape = Shapes._compile

        def planted(self: Any, relation: Relation, key: tuple[str, ...]) -> Any:
            shape = compile_shape(self, relation, key)
            object.__setattr__(shape.columns[1].mapping, "form", Form.TEXT)
            return shape

        columns = (Column("id", 23, -1, True), Column("amount", 1700, numeric(5, 2), False))
        relation = Relation(1, "public", "person", "d", columns)
        messages = [BEGIN, b"I\0\0\0\x01N" + row((b"1", b"1.50")), COMMIT]
        expected = Run(relation, ("id",), None).outcome(messages)
        with patch.object(Shapes, "_compile", planted):
            assert Run(relation, ("id",), module).outcome(messages) != expected


@st.composite
def damaged(draw: st.DrawFn, message: bytes) -> bytes:
    """A message with a byte changed, cut short, with bytes too many, or two of these."""
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, max(len(message) - 1, 0)))
        match draw(st.sampled_from(["byte", "cut", "more"])):
            case "byte":
                message = message[:at] + draw(st.binary(min_size=1, max_size=1)) + message[at + 1 :]
            case "cut":
                message = message[:at]
            case "more":
                message = message[:at] + draw(st.binary(min_size=1, max_size=3)) + message[at:]
    return message
