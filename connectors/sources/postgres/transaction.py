"""What the stream's messages mean: each change gets its number in its transaction and becomes a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from connectors.source import Captured, Frame
from connectors.sources.postgres.envelope import Moment, TableShape
from connectors.sources.postgres.frames import Frames
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
from connectors.sources.postgres.rowcoder import Coder, Program, Progress
from connectors.sources.postgres.shapes import Shapes
from exchange.block import WriteBlock
from exchange.change import Op, Position
from exchange.errors import SourceError
from exchange.position import SourcePosition


class Transactions:
    """(Begin → (Relation | Insert | Update | Delete | Truncate)* → Commit)*, from `stored` on.

    Frames are taken by compiled code as far as that can (`encode`), the others as messages (`take`).
    """

    def __init__(
        self, stream_id: int, shapes: Shapes, stored: SourcePosition, frame: Frame | None = None
    ) -> None:
        """frame: how records are framed; without it every message is left to `take`."""
        self._system = stored.system
        self._done = (stored.commit, stored.index)
        self._stream_id = stream_id
        self._shapes = shapes
        self._frame = frame
        self._progress = Progress(stored.resume, stored.commit, stored.index)
        self._coder = Coder(stream_id, self._done, self._progress)
        self._moment: tuple[int, Moment] | None = None
        self._programs: dict[int, TableShape | None] = {}

    @property
    def resume(self) -> int:
        """Start of the log to read again, as in SourcePosition; everything before it has been taken."""
        return int(self._progress.resume)

    @property
    def last(self) -> tuple[int, int]:
        """Commit position and index of the last change that was captured."""
        return int(self._progress.last_commit), int(self._progress.last_index)

    @property
    def is_open(self) -> bool:
        """Whether more of a transaction is to come."""
        return bool(self._progress.is_open)

    @property
    def told_to(self) -> int:
        """Log position before which every transaction that was committed there has been told."""
        return int(self._progress.commit_lsn) if self.is_open else self.resume

    def track(self, *, on: bool) -> None:
        """Begin to remember which transactions begin, or end to; the open one counts."""
        begun = [(int(self._progress.commit_lsn), int(self._progress.xid))] if self.is_open else []
        self._progress.begun = begun if on else None

    def take_begun(self) -> list[tuple[int, int]]:
        """Return commit position and xid of those remembered, and forget them."""
        begun: list[tuple[int, int]] = self._progress.begun or []
        self._progress.begun = []
        return begun

    def encode(self, frames: Frames, block: WriteBlock, most_rows: int, most_bytes: int) -> None:
        """Take frames into a block, until it holds so much or `take` is needed for the next of them."""
        frames.next = self._coder.encode(
            frames.data, frames.index, frames.next, frames.count, block, most_rows, most_bytes
        )

    def take(self, message: Decoded) -> list[Captured]:
        """Take the next message in; return the records that it gives."""
        match message:
            case Insert() | Update() | Delete():
                return self._row_change(message)
            case Truncate():
                places = map(self._place, message.relations)
                return [truncate_record(place) for place in places if place is not None]
            case Begin():
                self._progress.begin(message.commit_lsn, message.commit_us, message.xid)
            case Commit():
                self._progress.end(message.end_lsn)
            case Relation():
                self._learn(message)
        return []

    def reached(self, wal_end: int) -> None:
        """Outside a transaction all changes before the server's position have been taken."""
        if not self.is_open:
            self._progress.resume = max(self._progress.resume, wal_end)

    def _learn(self, relation: Relation) -> None:
        """Compile a table's rows where its shape is another; its schemas are registered for that."""
        self._shapes.learn(relation)
        if self._frame is None:
            return
        shape = self._shapes.of_relation(relation.oid)
        if relation.oid not in self._programs or self._programs[relation.oid] is not shape:
            program = None if shape is None else Program(shape, self._frame(shape.shape))
            self._progress.table(relation.oid).learn(program, self._shapes.since(relation.oid))
            self._programs[relation.oid] = shape

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
        """Give a change its number; None when it is not for us, or in Kafka already."""
        progress = self._progress
        if not progress.is_open:
            msg = f"source {self._system}: PostgreSQL sent a change outside a transaction"
            raise SourceError(msg)
        order = progress.number(relation)
        at = (int(progress.commit_lsn), order[0] - 1)
        shape = self._shapes.of_relation(relation)
        if shape is None or at <= self._done or at[0] < self._shapes.since(relation):
            return None
        progress.last_commit, progress.last_index = at
        return Place(shape, Position(self._stream_id, *at), self._moment_now(), order)

    def _moment_now(self) -> Moment:
        """Return what all changes of the open transaction share."""
        progress = self._progress
        if self._moment is None or self._moment[0] != progress.transaction:
            shared = (progress.source_ms, progress.commit_lsn, progress.xid, progress.captured_ms)
            self._moment = (progress.transaction, Moment(*shared))
        return self._moment[1]


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
