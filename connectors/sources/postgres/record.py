"""One change as the record for its raw topic: key and envelope, or the reason why they cannot be written."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from connectors.source import LARGEST_RECORD_BYTES, Captured
from connectors.sources.postgres.envelope import Moment, TableShape
from connectors.sources.postgres.pgoutput import Row
from exchange.change import Op, Position, Rejected

_FRAMING_BYTES: Final = 10
"""The wire format's prefix of key and of value."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a change stands: its table as it is then, its position, and its transaction or snapshot.

    order: its number in the transaction, overall and of its table, from 1; a snapshot has none.
    """

    shape: TableShape
    position: Position
    moment: Moment
    order: tuple[int, int] | None = None


def row_record(place: Place, op: Op, before: Row | None, after: Row | None) -> Captured:
    """Write a row's change; a value that cannot be written exactly makes it a rejected one."""
    shape = place.shape
    key = shape.key(after if after is not None else before or ())
    new = None if after is None else shape.row(after)
    old = None if before is None else _old_row(shape, op, before)
    problem = next((part for part in (key, new, old) if isinstance(part, Rejected)), None)
    if problem is not None:
        return _captured(place, op, _bytes(key), shape.as_sent(before, after), problem)
    value = shape.envelope(op, _bytes(old), _bytes(new), place.moment, place.order)
    if before is not None and len(value) > LARGEST_RECORD_BYTES - _FRAMING_BYTES - len(_bytes(key) or b""):
        # Perhaps it is the old row that is too large: the change that mends or deletes it must pass.
        least = _bytes(_least_of(shape, op, before))
        value = shape.envelope(op, least, _bytes(new), place.moment, place.order)
    return _captured(place, op, _bytes(key), value)


def snapshot_moment(commit: int) -> Moment:
    """Return what the rows of one chunk share: they were as they are now."""
    now_ms = time.time_ns() // 1_000_000
    return Moment(now_ms, commit, None, now_ms, snapshot=True)


def truncate_record(place: Place) -> Captured:
    """Write that all rows of the table went."""
    value = place.shape.envelope(Op.TRUNCATE, None, None, place.moment, place.order)
    return _captured(place, Op.TRUNCATE, None, value)


def _old_row(shape: TableShape, op: Op, before: Row) -> bytes | Rejected | None:
    """Return the old row, or as much of it as can be written.

    An old row that cannot be written was refused when it came; the change that mends it must pass.
    """
    whole = shape.row(before)
    return whole if isinstance(whole, bytes) else _least_of(shape, op, before)


def _least_of(shape: TableShape, op: Op, before: Row) -> bytes | Rejected | None:
    """Return as little of the old row as will do: a delete needs its key, an update nothing."""
    if op is not Op.DELETE:
        return None
    return shape.row(tuple(cell if at in shape.key_at else None for at, cell in enumerate(before)))


def _bytes(part: bytes | Rejected | None) -> bytes | None:
    return part if isinstance(part, bytes) else None


def _captured(
    place: Place, op: Op, key: bytes | None, value: bytes, rejected: Rejected | None = None
) -> Captured:
    return Captured(place.shape.shape, place.position, op, place.moment.source_ms, key, value, rejected)
