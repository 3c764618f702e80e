"""Watches the log that a PostgreSQL keeps for the connector's slot: it must not fill the department's disk.

A slot keeps the log from its restart_lsn on. Two things hold that back: changes that are not yet in Kafka
(the connector or Kafka is behind), and transactions that are open in the source, which may still commit.
Source: PostgreSQL 18 documentation, view pg_replication_slots.
"""

from __future__ import annotations

from typing import Final

from pydantic import SecretStr

from connectors.source import Retained
from connectors.sources.postgres.libpq import Cells, Connection
from exchange.errors import TransientError
from exchange.plan import PlannedSystem

_MIB: Final = 1024**2

_KEPT: Final = """
    WITH here AS (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()
                              ELSE pg_current_wal_lsn() END AS lsn)
    SELECT coalesce(here.lsn - s.restart_lsn, 0)::bigint,
           coalesce(here.lsn - s.confirmed_flush_lsn, 0)::bigint, s.wal_status, s.safe_wal_size
    FROM pg_replication_slots s, here
    WHERE s.slot_name = $1 AND s.plugin = 'pgoutput' AND s.database = current_database()
"""
_DROP: Final = """
    SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
    WHERE slot_name = $1 AND plugin = 'pgoutput' AND database = current_database()
"""


class SlotWatch:
    """The `Watch` protocol on one replication slot."""

    def __init__(self, system: PlannedSystem, dsn: SecretStr) -> None:
        self._system = system
        self._dsn = dsn
        self._connection: Connection | None = None

    def look(self) -> Retained:
        """Return what the slot keeps; nothing where there is no slot (yet)."""
        rows = self._query(_KEPT)
        return judged(self._system, rows[0]) if rows else Retained({})

    def release(self) -> None:
        """Drop the slot."""
        self._query(_DROP)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _query(self, sql: str) -> list[Cells]:
        """Run a statement on a connection that is kept, and made anew after an error."""
        if self._connection is None:
            self._connection = Connection(self._system.name, self._dsn)
        try:
            return self._connection.query(sql, [self._system.slot])
        except TransientError:
            self.close()
            raise


def judged(system: PlannedSystem, row: Cells) -> Retained:
    """Return what a slot's row means. row: bytes kept, bytes not confirmed, wal_status, safe_wal_size."""
    kept, behind = int(row[0] or 0), int(row[1] or 0)
    status = (row[2] or b"lost").decode()
    figures: dict[str, int | str] = {"retained_wal_bytes": kept, "lag_bytes": behind, "wal_status": status}
    if row[3] is not None:
        figures["safe_wal_bytes"] = int(row[3])
    past_limit = status != "lost" and kept >= system.protect_wal_bytes
    said = _said(system, status, past_limit=past_limit)
    if not said:
        return Retained(figures)
    alarm = (
        f"source {system.name}: its server keeps {kept / _MIB:,.0f} MiB of log for slot {system.slot}, "
        f"{said}. {_advice(kept, behind)}"
    )
    return Retained(figures, alarm, urgent=past_limit or status != "extended", past_limit=past_limit)


def _said(system: PlannedSystem, status: str, *, past_limit: bool) -> str:
    if past_limit:
        return f"more than the {system.protect_wal_bytes / _MIB:,.0f} MiB of protect_wal_bytes"
    return {
        "extended": "more than its max_wal_size foresees (wal_status extended)",
        "unreserved": "and removes it at its next checkpoint (wal_status unreserved)",
        "lost": "and has removed a part of it (wal_status lost): changes are missing",
    }.get(status, "")


def _advice(kept: int, behind: int) -> str:
    if behind < kept // 2:
        return (
            "Most of it is captured already and held by a transaction that is open in the source: find it "
            "with SELECT pid, xact_start FROM pg_stat_activity WHERE backend_xid IS NOT NULL ORDER BY 2, "
            "and end it"
        )
    return "Most of it is not captured yet: see that this connector and Kafka run and keep up"
