"""PostgreSQL as a source: the snapshot, then the stream from exactly where the snapshot stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from pydantic import SecretStr

from connectors.position import SnapshotProgress, SourcePosition
from connectors.source import LARGEST_RECORD_BYTES, Batch, Captured
from connectors.sources.postgres import pgoutput
from connectors.sources.postgres.catalog import Catalog, SlotState, SourceTable
from connectors.sources.postgres.envelope import Moment, ShapeColumn, TableShape, merged
from connectors.sources.postgres.libpq import lsn_text
from connectors.sources.postgres.pgoutput import Relation, Row
from connectors.sources.postgres.replication import Identity, Keepalive, Replication
from connectors.sources.postgres.snapshot import Chunk, Snapshot
from connectors.sources.postgres.types import mapping
from exchange import log
from exchange.change import Op, Position, Rejected, stream_id
from exchange.errors import GapError, SourceError

_log = log.get(__name__)

_MOST_CHANGES: Final = 5_000
_MOST_BYTES: Final = 8_000_000
_LONGEST_S: Final = 0.1
_PAUSE_S: Final = 0.01
"""A batch ends when the source has been silent so long: what follows is likely another event."""
_IDLE_S: Final = 1.0
_FRAMING_BYTES: Final = 10
"""The wire format's prefix of key and of value."""
_STATUS_EVERY_S: Final = 10.0
_IDLE_POSITION_EVERY_S: Final = 10.0
_WANTED_POSITION_EVERY_S: Final = 1.0
"""When the server asks (it does while shutting down, and waits for our answer), but not in a busy loop."""


class PostgresSource:
    """The `Source` protocol on one PostgreSQL database. See connectors/source.py for the calling order."""

    def __init__(
        self,
        system: str,
        dsn: SecretStr,
        publication: str,
        slot: str,
        tables: Sequence[str],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._system = system
        self._slot = slot
        self._names = tuple(tables)
        self._stopping = stopping
        self._catalog = Catalog(system, dsn, publication)
        self._replication = Replication(system, dsn)
        self._snapshot: Snapshot | None = None
        self._tables: dict[str, SourceTable] = {}
        self._relations: dict[int, Relation] = {}
        self._shapes: dict[int, TableShape | None] = {}
        self._stream = 0
        self._database = ""
        self._position = SourcePosition(system, "", 0, slot, 0)
        self._streaming = False
        self._empty_first = False
        self._moment: Moment | None = None
        self._index = 0
        self._orders: dict[int, int] = {}
        self._safe = 0
        self._reply_wanted = False
        self._moved_at = self._status_at = time.monotonic()

    def open(self, stored: SourcePosition | None) -> None:
        """Check the source, make the slot if this is the first time, and prepare snapshot or stream."""
        identity = self._replication.identify()
        self._tables = self._catalog.tables(self._names)
        self._database = self._catalog.database()
        self._stream = stream_id(self._system, identity.system_identifier, identity.timeline)
        slot = self._catalog.slot(self._slot)
        if stored is None or stored.resume == 0:
            exported = self._first_position(identity, slot)
            self._empty_first = stored is not None
        else:
            _refuse_gap(stored, identity, self._slot, slot)
            exported, self._position = (
                None,
                replace(stored, tables=tuple(name for name in stored.tables if name in self._tables)),
            )
        self._prepare_snapshot(exported)

    def read(self) -> Batch:
        """Return the next chunk of the snapshot, else the next changes of the stream."""
        if self._empty_first:
            self._empty_first = False
            return self._emptying_batch()
        if self._snapshot is not None:
            chunk = self._snapshot.chunk()
            if chunk is not None:
                return self._chunk_batch(self._snapshot, chunk)
            self._snapshot.close()
            self._snapshot = None
        if not self._streaming:
            self._replication.start(self._slot, self._catalog.publication, self._position.resume)
            self._safe = self._position.resume
            self._streaming = True
            _log.info("stream_started", system=self._system, lsn=lsn_text(self._position.resume))
        return self._stream_batch()

    def acknowledge(self, position: SourcePosition) -> None:
        """Let the server forget what is committed in Kafka."""
        if not self._streaming:
            return
        due = self._reply_wanted or time.monotonic() - self._status_at > _WANTED_POSITION_EVERY_S
        self._replication.acknowledge(position.resume, now=due)
        if due:
            self._status_at = time.monotonic()
            self._reply_wanted = False

    def close(self) -> None:
        """Close all connections; the slot keeps what was not acknowledged."""
        if self._snapshot is not None:
            self._snapshot.close()
        self._replication.close()

    # -- opening

    def _first_position(self, identity: Identity, slot: SlotState | None) -> str:
        """Make the slot; return the name of its exported snapshot.

        A slot that is there although Kafka holds no position was made by an attempt that died before its
        first commit, or the system is begun anew: nothing that counts was captured from it.
        """
        if slot is not None:
            if not slot.ours:
                msg = (
                    f"source {self._system}: slot {self._slot} belongs to another plugin or database; "
                    "choose another slot name in topology.yaml"
                )
                raise SourceError(msg)
            _log.warning("slot_recreated", system=self._system, slot=self._slot)
            self._replication.drop_slot(self._slot)
        made = self._replication.create_slot(self._slot)
        self._position = SourcePosition(
            self._system, identity.system_identifier, identity.timeline, self._slot, made.consistent_point
        )
        return made.snapshot

    def _prepare_snapshot(self, exported: str | None) -> None:
        """Begin or go on with the snapshot of the tables that have none yet."""
        missing = {name: table for name, table in self._tables.items() if name not in self._position.tables}
        if not missing:
            self._position = replace(self._position, snapshot=None)
            return
        # The log position just before the one that the stream starts from: no transaction's commit record can
        # stand there (records are aligned), so a row's position is never also that of a streamed change.
        progress = self._position.snapshot or SnapshotProgress(self._position.resume - 1)
        self._position = replace(self._position, snapshot=progress)
        self._snapshot = Snapshot(self._catalog.connect(), missing, progress)
        self._snapshot.begin(exported, self._stopping)
        _log.info(
            "snapshot_started" if progress.rows == 0 else "snapshot_resumed",
            system=self._system,
            lsn=lsn_text(self._position.resume),
            records=progress.rows,
        )

    # -- snapshot

    def _emptying_batch(self) -> Batch:
        """Empty every table's topics before they are filled anew: which deletes were missed is not known."""
        now_ms = time.time_ns() // 1_000_000
        commit = self._position.resume - 2  # before the rows of the snapshot, and not aligned either
        moment = Moment(now_ms, commit, None, now_ms, snapshot=True)
        position = Position(self._stream, commit, 0)
        changes = []
        for table in self._tables.values():
            shape = self._shape_of(table.relation, table.key)
            value = shape.envelope(Op.TRUNCATE, None, None, moment, None)
            changes.append(Captured(shape.shape, position, Op.TRUNCATE, now_ms, None, value))
        return Batch(changes, self._position)

    def _chunk_batch(self, snapshot: Snapshot, chunk: Chunk) -> Batch:
        now_ms = time.time_ns() // 1_000_000
        commit, first = chunk.progress.commit, chunk.progress.rows - len(chunk.rows)
        shape = self._shape_of(chunk.table.relation, chunk.table.key)
        moment = Moment(now_ms, commit, None, now_ms, snapshot=True)
        changes = [
            self._captured(shape, Op.READ, Position(self._stream, commit, first + number), moment, None, row)
            for number, row in enumerate(chunk.rows)
        ]
        tables = self._position.tables + ((chunk.table.name,) if chunk.last_of_table else ())
        complete = len(tables) == len(self._tables)
        self._position = replace(self._position, tables=tables, snapshot=None if complete else chunk.progress)
        if chunk.last_of_table:
            _log.info("snapshot_of_table_complete", system=self._system, table=chunk.table.name)
        return Batch(changes, self._position)

    # -- stream

    def _stream_batch(self) -> Batch:
        """Collect changes until there are enough, the source pauses, or the first of them has waited long."""
        batch = Batch()
        size, began = 0, time.monotonic()
        while len(batch.changes) < _MOST_CHANGES and size < _MOST_BYTES:
            received = self._replication.receive()
            if received is None:
                if not self._replication.wait(_PAUSE_S if batch.changes else _IDLE_S):
                    break
                began = began if batch.changes else time.monotonic()
                continue
            if isinstance(received, Keepalive):
                self._keepalive(received)
            else:
                size += self._apply(received, batch)
            if time.monotonic() - began > (_LONGEST_S if batch.changes else _IDLE_S) or self._reply_wanted:
                break
        batch.position = self._advance(batch)
        return batch

    def _keepalive(self, keepalive: Keepalive) -> None:
        """Outside a transaction all changes before the server's position have been received."""
        if self._moment is None:
            self._safe = max(self._safe, keepalive.wal_end)
        self._reply_wanted |= keepalive.reply_wanted

    def _advance(self, batch: Batch) -> SourcePosition:
        """Return the position after a batch; an idle source's moves on now and then only."""
        now = time.monotonic()
        if batch.changes:
            last = batch.changes[-1].position
            self._position = replace(self._position, resume=self._safe, commit=last.commit, index=last.index)
            self._moved_at = now
        elif self._safe > self._position.resume and now - self._moved_at > self._patience():
            self._position = replace(self._position, resume=self._safe)
            self._moved_at = now
        elif self._reply_wanted or now - self._status_at > _STATUS_EVERY_S:
            self._replication.send_status()
            self._status_at = now
            self._reply_wanted = False
        return self._position

    def _patience(self) -> float:
        return _WANTED_POSITION_EVERY_S if self._reply_wanted else _IDLE_POSITION_EVERY_S

    def _apply(self, received: bytes, batch: Batch) -> int:
        """Take one message in; return the bytes that it added to the batch."""
        message = pgoutput.decode(received)
        match message:
            case pgoutput.Insert() | pgoutput.Update() | pgoutput.Delete():
                return self._row_change(message, batch)
            case pgoutput.Begin():
                self._begin(message)
            case pgoutput.Commit():
                self._safe = message.end_lsn
                self._moment = None
            case pgoutput.Relation():
                self._learn(message)
            case pgoutput.Truncate():
                self._truncate(message, batch)
        return 0

    def _learn(self, relation: Relation) -> None:
        """Compile a table's shape where it is another: after each TRUNCATE the same one is told again."""
        if self._relations.get(relation.oid) != relation:
            self._shapes[relation.oid] = self._stream_shape(relation)
            self._relations[relation.oid] = relation

    def _begin(self, begin: pgoutput.Begin) -> None:
        now_ms = time.time_ns() // 1_000_000
        self._moment = Moment(begin.commit_us // 1000, begin.commit_lsn, begin.xid, now_ms)
        self._index = 0
        self._orders = {}

    def _next(self, relation: int) -> tuple[TableShape, Position, tuple[int, int]] | None:
        """Give a change its number; None when it is not for us, or in Kafka already.

        Every change of the transaction is numbered, captured or not, so that the numbers are the same when
        it is sent again.
        """
        moment = self._current()
        index = self._index
        self._index += 1
        order = self._orders[relation] = self._orders.get(relation, 0) + 1
        shape = self._shapes.get(relation)
        done = (self._position.commit, self._position.index)
        if shape is None or (moment.lsn, index) <= done:
            return None
        return shape, Position(self._stream, moment.lsn, index), (index + 1, order)

    def _row_change(self, message: pgoutput.Insert | pgoutput.Update | pgoutput.Delete, batch: Batch) -> int:
        place = self._next(message.relation)
        if place is None:
            return 0
        shape, position, order = place
        moment = self._current()
        before = len(batch.changes)
        if isinstance(message, pgoutput.Insert):
            made = [self._captured(shape, Op.CREATE, position, moment, None, message.new, order)]
        elif isinstance(message, pgoutput.Delete):
            made = [self._captured(shape, Op.DELETE, position, moment, message.old, None, order)]
        else:
            made = self._update(shape, position, moment, message, order)
        batch.changes.extend(made)
        return sum(len(change.value) for change in batch.changes[before:])

    def _update(
        self,
        shape: TableShape,
        position: Position,
        moment: Moment,
        update: pgoutput.Update,
        order: tuple[int, int],
    ) -> list[Captured]:
        """One record, or two when the key changed: the old key goes, the new one comes."""
        old, whole = update.old, update.old if update.full else None
        new = merged(update.new, whole)
        if old is None or all(old[at] == new[at] for at in shape.key_at):
            return [self._captured(shape, Op.UPDATE, position, moment, whole, new, order)]
        # PostgreSQL leaves an unchanged large value out of the new row, and out of the old key as well.
        created = replace(position, part=1)
        return [
            self._captured(shape, Op.DELETE, position, moment, old, None, order),
            self._captured(shape, Op.CREATE, created, moment, None, new, order),
        ]

    def _truncate(self, message: pgoutput.Truncate, batch: Batch) -> None:
        for relation in message.relations:
            place = self._next(relation)
            if place is not None:
                shape, position, order = place
                moment = self._current()
                value = shape.envelope(Op.TRUNCATE, None, None, moment, order)
                batch.changes.append(
                    Captured(shape.shape, position, Op.TRUNCATE, moment.source_ms, None, value)
                )

    def _current(self) -> Moment:
        if self._moment is None:
            msg = f"source {self._system}: PostgreSQL sent a change outside a transaction"
            raise SourceError(msg)
        return self._moment

    # -- records

    def _captured(
        self,
        shape: TableShape,
        op: Op,
        position: Position,
        moment: Moment,
        before: Row | None,
        after: Row | None,
        order: tuple[int, int] | None = None,
    ) -> Captured:
        """Write one change; a value that cannot be written exactly makes it a rejected one."""
        key = shape.key(after if after is not None else before or ())
        image = None if after is None else shape.row(after)
        old = None if before is None else _before_image(shape, before, required=op is Op.DELETE)
        problem = next((part for part in (key, image, old) if isinstance(part, Rejected)), None)
        if problem is not None:
            sent = shape.as_sent(before, after)
            known = key if isinstance(key, bytes) else None
            return Captured(shape.shape, position, op, moment.source_ms, known, sent, problem)
        written = shape.envelope(op, _bytes(old), _bytes(image), moment, order)
        if before is not None and len(written) > LARGEST_RECORD_BYTES - _FRAMING_BYTES - len(
            _bytes(key) or b""
        ):
            # Perhaps it is the old row that is too large: the change that mends or deletes it must pass.
            kept = _key_image(shape, before) if op is Op.DELETE else None
            written = shape.envelope(op, _bytes(kept), _bytes(image), moment, order)
        return Captured(shape.shape, position, op, moment.source_ms, _bytes(key), written)

    def _stream_shape(self, relation: Relation) -> TableShape | None:
        """Compile a relation message; None for a table that the plan does not capture."""
        name = f"{relation.schema}.{relation.table}"
        if name not in self._tables:
            return None
        if relation.replica_identity == "d":
            key = tuple(column.name for column in relation.columns if column.identity)
        elif relation.replica_identity == "f":
            key = self._key_of_full(name, {column.name for column in relation.columns})
        else:
            key = ()
        if not key:
            msg = (
                f"source {self._system}: table {name} no longer has a primary key as replica identity; "
                f"give it one and run ALTER TABLE {name} REPLICA IDENTITY DEFAULT or FULL"
            )
            raise SourceError(msg)
        return self._shape_of(relation, key)

    def _key_of_full(self, name: str, columns: set[str]) -> tuple[str, ...]:
        """Under REPLICA IDENTITY FULL the message does not tell the key: as before, or else as it is now."""
        for key_of in (lambda name: self._tables[name].key, self._catalog.key_now):
            if columns.issuperset(key := key_of(name)):
                return key
        msg = (
            f"source {self._system}: table {name} had other columns in its primary key when this change was "
            "made than it has now; its key cannot be told"
        )
        raise GapError(msg)

    def _shape_of(self, relation: Relation, key: tuple[str, ...]) -> TableShape:
        columns = tuple(
            ShapeColumn(
                column.name,
                column.name in key,
                mapping(column.type_oid, column.typmod, self._catalog.type_of),
            )
            for column in relation.columns
        )
        return TableShape(self._system, self._database, relation.schema, relation.table, columns)


def _before_image(shape: TableShape, before: Row, *, required: bool) -> bytes | Rejected | None:
    """Return the old row, or as much of it as can be written: a delete needs its key, an update nothing.

    An old row that cannot be written was refused when it came; the change that mends it must pass.
    """
    image = shape.row(before)
    if isinstance(image, bytes):
        return image
    return _key_image(shape, before) if required else None


def _key_image(shape: TableShape, before: Row) -> bytes | Rejected:
    """Return an old row of which only the key is told."""
    return shape.row(tuple(cell if at in shape.key_at else None for at, cell in enumerate(before)))


def _bytes(part: bytes | Rejected | None) -> bytes | None:
    return part if isinstance(part, bytes) else None


def _refuse_gap(stored: SourcePosition, identity: Identity, slot_name: str, slot: SlotState | None) -> None:
    """Compare what Kafka holds with what the source can still give.

    Raises: GapError when any change between the two may be missing.
    """
    problem = _gap(stored, identity, slot_name, slot)
    if problem:
        msg = (
            f"source {stored.system}: Kafka holds changes up to {lsn_text(stored.resume)}, but {problem}. "
            "Changes may be missing, so nothing was captured since; "
            f"run `exchange resnapshot {stored.system}` to read all tables anew"
        )
        raise GapError(msg)


def _gap(stored: SourcePosition, identity: Identity, slot_name: str, slot: SlotState | None) -> str:
    seen = (stored.system_identifier, stored.timeline)
    if seen != (identity.system_identifier, identity.timeline):
        return (
            f"of system {seen[0]} timeline {seen[1]}, and the database is system "
            f"{identity.system_identifier} timeline {identity.timeline}: it was restored or failed over"
        )
    if stored.slot != slot_name:
        return f"by slot {stored.slot}, and the plan names slot {slot_name}"
    if slot is None:
        return f"slot {slot_name} no longer exists in the database"
    if not slot.ours:
        return f"slot {slot_name} is of another plugin or database"
    if slot.lost:
        return f"the server removed the log that slot {slot_name} needs (wal_status lost)"
    if slot.confirmed > stored.resume:
        return f"slot {slot_name} stands at {lsn_text(slot.confirmed)}: it was moved or made anew"
    return ""
