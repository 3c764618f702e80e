"""Examines what a PostgreSQL keeps for slots, and how long its disk would bear a connector that is away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import psycopg
from psycopg.rows import DictRow

from exchange.doctor.finding import MIB, Finding, Level, Patient, mib

_HOUR_S: Final = 3600
_SHORTEST_OUTAGE_H: Final = 12.0
"""A night: shorter than this, nobody may be there before the limit is reached."""
_SHORTEST_MEASURE_S: Final = 3600
"""Statistics of less than an hour say little of a day's log."""

_SLOTS: Final = """
SELECT slot_name::text AS name, plugin::text, database::text, active, wal_status,
       database = current_database() AS here,
       coalesce(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END
                - restart_lsn, 0)::bigint AS kept_bytes
FROM pg_replication_slots
"""
_LOG: Final = """
SELECT (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS most_kept_mib,
       wal_bytes::bigint AS written_bytes, extract(epoch FROM clock_timestamp() - stats_reset)::bigint AS in_s
FROM pg_stat_wal
"""


def slot_findings(patient: Patient, connection: psycopg.Connection[DictRow]) -> Iterator[Finding]:
    """Return what is found about the system's slot, others' slots, and the room for log."""
    system = patient.topology.databases()[patient.system]
    ours = patient.topology.slot(patient.system)
    for slot in connection.execute(_SLOTS).fetchall():
        if slot["name"] == ours:
            yield from _own_slot(patient.system, slot, system.protect_wal_bytes)
        elif not slot["active"] and slot["kept_bytes"] > system.protect_wal_bytes:
            yield Finding(
                "other_slots",
                Level.WARNING,
                f"slot {slot['name']}, which is not ours, is not read and keeps {mib(slot['kept_bytes'])}",
                "its log fills the same disk",
                f"SELECT pg_drop_replication_slot('{slot['name']}'); -- once its owner agrees",
            )
    row = connection.execute(_LOG).fetchone()
    if row is not None:
        yield from _room_for_log(row, system.protect_wal_bytes)


def _own_slot(system: str, slot: dict[str, Any], limit: int) -> Iterator[Finding]:
    name, kept = slot["name"], slot["kept_bytes"]
    if slot["plugin"] != "pgoutput" or not slot["here"]:
        yield Finding(
            "slot",
            Level.ERROR,
            f"slot {name} is of another plugin or database",
            "the connector does not touch what is not its own",
            "give the system another `slot` in topology.yaml",
        )
    elif slot["wal_status"] == "lost":
        yield Finding(
            "slot",
            Level.ERROR,
            f"the server has removed log that slot {name} needs (wal_status lost)",
            "changes are missing; the connector halts",
            f"exchange resnapshot {system}",
        )
    elif kept >= limit or slot["wal_status"] == "unreserved":
        yield Finding(
            "slot",
            Level.ERROR,
            f"slot {name} keeps {mib(kept)} of log (wal_status {slot['wal_status']})",
            "the department's disk fills, or the server removes the log and changes are missing",
            f"exchange connect {system}",
        )
    elif not slot["active"]:
        yield Finding(
            "slot",
            Level.WARNING,
            f"nobody reads slot {name}; it keeps {mib(kept)} of log",
            "the log grows until the connector runs again",
            f"exchange connect {system}",
        )
    else:
        yield Finding("slot", Level.NOTE, f"slot {name} is read and keeps {mib(kept)} of log")


def _room_for_log(row: dict[str, Any], limit: int) -> Iterator[Finding]:
    most = row["most_kept_mib"] * MIB
    if most < 0:
        yield Finding(
            "max_slot_wal_keep_size",
            Level.WARNING,
            "max_slot_wal_keep_size is not set: a slot may keep log until the disk is full",
            "a full disk stops the department's database; with a limit only the capture stops",
            f"ALTER SYSTEM SET max_slot_wal_keep_size = '{2 * limit // MIB}MB'; SELECT pg_reload_conf();",
        )
    elif most <= limit:
        yield Finding(
            "max_slot_wal_keep_size",
            Level.WARNING,
            f"max_slot_wal_keep_size is {mib(most)}, not more than the {mib(limit)} of protect_wal_bytes",
            "the server removes the log before the bus gives its alarm",
            f"set protect_wal_bytes of the system in topology.yaml below {most}",
        )
    if row["in_s"] is None or row["in_s"] < _SHORTEST_MEASURE_S:
        yield Finding(
            "disk_risk", Level.NOTE, "the server's statistics are younger than an hour: no estimate"
        )
        return
    an_hour = max(1, row["written_bytes"] * _HOUR_S // row["in_s"])
    hours = (limit if most < 0 else min(limit, most)) / an_hour
    yield Finding(
        "disk_risk",
        Level.WARNING if hours < _SHORTEST_OUTAGE_H else Level.NOTE,
        f"about {mib(an_hour)} of log are written an hour: with the connector away the limit is reached in "
        f"{hours:,.0f} h",
        "that long may an outage of the bus last before the source must be protected from it",
        "raise protect_wal_bytes in topology.yaml where the disk has room"
        if hours < _SHORTEST_OUTAGE_H
        else "",
    )
