"""Rows for one view alone, by the kernel: it judges them as any others, and that view's records are kept.

The kernel leaves records alone whose header it does not know. So the marks of these are taken off while it
runs, and put back on those that it leaves to the reference.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from exchange.block import HEADER_AT, HEADER_SIZE, Outgoing, ReadBlock, WriteBlock
from exchange.change import HEADER_BYTES, RecordHeader, view_number
from exchange.engine.desk import Desk
from exchange.kernel import Kernel

_COLUMNS: Final = 8
_MARKS: Final = ((2, 3), (4, 8), (30, 32))
"""Where a header says that a record is for one view: flags, plan version and view; see RecordHeader."""


def run_for_view(
    kernel: Kernel, batch: ReadBlock, first: int, last: int, header: RecordHeader, desk: Desk
) -> int:
    """Have the kernel deliver records to their one view; return the first that it leaves to the reference.

    header: of record `first`; records from the first on that is marked differently are not taken.
    """
    marks = _marks(batch, first)
    end = next((number for number in range(first, last) if _marks(batch, number) != marks), last)
    outgoing, filtered = WriteBlock(), WriteBlock()
    plain = replace(header, plan_version=0, only_view=None).pack()
    _mark(batch, first, end, tuple(plain[start:stop] for start, stop in _MARKS))
    number = first
    try:
        number = kernel.run(batch, first, end, outgoing, filtered, desk.partition, desk.plan_version)
    finally:
        _mark(batch, number, end, marks)
    written = (desk.outgoing.count, desk.filtered.count)
    names = {view.topic: view.name for view in desk.resource.views}
    for record in outgoing:
        if view_number(names[record.topic]) == header.only_view:
            desk.outgoing.add(record)
        else:
            desk.filtered.add(Outgoing(record.topic, record.partition, None, None, record.header))
    for record in filtered:
        desk.filtered.add(record)
    desk.book(first, number, written)
    return number


def _marks(batch: ReadBlock, number: int) -> tuple[bytes, ...]:
    """Return the marks of a record; none of one without a header of ours."""
    at, size = _header(batch, number)
    if size != HEADER_BYTES:
        return ()
    return tuple(bytes(batch.data[at + start : at + stop]) for start, stop in _MARKS)


def _mark(batch: ReadBlock, first: int, last: int, marks: tuple[bytes, ...]) -> None:
    for number in range(first, last):
        at, _ = _header(batch, number)
        for (start, stop), mark in zip(_MARKS, marks, strict=True):
            batch.data[at + start : at + stop] = mark


def _header(batch: ReadBlock, number: int) -> tuple[int, int]:
    row = number * _COLUMNS
    return batch.index[row + HEADER_AT], batch.index[row + HEADER_SIZE]
