"""MySQL and MariaDB as a source: the snapshot, then the stream from exactly where the snapshot stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from pydantic import SecretStr

from connectors.source import Batch, Frame
from connectors.sources.chunks import Chunk
from connectors.sources.marks import TableMarks
from connectors.sources.mysql.binlog import Binlog
from connectors.sources.mysql.catalog import Catalog, file_name
from connectors.sources.mysql.failover import follow
from connectors.sources.mysql.gap import refuse_gap, refuse_other_log, where
from connectors.sources.mysql.place import Mark, byte_of, number_of
from connectors.sources.mysql.rowimage import Row
from connectors.sources.mysql.shapes import BinlogMoment, Shapes
from connectors.sources.mysql.snapshot import Snapshot, SourceTable
from connectors.sources.mysql.stream import Stream
from connectors.sources.mysql.transaction import Transactions
from connectors.sources.postgres.record import Place, row_record, truncate_record
from exchange import log
from exchange.binlog.address import address, server_id
from exchange.binlog.session import Session
from exchange.change import Op, Position, stream_id
from exchange.errors import SourceError, TransientError
from exchange.position import SnapshotProgress, SourcePosition

_log = log.get(__name__)

_LEASE_PING_S: Final = 10.0
_LEASE_TIMEOUT_S: Final = 60
"""The server gives the lease up when it hears nothing for so long, as after a cut in the network."""


class MariadbSource:
    """The `Source` protocol on one server's databases. See connectors/source.py for the calling order."""

    kind: ClassVar[str] = "mariadb"

    # Known from open() on.
    _position: SourcePosition
    _tables: dict[str, SourceTable]
    _shapes: Shapes
    _stream_id: int
    _files: dict[str, int]
    _snapshot_commit: int

    def __init__(
        self,
        system: str,
        dsn: SecretStr,
        _publication: str,
        _slot: str,
        tables: Sequence[str],
        _stopping: Callable[[], bool] = lambda: False,
        _frame: Frame | None = None,
    ) -> None:
        self._system = system
        self._names = tuple(tables)
        self._where = address(system, dsn)
        self._catalog = Catalog(system, self.kind, self._where)
        self._lease: Session | None = None
        self._pinged_at = time.monotonic()
        self._marks = TableMarks(system)
        self._to_empty: list[SourceTable] = []
        self._snapshot: Snapshot | None = None
        self._stream: Stream | None = None

    def open(self, stored: SourcePosition | None) -> None:
        """Check the server, refuse a gap, and prepare snapshot or stream."""
        self._lease = self._take_lease()
        session = self._lease
        usable, problems = self._catalog.look_up(session, self._names)
        identity = self._catalog.identity(session)
        reading: Session | None = None
        to_empty: Sequence[str]
        if stored is None or stored.resume == 0:
            if problems:
                raise SourceError(f"source {self._system}: " + "; ".join(problems.values()))
            reading = self._first_position(identity, stored)
            self._files = self._catalog.files(session)
            to_empty = self._names if stored is not None else ()
        else:
            self._files = self._catalog.files(session)
            stored = follow(self._catalog, session, stored, self._files)
            self._refuse_gap(session, identity, stored)
            self._marks.compare(stored.tables, stored.resume, dict.fromkeys(usable, ""), problems)
            self._position = replace(stored, tables=self._marks.entries())
            to_empty = self._marks.to_empty()
        self._tables = {name: usable[name] for name in usable if name not in self._marks.halted}
        self._to_empty = [self._tables[name] for name in to_empty]
        collations = self._catalog.collations(session)
        self._shapes = Shapes(self._system, self.kind, self._tables, collations)
        self._stream_id = stream_id(self._system, identity, self._position.timeline)
        self._prepare_snapshot(reading)
        if self._snapshot is None:
            self._stream = self._start_stream()

    def read(self) -> Batch:
        """Return the next chunk of the snapshot, else the next changes of the stream."""
        self._keep_lease()
        batch = self._read()
        if batch.position is not None:
            batch.position = replace(batch.position, tables=self._marks.entries())
        batch.halted = self._marks.halted
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
        return self._stream.read()

    def acknowledge(self, position: SourcePosition) -> None:
        """Do nothing: the server keeps its log by its own rule (binlog_expire_logs_seconds), not by ours."""

    def close(self) -> None:
        """Close all connections."""
        if self._snapshot is not None:
            self._snapshot.close()
        if self._stream is not None:
            self._stream.close()
        if self._lease is not None:
            self._lease.close()

    # -- one reader

    def _take_lease(self) -> Session:
        """Take the lock that the one reader with our server id holds: two would throw each other out.

        Raises: TransientError while another one holds it.
        """
        session = self._catalog.connect()
        number = server_id(self._system)
        session.query("SET SESSION wait_timeout = %s", [_LEASE_TIMEOUT_S])
        ((got,),) = session.texts("SELECT GET_LOCK(%s, 0)", [f"exchange:{number}"])
        if got != "1":
            session.close()
            msg = (
                f"source {self._system}: another connector reads this server as the same system (server id "
                f"{number}); only one may, stop either of them"
            )
            raise TransientError(msg)
        return session

    def _keep_lease(self) -> None:
        """Say that we are still here.

        Raises: TransientError when the connection is lost, and with it the lease.
        """
        if self._lease is not None and time.monotonic() - self._pinged_at > _LEASE_PING_S:
            self._lease.query("SELECT 1")
            self._pinged_at = time.monotonic()

    # -- opening

    def _first_position(self, identity: str, before: SourcePosition | None) -> Session:
        """Begin the snapshot and take the log's place at it; return the session that reads it."""
        reading = self._catalog.connect()
        resume, mark = self._catalog.begin_snapshot(reading)
        self._catalog.refuse_prepared(reading)
        # Another number at each beginning, so that positions of two readings are never those of one history.
        timeline = time.time_ns() // 1_000_000
        if before is not None:
            timeline = max(timeline, before.timeline + 1)
        self._position = SourcePosition(
            self._system, identity, timeline, str(server_id(self._system)), resume, mark=mark.text()
        )
        return reading

    def _refuse_gap(self, session: Session, identity: str, stored: SourcePosition) -> None:
        """Ask the server for what gap.py compares.

        Raises: GapError when the log at the stored place is gone, or another one.
        """
        mark = Mark.of(stored.mark)
        file = file_name(self._files, mark.base, number_of(stored.resume))
        gtids = self._catalog.gtids(session, file, byte_of(stored.resume)) if file in self._files else None
        refuse_gap(stored, identity, self._files, gtids)

    def _prepare_snapshot(self, reading: Session | None) -> None:
        """Begin or go on with the snapshot of the tables that have none yet.

        Up to its place in the log the rows hold every change, so the stream's are taken from there on
        (TableMark.since). A row's own position is the byte just before: no transaction can begin there (an
        event has 19 bytes at least), so it is never also that of a streamed change.
        """
        missing = {name: table for name, table in self._tables.items() if not self._marks.is_complete(name)}
        if not missing:
            self._position = replace(self._position, snapshot=None)
            return
        progress, since = self._position.snapshot, self._position.resume
        if progress is None or (self._to_empty and reading is None):
            if reading is None:
                reading = self._catalog.connect()
                since = max(since, self._catalog.begin_snapshot(reading)[0])
            progress = SnapshotProgress(since - 1)
        self._position = replace(self._position, snapshot=progress)
        self._snapshot_commit = progress.commit
        self._snapshot = Snapshot(reading or self._catalog.connect(), missing, progress)
        _log.info(
            "snapshot_started" if progress.rows == 0 else "snapshot_resumed",
            system=self._system,
            where=where(self._position),
            records=progress.rows,
        )

    # -- reading

    def _emptying_batch(self) -> Batch:
        """Empty tables' topics before they are filled anew: which deletes were missed is not known."""
        commit = self._snapshot_commit - 1  # before the rows of the snapshot
        moment = self._snapshot_moment(commit)
        position = Position(self._stream_id, commit, 0)
        tables, self._to_empty = self._to_empty, []
        self._marks.emptied(table.name for table in tables)
        shapes = map(self._shapes.of_table, tables)
        return Batch([truncate_record(Place(shape, position, moment)) for shape in shapes], self._position)

    def _chunk_batch(self, chunk: Chunk[SourceTable, Row]) -> Batch:
        commit, first = chunk.progress.commit, chunk.progress.rows - len(chunk.rows)
        shape = self._shapes.of_table(chunk.table)
        moment = self._snapshot_moment(commit)
        changes = [
            row_record(Place(shape, Position(self._stream_id, commit, index), moment), Op.READ, None, row)
            for index, row in enumerate(chunk.rows, first)
        ]
        if chunk.last_of_table:
            self._marks.complete(chunk.table.name, commit + 1)
        complete = all(map(self._marks.is_complete, self._tables))
        self._position = replace(self._position, snapshot=None if complete else chunk.progress)
        if chunk.last_of_table:
            _log.info("snapshot_of_table_complete", system=self._system, table=chunk.table.name)
        return Batch(changes, self._position)

    def _snapshot_moment(self, commit: int) -> BinlogMoment:
        now_ms = time.time_ns() // 1_000_000
        file = file_name(self._files, Mark.of(self._position.mark).base, number_of(commit))
        return BinlogMoment(now_ms, commit, None, now_ms, snapshot=True, file=file)

    def _start_stream(self) -> Stream:
        mark = Mark.of(self._position.mark)
        resume = self._position.resume
        file = file_name(self._files, mark.base, number_of(resume))
        binlog = Binlog(self._system, self._where, file, byte_of(resume), self._tables)
        binlog.start()
        try:
            created_s = binlog.created_s()
            refuse_other_log(self._position, created_s)
        except BaseException:
            binlog.close()
            raise
        self._position = replace(self._position, mark=replace(mark, created_s=created_s).text())
        _log.info("stream_started", system=self._system, where=where(self._position))
        stored = self._position
        transactions = Transactions(self._stream_id, self._shapes, stored, self._tables, self._marks)
        return Stream(binlog, transactions, self._position)


class MysqlSource(MariadbSource):
    """The same on MySQL, whose snapshot needs a brief lock and whose log is known by server_uuid."""

    kind: ClassVar[str] = "mysql"
