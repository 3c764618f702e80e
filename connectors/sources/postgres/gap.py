"""Refuses to go on where changes may be missing: what Kafka holds against what the source can still give."""

from __future__ import annotations

from connectors.sources.postgres.catalog import SlotState
from connectors.sources.postgres.libpq import lsn_text
from connectors.sources.postgres.replication import Identity
from exchange.errors import GapError
from exchange.position import SourcePosition


def refuse_gap(stored: SourcePosition, identity: Identity, slot_name: str, slot: SlotState | None) -> None:
    """Compare the position that Kafka holds with the database's history and its slot.

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
