"""Rows of a file as one batch: the next commit position, and the file's progress beside them."""

from __future__ import annotations

import secrets as random_secrets
import time
from collections.abc import Sequence
from dataclasses import replace

from connectors.rowrecord import Row, RowRecords
from connectors.source import Batch
from exchange.change import Position, stream_id
from exchange.position import SourcePosition


def first_position(system: str) -> SourcePosition:
    """Return where a history of files begins; its id tells its positions from those of any other."""
    return SourcePosition(system, random_secrets.token_hex(8), 0, "", 0)


def step_batch(
    records: RowRecords, rows: Sequence[Row], position: SourcePosition, receipt: tuple[str, bytes, bytes]
) -> tuple[Batch, SourcePosition]:
    """Return the batch of some rows, and the position after it. receipt: topic, key and value."""
    now_ms = time.time_ns() // 1_000_000
    stream = stream_id(position.system, position.system_identifier, 0)
    after = replace(position, commit=position.commit + 1, index=len(rows) - 1)
    changes = [
        records.captured(row, Position(stream, after.commit, index), now_ms, now_ms)
        for index, row in enumerate(rows)
    ]
    return Batch(changes, after, receipts=[receipt]), after
