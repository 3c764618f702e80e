"""A table of a million rows is read again beside a stream under load, and the view ends as the source."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest
from confluent_kafka import Message

from tests.checkers.committed import CommittedReader
from tests.checkers.wire import stamp
from tests.stack import wait_for
from tests.trial.growing import LAST, OLD, SYSTEM, Bus, growing_bus, writing

ROWS = int(os.environ.get("EXCHANGE_SNAPSHOT_ROWS", "1000000"))
HASHES = """
    SELECT id, ('x' || left(md5(concat_ws('|', id, note, size)), 16))::bit(64)::bigint FROM thing
"""

_SILENCES = 120
"""So often nothing came within half a second: what is missing then does not come."""

pytestmark = [pytest.mark.slow_faults, pytest.mark.timeout(3_600)]


@pytest.fixture
def bus() -> Iterator[Bus]:
    with growing_bus(ROWS) as running:
        yield running


def test_a_million_rows_read_again_under_load_leave_the_view_as_the_source(bus: Bus) -> None:
    first = CommittedReader(bus.stack.settings.kafka_client("admin"), [OLD])
    with bus.process("connect", SYSTEM), bus.process("stream"):
        seen = 0
        while seen < ROWS:
            seen += len(first.read(5))
        first.close()
        with writing(bus, ROWS, pause_s=0.001) as written:
            before, began = written(), time.monotonic()
            bus.run("snapshot", "start", SYSTEM, "--table", "public.thing")
            wait_for(lambda: bus.progress().state == "complete", "its end", 1_800)
            took_s, meanwhile = time.monotonic() - began, written() - before
        found = bus.progress()
        with psycopg.connect(bus.dsn, autocommit=True) as db:
            db.execute("INSERT INTO thing VALUES (%s, 'last', 1)", [LAST])
            source: dict[int, int] = dict(db.execute(HASHES).fetchall())
        view, records = replay(bus, source)
    sys.stderr.write(
        f"{ROWS:,} rows in {took_s:.0f} s, {ROWS / took_s:,.0f} rows/s in {found.chunks} chunks, "
        f"{meanwhile:,} statements meanwhile, {found.passed:,} rows newer in the stream, "
        f"{records:,} records in the view\n"
    )
    assert found.rows + found.passed >= ROWS - meanwhile
    assert len(view) == len(source)
    assert view == source


def replay(bus: Bus, source: dict[int, int]) -> tuple[dict[int, int], int]:
    """Return the hash of each row that the view leaves, once as the source or silent, and its changes."""
    rows: dict[int, int] = {}
    count, silent = 0, 0
    reader = CommittedReader(bus.stack.settings.kafka_client("admin"), [OLD])
    while rows != source and silent < _SILENCES:
        messages = reader.read(0.5)
        while messages:
            for message in messages:
                count += note(bus, rows, message)
            messages, silent = reader.read(0.5), 0
        silent += 1
    reader.close()
    return rows, count


def note(bus: Bus, rows: dict[int, int], message: Message) -> bool:
    """Take in one record; return whether it is a change."""
    stamped = stamp(message.headers())
    assert stamped is not None
    if stamped.tombstone:
        return False
    row = bus.schemas.decode(message.value() or b"")["after"]
    if row is None:
        rows.pop(bus.schemas.decode(message.key() or b"")["id"], None)
    else:
        digest = hashlib.md5(f"{row['id']}|{row['note']}|{row['size']}".encode()).digest()  # noqa: S324
        rows[row["id"]] = int.from_bytes(digest[:8], "big", signed=True)
    return True
