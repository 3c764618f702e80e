"""Reads what was in the tables before the stream began, in chunks along the primary key.

The first attempt reads under the snapshot that the new slot exported: exactly the state at the slot's
consistent point. After a restart the rest is read fresh, each chunk as it is then; those rows may be newer
than the point, and the stream, which still starts there, brings every change since in order. Either way the
last record of a key is its last state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from connectors.sources.chunks import Chunk, Chunks
from connectors.sources.postgres.catalog import SourceTable
from connectors.sources.postgres.libpq import Cells, Connection, identifier
from exchange import log
from exchange.errors import TransientError
from exchange.position import SnapshotProgress

_log = log.get(__name__)

_CEILING: Final = """
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_snapshot_xmax(pg_current_snapshot())
           ELSE pg_current_xact_id() END
"""
"""A snapshot's xmax is behind the last transaction that ended; those that are open may lie beyond."""
_WAIT_LOG_S: Final = 10.0
_WAIT_ROUND_S: Final = 0.2


class Snapshot:
    """begin → chunk* → close. `tables` are read in their order; those already complete are not among them."""

    def __init__(
        self, connection: Connection, tables: Mapping[str, SourceTable], progress: SnapshotProgress
    ) -> None:
        self._connection = connection
        self._chunks = Chunks(tables, progress, self._read, key_texts)

    def begin(self, exported: str | None, stopping: Callable[[], bool]) -> None:
        """Bind the reads to an exported snapshot, or prepare fresh reads.

        Fresh reads wait for the transactions that run now: one that began before a table was published is
        not in the stream, so it has to be in the read.
        """
        if exported is None:
            self._wait_for_running_transactions(stopping)
            return
        self._connection.query("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        self._connection.query(f"SET TRANSACTION SNAPSHOT '{exported}'")

    def chunk(self) -> Chunk[SourceTable, Cells] | None:
        """Return the next chunk, which is empty for an empty table's end; None when all tables are done."""
        return self._chunks.next()

    def close(self) -> None:
        """Close the connection and with it the snapshot."""
        self._connection.close()

    def _read(self, table: SourceTable, last_key: tuple[str, ...], limit: int) -> list[Cells]:
        return self._connection.query(page(table, bool(last_key), limit), last_key)

    def _wait_for_running_transactions(self, stopping: Callable[[], bool]) -> None:
        ((ceiling,),) = self._connection.query(_CEILING)
        began = logged = time.monotonic()
        while True:
            sql = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::xid8"
            ((passed,),) = self._connection.query(sql, [ceiling])
            if passed == b"t":
                return
            if stopping():
                raise TransientError("stopped while waiting for running transactions")  # noqa: EM101
            if time.monotonic() - logged > _WAIT_LOG_S:
                logged = time.monotonic()
                _log.info(
                    "waiting_for_running_transactions",
                    system=self._connection.system,
                    waited_s=round(logged - began),
                    hint="a transaction that is older than the snapshot is still open in the source",
                )
            time.sleep(_WAIT_ROUND_S)


def page(table: SourceTable, resumed: bool, limit: int) -> str:
    """Return the query for the next rows in key order; resumed: after a key, which are its parameters."""
    columns = ", ".join(identifier(column.name) for column in table.relation.columns)
    key = ", ".join(map(identifier, table.key))
    only = "" if table.partitioned else "ONLY "
    place = f"{identifier(table.relation.schema)}.{identifier(table.relation.table)}"
    after = ""
    if resumed:
        marks = ", ".join(f"${at}::{kind}" for at, kind in enumerate(table.key_types, 1))
        after = f" WHERE ({key}) > ({marks})"
    return f"SELECT {columns} FROM {only}{place}{after} ORDER BY {key} LIMIT {limit}"  # noqa: S608 - quoted


def key_texts(table: SourceTable, row: Cells) -> tuple[str, ...]:
    """Return a row's primary key as such parameters."""
    at = {column.name: number for number, column in enumerate(table.relation.columns)}
    return tuple((row[at[name]] or b"").decode() for name in table.key)
