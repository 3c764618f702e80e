"""Runs generated records through a kernel and through the reference, and says where they differ."""

from __future__ import annotations

import ctypes
import random
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Final

from exchange.block import NONE, Outgoing, ReadBlock, Record, WriteBlock
from exchange.change import RecordHeader, Rejected
from exchange.encoding.wire import schema_id
from exchange.engine.flat import Layout, compile_layout
from exchange.engine.memory import Memory
from exchange.engine.programs import Engine, Programs
from exchange.keys import QuarantineRecord
from exchange.process import Processed, Sealer, process_batch
from exchange.reference import MAX_RECORD_BYTES, Program, compile_program
from tests.unit.exchange.generated import Case
from tests.unit.exchange.natively import both
from tests.unit.exchange.samples import KEYS, NOW_MS, RAW_KEY_ID, RAW_VALUE_ID, STEWARD_PUBLIC

FORMS: Final[tuple[ModuleType, ...]] = tuple(both("exchange.kernel"))
"""The kernel as installed, and its source as plain Python."""
GATES: Final = both("exchange.native.gate")
PARTITION, PLAN_VERSION = 2, 7
_GUARD: Final = bytes([0xA5]) * 64
_SEALER: Final = Sealer({"shop.item": STEWARD_PUBLIC})

Expected = tuple[list[Outgoing], list[str]]
"""Records to write, and the topics that are to get nothing."""


class Differs(AssertionError):
    """A kernel did what the reference does not."""


class TightBlock(WriteBlock):
    """A block with no more room than was asked for, and guard bytes behind it."""

    __slots__ = ("_room",)

    def __init__(self, room: int = 0) -> None:
        super().__init__()
        self._room = 0
        self.reserve(0, room)

    def reserve(self, records: int, size_bytes: int) -> None:
        """Make room for so much and not a byte more."""
        super().reserve(records, 0)
        wanted = max(self.used_bytes + size_bytes, len(self.data))
        # Shortened in place: what is behind the end stays where it is.
        data = bytearray(wanted) + _GUARD
        data[: self.used_bytes] = self.data[: self.used_bytes]
        del data[wanted:]
        self.data, self._room = data, wanted

    def check(self) -> None:
        """Raise when something was written behind the end."""
        if self._room and (len(self.data) != self._room or _behind(self.data) != _GUARD[1:]):
            msg = "written beyond the end of a block"
            raise Differs(msg)


def _behind(data: bytearray) -> bytes:
    """Return what lies behind a shortened bytearray, but for the zero that Python puts there."""
    place = ctypes.addressof(ctypes.c_char.from_buffer(data))
    return ctypes.string_at(place + len(data) + 1, len(_GUARD) - 1)


def read_block(records: Sequence[Record], filler: random.Random | None = None) -> ReadBlock:
    """Return a block of records, with random bytes before and behind each part where there is a filler."""
    if filler is None:
        block = ReadBlock()
        for record in records:
            block.add(record)
        return block
    data = bytearray()
    index = array("q")
    for record in records:
        places = {}
        parts = [("key", record.key), ("value", record.value), ("header", record.header)]
        for name, part in filler.sample(parts, 3):
            data += filler.randbytes(filler.choice((0, 0, 1, 9)))
            places[name] = (len(data), NONE if part is None else len(part))
            data += part or b""
        index.extend((record.offset, record.timestamp_ms))
        index.extend(number for name, _ in parts for number in places[name])
    # Copied into as much memory as it takes: nothing that may be read lies behind the last part.
    return ReadBlock(bytearray(bytes(data)), index)


def kernels_of(layout: Layout) -> list[Any]:
    """Return the kernel of a layout in each of its forms."""
    return [form.Kernel(layout, gates.Gate()) for form, gates in zip(FORMS, GATES, strict=True)]


@dataclass
class Subject:
    """A case with its reference and the forms of its kernel; counts what they took."""

    case: Case
    reference: Program = field(init=False)
    layout: Layout | None = field(init=False)
    kernels: list[Any] = field(init=False)
    programs: _Programs = field(init=False)
    taken: Counter[int] = field(default_factory=Counter)
    deliverable: int = 0

    def __post_init__(self) -> None:
        case = self.case
        self.programs = _Programs(case.resource, KEYS, case.schema_of)
        self.reference = compile_program(case.resource, case.value_schema, case.key_schema, KEYS)
        ids = (RAW_VALUE_ID, RAW_KEY_ID)
        self.layout = compile_layout(
            case.resource, case.value_schema, case.key_schema, ids, KEYS, MAX_RECORD_BYTES, Memory()
        )
        self.kernels = [] if self.layout is None else kernels_of(self.layout)

    def check(
        self, records: Sequence[Record], *, filler: random.Random | None = None, forms: Sequence[int] = (0, 1)
    ) -> None:
        """Raise Differs where a kernel takes or writes anything that the reference does not."""
        expected = [self.expected(record) for record in records]
        self.deliverable += sum(one is not None for one in expected)
        for form in forms:
            if self.kernels:
                self.taken[form] += self._check(self.kernels[form], records, expected, filler)

    def expected(self, record: Record) -> Expected | None:
        """Return what the reference makes of a record, None where it refuses."""
        header = RecordHeader.unpack(record.header)
        ids = (schema_id(record.value or b""), schema_id(record.key or b""))
        if header is None or ids != (RAW_VALUE_ID, RAW_KEY_ID):
            return None
        outcome = self.reference.apply(header, record.key, record.value)
        if isinstance(outcome, Rejected):
            return None
        written: list[Outgoing] = []
        filtered: list[str] = []
        for view, outputs in zip(self.case.resource.views, outcome, strict=True):
            for output in outputs:
                stamped = replace(header, op=output.op, plan_version=PLAN_VERSION, tombstone=output.tombstone)
                written.append(Outgoing(view.topic, PARTITION, output.key, output.value, stamped.pack()))
            if not outputs:
                filtered.append(view.topic)
        return written, filtered

    def _check(
        self,
        kernel: Any,
        records: Sequence[Record],
        expected: Sequence[Expected | None],
        filler: random.Random | None,
    ) -> int:
        block = read_block(records, filler)
        out, filtered = TightBlock(self._room(records, filler)), TightBlock()
        first = taken = 0
        while first < block.count:
            before = (out.count, out.used_bytes, filtered.count, filtered.used_bytes)
            last = kernel.run(block, first, block.count, out, filtered, PARTITION, PLAN_VERSION)
            out.check()
            filtered.check()
            if not first <= last <= block.count:
                raise Differs(f"took records {first} to {last} of {block.count}")
            wanted: list[Outgoing] = []
            unwanted: list[str] = []
            for number in range(first, last):
                one = expected[number]
                if one is None:
                    raise Differs(f"took record {number}, which the reference refuses")
                wanted += one[0]
                unwanted += one[1]
            _same("written", [out.record(number) for number in range(before[0], out.count)], wanted)
            topics = [filtered.record(number).topic for number in range(before[2], filtered.count)]
            _same("filtered", topics, unwanted)
            if first == last and before != (out.count, out.used_bytes, filtered.count, filtered.used_bytes):
                raise Differs(f"left a trace of record {first}")
            taken += last - first
            first = last + 1
        return taken

    def _room(self, records: Sequence[Record], filler: random.Random | None) -> int:
        """Return a size that one of the records may just fit in, or not."""
        if filler is None or not records:
            return 0
        record = filler.choice(records)
        views = len(self.case.resource.views)
        raw_bytes = len(record.value or b"") + 3 * len(record.key or b"")
        return views * (raw_bytes + filler.randrange(2500))

    def check_batch(self, records: Sequence[Record]) -> None:
        """Raise Differs where a batch's outcome with a kernel is not what it is without."""
        alone = self._process(records, None)
        for kernel in self.kernels:
            done = self._process(records, kernel)
            _same("next offset and halt", (done.next_offset, done.halt), (alone.next_offset, alone.halt))
            _same(
                "outgoing", [_opened(one) for one in done.outgoing], [_opened(one) for one in alone.outgoing]
            )
            _same("accounts", done.accounts, alone.accounts)

    def _process(self, records: Sequence[Record], kernel: Any) -> Processed:
        self.programs.kernel = kernel
        return process_batch(
            read_block(records),
            self.case.resource.raw_topic,
            PARTITION,
            self.case.resource,
            self.programs,
            _SEALER,
            writer="test",
            plan_version=PLAN_VERSION,
            now_ms=NOW_MS + 250,
        )


class _Programs(Programs):
    """Programs whose kernel is a given one, or none."""

    kernel: Any = None

    def get(self, value_schema_id: int, key_schema_id: int | None) -> Engine:
        engine = super().get(value_schema_id, key_schema_id)
        return engine._replace(kernel=self.kernel if key_schema_id == RAW_KEY_ID else None)


def _opened(record: Outgoing) -> Any:
    """Return a record to compare: of a refused one all but the sealed bytes, which differ each time."""
    if not record.topic.startswith("quarantine."):
        return record
    entry = QuarantineRecord.decode(record.value or b"")
    return record._replace(value=None), replace(entry, sealed=bytes(len(entry.sealed)))


def _same(what: str, seen: Any, wanted: Any) -> None:
    if seen != wanted:
        raise Differs(f"{what}: got {seen}, wanted {wanted}")
