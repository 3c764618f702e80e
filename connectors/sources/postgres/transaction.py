"""What the stream's messages mean: each change gets its number in its transaction and becomes a record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from connectors.position import SourcePosition
from connectors.source import Captured
from connectors.sources.postgres.envelope import Moment
from connectors.sources.postgres.pgoutput import (
    UNCHANGED,
    Begin,
    Commit,
    Decoded,
    Delete,
    Insert,
    Relation,
    Row,
    Truncate,
    Update,
)
from connectors.sources.postgres.record import Place, row_record, truncate_record
from connectors.sources.postgres.shapes import Shapes
from exchange.change import Op, Position
from exchange.errors import SourceError


class Transactions:
    """(Begin → (Relation | Insert | Update | Delete | Truncate)* → Commit)*, from `stored` on.

    resume: start of the log to read again, as in SourcePosition; everything before it has been taken.
    """

    def __init__(self, stream_id: int, shapes: Shapes, stored: SourcePosition) -> None:
        self.resume = stored.resume
        self._system = stored.system
        self._done = (stored.commit, stored.index)
        self._stream_id = stream_id
        self._shapes = shapes
        self._open: _Transaction | None = None

    def take(self, message: Decoded) -> list[Captured]:
        """Take the next message in; return the records that it gives."""
        match message:
            case Insert() | Update() | Delete():
                return self._row_change(message)
            case Truncate():
                places = map(self._place, message.relations)
                return [truncate_record(place) for place in places if place is not None]
            case Begin():
                now_ms = time.time_ns() // 1_000_000
                moment = Moment(message.commit_us // 1000, message.commit_lsn, message.xid, now_ms)
                self._open = _Transaction(moment)
            case Commit():
                self.resume = message.end_lsn
                self._open = None
            case Relation():
                self._shapes.learn(message)
        return []

    def reached(self, wal_end: int) -> None:
        """Outside a transaction all changes before the server's position have been taken."""
        if self._open is None:
            self.resume = max(self.resume, wal_end)

    def _row_change(self, message: Insert | Update | Delete) -> list[Captured]:
        place = self._place(message.relation)
        if place is None:
            return []
        match message:
            case Insert():
                return [row_record(place, Op.CREATE, None, message.new)]
            case Delete():
                return [row_record(place, Op.DELETE, message.old, None)]
            case Update():
                return _update(place, message)

    def _place(self, relation: int) -> Place | None:
        """Give a change its number; None when it is not for us, or in Kafka already.

        Every change of the transaction is numbered, captured or not, so that the numbers are the same when
        it is sent again.
        """
        if self._open is None:
            msg = f"source {self._system}: PostgreSQL sent a change outside a transaction"
            raise SourceError(msg)
        moment, order = self._open.moment, self._open.number(relation)
        index = order[0] - 1
        shape = self._shapes.of_relation(relation)
        if shape is None or (moment.lsn, index) <= self._done:
            return None
        return Place(shape, Position(self._stream_id, moment.lsn, index), moment, order)


@dataclass(slots=True)
class _Transaction:
    """The transaction under way, and how many changes it has had so far, overall and of each table."""

    moment: Moment
    changes: int = 0
    of_table: dict[int, int] = field(default_factory=dict)

    def number(self, relation: int) -> tuple[int, int]:
        """Count one more change; return its number, overall and of its table, from 1."""
        self.changes += 1
        of_table = self.of_table[relation] = self.of_table.get(relation, 0) + 1
        return self.changes, of_table


def _update(place: Place, update: Update) -> list[Captured]:
    """One record, or two when the key changed: the old key goes, the new one comes."""
    old, new = update.old, _new_row(update, place.shape.key_at)
    if old is None or all(old[at] == new[at] for at in place.shape.key_at):
        return [row_record(place, Op.UPDATE, old if update.full else None, new)]
    created = replace(place, position=replace(place.position, part=1))
    return [row_record(place, Op.DELETE, old, None), row_record(created, Op.CREATE, None, new)]


def _new_row(update: Update, key_at: Sequence[int]) -> Row:
    """Return the new row, its unchanged large values taken from the old one where that was sent.

    Under replica identity default only the key of it is; one that is stored out of line also when unchanged.
    """
    if update.old is None or UNCHANGED not in update.new:
        return update.new
    return tuple(
        was if cell is UNCHANGED and (update.full or at in key_at) else cell
        for at, (cell, was) in enumerate(zip(update.new, update.old, strict=True))
    )
