"""PostgreSQL as a source: the snapshot, then the stream from exactly where the snapshot stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from pydantic import SecretStr

from connectors.position import SnapshotProgress, SourcePosition
from connectors.source import Batch, Frame
from connectors.sources.postgres.catalog import Catalog, SlotState, SourceTable
from connectors.sources.postgres.envelope import Moment
from connectors.sources.postgres.gap import refuse_gap
from connectors.sources.postgres.libpq import lsn_text
from connectors.sources.postgres.record import Place, row_record, truncate_record
from connectors.sources.postgres.replication import Identity, Replication
from connectors.sources.postgres.shapes import Shapes
from connectors.sources.postgres.snapshot import Chunk, Snapshot
from connectors.sources.postgres.stream import Stream
from connectors.sources.postgres.transaction import Transactions
from exchange import log
from exchange.change import Op, Position, stream_id
from exchange.errors import SourceError

_log = log.get(__name__)


class PostgresSource:
    """The `Source` protocol on one PostgreSQL database. See connectors/source.py for the calling order."""

    # Known from open() on.
    _position: SourcePosition
    _tables: dict[str, SourceTable]
    _shapes: Shapes
    _stream_id: int

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
        self._empty_first = False
        self._snapshot: Snapshot | None = None
        self._stream: Stream | None = None

    def open(self, stored: SourcePosition | None) -> None:
        """Check the source, make the slot if this is the first time, and prepare snapshot or stream."""
        identity = self._replication.identify()
        self._tables = self._catalog.tables(self._names)
        self._shapes = Shapes(self._catalog, self._tables)
        self._stream_id = stream_id(self._system, identity.system_identifier, identity.timeline)
        slot = self._catalog.slot(self._slot)
        if stored is None or stored.resume == 0:
            exported = self._first_position(identity, slot)
            self._empty_first = stored is not None
        else:
            refuse_gap(stored, identity, self._slot, slot)
            exported = None
            complete = tuple(name for name in stored.tables if name in self._tables)
            self._position = replace(stored, tables=complete)
        self._prepare_snapshot(exported)

    def read(self) -> Batch:
        """Return the next chunk of the snapshot, else the next changes of the stream."""
        if self._empty_first:
            self._empty_first = False
            return self._emptying_batch()
        if self._snapshot is not None:
            chunk = self._snapshot.chunk()
            if chunk is not None:
                return self._chunk_batch(chunk)
            self._snapshot.close()
            self._snapshot = None
        if self._stream is None:
            self._stream = self._start_stream()
        return self._stream.read()

    def acknowledge(self, position: SourcePosition) -> None:
        """Let the server forget what is committed in Kafka; while the snapshot is read, it keeps all."""
        if self._stream is not None:
            self._stream.acknowledge(position)

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

    # -- reading

    def _emptying_batch(self) -> Batch:
        """Empty every table's topics before they are filled anew: which deletes were missed is not known."""
        commit = self._position.resume - 2  # before the rows of the snapshot, and not aligned either
        moment = _snapshot_moment(commit)
        position = Position(self._stream_id, commit, 0)
        shapes = map(self._shapes.of_table, self._tables.values())
        return Batch([truncate_record(Place(shape, position, moment)) for shape in shapes], self._position)

    def _chunk_batch(self, chunk: Chunk) -> Batch:
        commit, first = chunk.progress.commit, chunk.progress.rows - len(chunk.rows)
        shape = self._shapes.of_table(chunk.table)
        moment = _snapshot_moment(commit)
        changes = [
            row_record(Place(shape, Position(self._stream_id, commit, index), moment), Op.READ, None, row)
            for index, row in enumerate(chunk.rows, first)
        ]
        tables = self._position.tables + ((chunk.table.name,) if chunk.last_of_table else ())
        complete = len(tables) == len(self._tables)
        self._position = replace(self._position, tables=tables, snapshot=None if complete else chunk.progress)
        if chunk.last_of_table:
            _log.info("snapshot_of_table_complete", system=self._system, table=chunk.table.name)
        return Batch(changes, self._position)

    def _start_stream(self) -> Stream:
        resume = self._position.resume
        self._replication.start(self._slot, self._catalog.publication, resume)
        _log.info("stream_started", system=self._system, lsn=lsn_text(resume))
        transactions = Transactions(self._stream_id, self._shapes, self._position, self._frame)
        return Stream(self._replication, transactions, self._position)


def _snapshot_moment(commit: int) -> Moment:
    now_ms = time.time_ns() // 1_000_000
    return Moment(now_ms, commit, None, now_ms, snapshot=True)
