"""PostgreSQL as a source: the snapshot, then the stream from exactly where the snapshot stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from pydantic import SecretStr

from connectors.source import Batch, Frame
from connectors.sources.chunks import Chunk
from connectors.sources.postgres.catalog import Catalog, SlotState, SourceTable
from connectors.sources.postgres.chunkread import ChunkReader
from connectors.sources.postgres.gap import refuse_gap
from connectors.sources.postgres.incremental import Incremental
from connectors.sources.postgres.libpq import Cells, Connection, lsn_text
from connectors.sources.postgres.marks import Marks
from connectors.sources.postgres.record import Place, row_record, snapshot_moment, truncate_record
from connectors.sources.postgres.replication import Identity, Replication
from connectors.sources.postgres.shapes import Shapes
from connectors.sources.postgres.snapshot import Snapshot
from connectors.sources.postgres.stream import Stream
from connectors.sources.postgres.transaction import Transactions
from exchange import log
from exchange.change import Op, Position, stream_id
from exchange.errors import SourceError, TransientError
from exchange.position import SnapshotProgress, SourcePosition
from exchange.snapshot_orders import SnapshotOrder

_log = log.get(__name__)

_LOOK_EVERY_S: Final = 10.0
_CHUNK_IDLE_S: Final = 0.02
"""A silent stream is waited for no longer while a table is read beside it: its chunks come in between."""


class PostgresSource:
    """The `Source` protocol on one PostgreSQL database. See connectors/source.py for the calling order."""

    # Known from open() on.
    _position: SourcePosition
    _tables: dict[str, SourceTable]
    _shapes: Shapes
    _stream_id: int
    _snapshot_commit: int
    _incremental: Incremental

    def __init__(
        self,
        system: str,
        dsn: SecretStr,
        publication: str,
        slot: str,
        tables: Sequence[str],
        stopping: Callable[[], bool] = lambda: False,
        frame: Frame | None = None,
    ) -> None:
        self._system = system
        self._slot = slot
        self._names = tuple(tables)
        self._stopping = stopping
        self._frame = frame
        self._catalog = Catalog(system, dsn, publication)
        self._replication = Replication(system, dsn)
        self._marks = Marks(system)
        self._to_empty: list[SourceTable] = []
        self._aside: Connection | None = None
        self._look_at = 0.0
        self._snapshot: Snapshot | None = None
        self._stream: Stream | None = None
        self._chunks = ChunkReader(self._catalog)

    def open(self, stored: SourcePosition | None) -> None:
        """Check the source, make the slot if this is the first time, and prepare snapshot or stream."""
        identity = self._replication.identify()
        usable, problems = self._catalog.look_up(self._names)
        self._stream_id = stream_id(self._system, identity.system_identifier, identity.timeline)
        slot = self._catalog.slot(self._slot)
        exported = None
        to_empty: Sequence[str]
        if stored is None or stored.resume == 0:
            if problems:
                raise SourceError(f"source {self._system}: " + "; ".join(problems.values()))
            exported = self._first_position(identity, slot)
            to_empty = self._names if stored is not None else ()
        else:
            refuse_gap(stored, identity, self._slot, slot)
            identities = {name: table.identity for name, table in usable.items()}
            self._marks.compare(stored.tables, stored.resume, identities, problems)
            self._position = replace(stored, tables=self._marks.entries())
            to_empty = self._marks.to_empty()
        self._tables = {name: usable[name] for name in usable if name not in self._marks.halted}
        self._shapes = Shapes(self._catalog, self._tables, self._marks)
        self._to_empty = [self._tables[name] for name in to_empty]
        self._incremental = Incremental(
            self._chunks,
            self._shapes,
            self._marks,
            self._tables,
            self._stream_id,
            None if stored is None else stored.incremental,
        )
        self._prepare_snapshot(exported)

    def read(self) -> Batch:
        """Return the next chunk of the snapshot, else the next changes of the stream."""
        batch = self._read()
        if batch.position is not None:
            batch.position = replace(
                batch.position, tables=self._marks.entries(), incremental=self._incremental.progress
            )
        batch.halted = self._marks.halted
        batch.snapshot = self._incremental.figures
        return batch

    def _read(self) -> Batch:
        if self._to_empty:
            return self._emptying_batch()
        if self._snapshot is not None:
            chunk = self._snapshot.chunk()
            if chunk is not None:
                return self._chunk_batch(chunk)
            self._snapshot.close()
            self._snapshot = None
        if self._stream is None:
            self._stream = self._start_stream()
        self._look_again()
        return self._next_of_stream(self._stream)

    def obey(self, order: SnapshotOrder) -> None:
        """Read a table again beside the stream, or no longer."""
        self._incremental.obey(order)

    def acknowledge(self, position: SourcePosition) -> None:
        """Let the server forget what is committed in Kafka; while the snapshot is read, it keeps all."""
        if self._stream is not None:
            self._stream.acknowledge(position)

    def close(self) -> None:
        """Close all connections; the slot keeps what was not acknowledged."""
        if self._snapshot is not None:
            self._snapshot.close()
        self._replication.close()
        self._chunks.close()
        if self._aside is not None:
            self._aside.close()
            self._aside = None

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
        missing = {name: table for name, table in self._tables.items() if not self._marks.is_complete(name)}
        if not missing:
            self._position = replace(self._position, snapshot=None)
            return
        progress = self._position.snapshot
        if progress is None or (self._to_empty and exported is None):
            # Up to here the rows hold every change, so the stream's are taken from here on (TableMark.since).
            # A row's own position is just before: no transaction's commit record can stand there (records are
            # aligned), so it is never also that of a streamed change.
            since = self._position.resume if exported else max(self._position.resume, self._catalog.lsn_now())
            progress = SnapshotProgress(since - 1)
        self._position = replace(self._position, snapshot=progress)
        self._snapshot_commit = progress.commit
        self._snapshot = Snapshot(self._catalog.connect(), missing, progress)
        self._snapshot.begin(exported, self._stopping)
        _log.info(
            "snapshot_started" if progress.rows == 0 else "snapshot_resumed",
            system=self._system,
            lsn=lsn_text(self._position.resume),
            records=progress.rows,
        )

    # -- reading

    def _emptying_batch(self) -> Batch:
        """Empty tables' topics before they are filled anew: which deletes were missed is not known."""
        commit = self._snapshot_commit - 1  # before the rows of the snapshot, and not aligned either
        moment = snapshot_moment(commit)
        position = Position(self._stream_id, commit, 0)
        tables, self._to_empty = self._to_empty, []
        self._marks.emptied(table.name for table in tables)
        shapes = map(self._shapes.of_table, tables)
        return Batch([truncate_record(Place(shape, position, moment)) for shape in shapes], self._position)

    def _chunk_batch(self, chunk: Chunk[SourceTable, Cells]) -> Batch:
        commit, first = chunk.progress.commit, chunk.progress.rows - len(chunk.rows)
        shape = self._shapes.of_table(chunk.table)
        moment = snapshot_moment(commit)
        changes = [
            row_record(Place(shape, Position(self._stream_id, commit, index), moment), Op.READ, None, row)
            for index, row in enumerate(chunk.rows, first)
        ]
        if chunk.last_of_table:
            self._marks.complete(chunk.table.name, commit + 1, chunk.table.identity)
        complete = all(map(self._marks.is_complete, self._tables))
        self._position = replace(self._position, snapshot=None if complete else chunk.progress)
        if chunk.last_of_table:
            _log.info("snapshot_of_table_complete", system=self._system, table=chunk.table.name)
        return Batch(changes, self._position)

    def _next_of_stream(self, stream: Stream) -> Batch:
        """Return the chunk that is due, else the stream's next changes."""
        incremental = self._incremental
        chunk = incremental.due(stream.reached)
        if chunk is not None:
            return Batch(chunk, stream.position, more=True)
        batch = stream.read(_CHUNK_IDLE_S) if incremental.is_running else stream.read()
        incremental.note(batch)
        return batch

    def _look_again(self) -> None:
        """See now and then that the tables are still those that were opened; else they are opened anew."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        if self._aside is None:
            self._aside = self._catalog.connect()
        strangers = sorted(self._marks.strangers(self._catalog.identities(self._aside)))
        if strangers:
            msg = f"source {self._system}: {', '.join(strangers)} changed in the catalogue; it is opened anew"
            raise TransientError(msg)

    def _start_stream(self) -> Stream:
        resume = self._position.resume
        self._replication.start(self._slot, self._catalog.publication, resume)
        _log.info("stream_started", system=self._system, lsn=lsn_text(resume))
        transactions = Transactions(self._stream_id, self._shapes, self._position, self._frame)
        self._incremental.attach(transactions)
        return Stream(self._replication, transactions, self._position)
