"""Reads one chunk of a table beside the stream: rows, which transactions they show, and a mark in the log.

In a thread of its own, so that a slow source or a locked table keeps no stream waiting. The table is locked
against changes of its shape for the length of the read alone, and a lock that is not to be had is not waited
for: who waits to alter a table would have the department's own queries wait behind us.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from connectors.sources.postgres.catalog import Catalog, SourceTable
from connectors.sources.postgres.libpq import Cells, Connection, QueryError, identifier, lsn_number
from connectors.sources.postgres.snapshot import page
from connectors.sources.postgres.visibility import Visibility
from exchange.errors import SourceError, TransientError

MARK: Final = "exchange.snapshot"
"""Prefix of the messages in the source's log that say how far a chunk is."""

_LOCK_TIMEOUT_MS: Final = 200
_LOCK_NOT_AVAILABLE: Final = "55P03"
_UNDEFINED_TABLE: Final = "42P01"
_READ_ONLY: Final = "25006"

_ESTIMATE: Final = """
    SELECT sum(greatest(c.reltuples, 0))::bigint FROM pg_class c
    WHERE c.oid = $1::oid OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid::regclass))
"""


@dataclass(frozen=True, slots=True)
class ChunkRead:
    """What one read brought. mark: every transaction that it has seen was committed before this log position.

    marked_by: xid of the transaction that wrote the mark; every one that had begun to write has a lower one.
    rows: None when none were asked for. last: there are no more behind them.
    """

    table: SourceTable
    seen: Visibility
    mark: int
    marked_by: int
    rows: list[Cells] | None
    last: bool
    estimated_rows: int = 0


class ChunkReader:
    """(start → result)* → close, one read at a time."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._thread = ThreadPoolExecutor(1, "chunk")
        self._connection: Connection | None = None
        self._future: Future[ChunkRead] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no read is under way."""
        return self._future is None

    def look(self, name: str, key: tuple[str, ...]) -> None:
        """Begin a read without rows: what the table is, and which transactions are seen now.

        key: the columns that its primary key must have, as key_columns() tells; empty: any.
        """
        self._start(lambda connection: self._read(connection, name, key, None))

    def read(self, name: str, key: tuple[str, ...], after: tuple[str, ...], limit: int) -> None:
        """Begin to read so many rows after a primary key."""
        self._start(lambda connection: self._read(connection, name, key, (after, limit)))

    def result(self) -> ChunkRead | None:
        """Return what the read brought, None while it goes on.

        Raises: TransientError when it may be tried again; SourceError when a person must act.
        """
        if self._future is None or not self._future.done():
            return None
        future, self._future = self._future, None
        return future.result()

    def abandon(self) -> None:
        """Forget the read under way, whatever comes of it; the next one waits for its end."""
        self._future = None

    def close(self) -> None:
        """End the read under way, and the connection."""
        if (connection := self._connection) is not None:
            connection.cancel()
        self._thread.shutdown(cancel_futures=True)
        self._disconnect()

    def _start(self, job: Callable[[Connection], ChunkRead]) -> None:
        self._future = self._thread.submit(self._run, job)

    def _run(self, job: Callable[[Connection], ChunkRead]) -> ChunkRead:
        if self._connection is None:
            self._connection = self._catalog.connect()
            self._connection.query(f"SET lock_timeout = {_LOCK_TIMEOUT_MS}")
            self._connection.query("SET synchronous_commit = local")
        try:
            return job(self._connection)
        except BaseException:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(
        self,
        connection: Connection,
        name: str,
        key: tuple[str, ...],
        wanted: tuple[tuple[str, ...], int] | None,
    ) -> ChunkRead:
        connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        self._lock(connection, name)
        table = self._catalog.describe(connection, name)
        if key and key != key_columns(table):
            msg = (
                f"table {name} had the primary key ({', '.join(key)}) when the snapshot began and has "
                f"({', '.join(key_columns(table))}) now; start another one"
            )
            raise SourceError(msg)
        ((seen,),) = connection.query("SELECT pg_current_snapshot()")
        rows, last, estimated_rows = None, False, 0
        if wanted is None:
            ((estimate,),) = connection.query(_ESTIMATE, [str(table.relation.oid)])
            estimated_rows = int(estimate or 0)
        else:
            after, limit = wanted
            rows = connection.query(page(table, bool(after), limit), after)
            last = len(rows) < limit
        connection.query("COMMIT")
        visibility, mark = Visibility.parse(seen or b""), self._mark(connection)
        return ChunkRead(table, visibility, *mark, rows, last, estimated_rows)

    def _lock(self, connection: Connection, name: str) -> None:
        schema, _, table = name.partition(".")
        try:
            connection.query(f"LOCK TABLE {identifier(schema)}.{identifier(table)} IN ACCESS SHARE MODE")
        except QueryError as error:
            if error.sqlstate == _LOCK_NOT_AVAILABLE:
                msg = f"table {name} is locked by someone who alters it; the read is tried again"
                raise TransientError(msg) from None
            if error.sqlstate == _UNDEFINED_TABLE:
                msg = f"table {name} does not exist any more; a new one is captured by `exchange resnapshot`"
                raise SourceError(msg) from None
            raise

    def _mark(self, connection: Connection) -> tuple[int, int]:
        """Write a mark into the log; return its position and xid: what was seen was committed before it."""
        try:
            ((lsn, xid),) = connection.query(
                f"SELECT pg_logical_emit_message(true, '{MARK}', ''), pg_current_xact_id()"
            )
        except QueryError as error:
            if error.sqlstate != _READ_ONLY:
                raise
            msg = (
                "the source is a standby, in whose log no mark can be written; take the snapshot from the "
                "primary, or use `exchange resnapshot`"
            )
            raise SourceError(msg) from None
        return lsn_number(lsn or b"0/0"), int(xid or 0)


def key_columns(table: SourceTable) -> tuple[str, ...]:
    """Return the columns of a table's primary key, each with its type."""
    return tuple(f"{name} {kind}" for name, kind in zip(table.key, table.key_types, strict=True))
