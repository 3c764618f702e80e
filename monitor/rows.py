"""Accounts as rows of the ClickHouse table `accounts`. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Literal

from exchange.account import Account

COLUMNS: Final = (
    "account_partition", "account_offset", "stage", "writer", "resource", "topic", "partition",
    "first_offset", "last_offset", "minute", "plan_version", "changes", "position_sum", "content_sum",
    "foreign_records", "view_topics", "view_delivered", "view_delivered_sums", "view_filtered",
    "view_filtered_sums", "view_records", "view_content_sums", "refused", "refused_sum", "refused_reasons",
    "refused_fields", "refused_changes", "made_at_ms", "readable_ms", "delay_buckets", "delay_changes",
)  # fmt: skip
STAGE: Final = COLUMNS.index("stage")
MADE_AT_MS: Final = COLUMNS.index("made_at_ms")

Row = tuple[Any, ...]


def account_row(partition: int, offset: int, account: Account, readable_ms: int) -> Row:
    """Return the row of an account that stands at a place of `_exchange.accounts`, in order of COLUMNS."""
    views = list(account.views.values())
    refusals = list(account.refused.items())
    return (
        partition, offset, account.stage, account.writer, account.resource, account.topic, account.partition,
        account.first_offset, account.last_offset, account.minute, account.plan_version, account.changes,
        account.position_sum, account.content_sum, account.foreign,
        [view.topic for view in views],
        [view.delivered for view in views],
        [view.delivered_sum for view in views],
        [view.filtered for view in views],
        [view.filtered_sum for view in views],
        [view.records for view in views],
        [view.content_sum for view in views],
        sum(changes for _, changes in refusals),
        account.refused_sum,
        [reason.value for (reason, _), _ in refusals],
        [field for (_, field), _ in refusals],
        [changes for _, changes in refusals],
        account.made_at_ms,
        readable_ms,
        list(account.delays.keys()),
        list(account.delays.values()),
    )  # fmt: skip


def row_of(partition: int, offset: int, encoded: bytes, now_ms: int, *, caught_up: bool) -> Row:
    """Return the row of a record of `_exchange.accounts`; its place alone where it is no account.

    caught_up: the record was read as soon as it could be. One from the backlog was readable long before; its
    making is the nearest known time.
    """
    try:
        account = Account.decode(encoded)
    except ValueError:
        return placeholder_row(partition, offset, "unreadable", offset, offset, now_ms)
    return account_row(
        partition, offset, account, max(now_ms, account.made_at_ms) if caught_up else account.made_at_ms
    )


def placeholder_row(
    partition: int, offset: int, stage: Literal["gap", "unreadable"], first: int, last: int, now_ms: int
) -> Row:
    """Return the row that keeps the place of accounts which could not be read (offsets first..last)."""
    nothing = Account("capture", writer="", resource="", topic="", minute=now_ms // 60_000)
    nothing.first_offset, nothing.last_offset, nothing.made_at_ms = first, last, now_ms
    row = account_row(partition, offset, nothing, now_ms)
    return (*row[:2], stage, *row[3:])


def token(table: str, topic: str, rows: Sequence[Row]) -> str:
    """Return the deduplication token of a batch: the hash of its place and its content.

    Another content never has the token of rows stored before, so nothing new is taken for a repetition.
    """
    partition, first, last = rows[0][0], rows[0][1], rows[-1][1]
    digest = hashlib.sha256(f"{table}\0{topic}\0{partition}\0{first}\0{last}\0".encode())
    for row in rows:
        digest.update(repr(row).encode())
    return digest.hexdigest()
