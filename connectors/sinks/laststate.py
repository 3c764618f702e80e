"""What a batch leaves: each key's last change, and which partitions were emptied before. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from exchange.change import Op
from exchange.subscriber.reader import Received

Key = tuple[Any, ...]


@dataclass(slots=True)
class LastState:
    """rows: key → the record that the row is of; deleted: key → the delete; emptied: partition → offset.

    A partition was emptied by the truncate at that offset: what is left of it here came after.
    """

    rows: dict[Key, Received] = field(default_factory=dict)
    deleted: dict[Key, Received] = field(default_factory=dict)
    emptied: dict[int, int] = field(default_factory=dict)


def unfit(record: Received) -> str:
    """Return why a record tells no change: it is undecodable or lacks a part; empty when it tells one."""
    if record.problem or record.header is None:
        return record.problem or "no header"
    if record.header.tombstone or record.header.op is Op.TRUNCATE:
        return ""
    return (
        ""
        if record.key and (record.header.op is Op.DELETE or after(record))
        else "it lacks its key or its row"
    )


def after(record: Received) -> dict[str, Any]:
    """Return the row after a create, update or read; empty where there is none."""
    return (record.value or {}).get("after") or {}


def last_state(records: Iterable[Received], key_names: Sequence[str]) -> LastState:
    """Return what fit records leave, in their order. Tombstones follow their delete and say nothing more."""
    left = LastState()
    for record in records:
        header = record.header
        if header is None or header.tombstone:
            continue
        if header.op is Op.TRUNCATE:
            _empty(left, record)
            continue
        key = tuple((record.key or {})[name] for name in key_names)
        gone, there = (left.rows, left.deleted) if header.op is Op.DELETE else (left.deleted, left.rows)
        gone.pop(key, None)
        there[key] = record
    return left


def _empty(left: LastState, truncate: Received) -> None:
    partition = truncate.partition
    left.rows = {key: one for key, one in left.rows.items() if one.partition != partition}
    left.deleted = {key: one for key, one in left.deleted.items() if one.partition != partition}
    left.emptied[partition] = truncate.offset
