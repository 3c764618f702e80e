"""What is larger than memory, what was rolled back, and a server that is another one than before."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from exchange.local import postgres, process
from exchange.local.home import Home
from exchange.plan import raw_topic
from tests.faults import planted
from tests.integration.capture import PARTITIONS, Running, System
from tests.stack import Stack, wait_for

SHARES_STACK = True
TABLE = "public.person"
ROWS = int(os.environ.get("EXCHANGE_LARGE_ROWS", "200000"))
"""Of the large transaction; a row is some 600 bytes of raw record. EXCHANGE_LARGE_ROWS=1000000 for more."""
WARM_ROWS = 40_000
BOUND_BYTES = 80_000_000
"""How much more memory a large transaction may take than one of two batches."""


@pytest.fixture
def system(stack: Stack, request: pytest.FixtureRequest) -> Iterator[System]:
    made = System(stack, f"l{abs(hash(request.node.nodeid)) % 10**8}", (TABLE,))
    made.execute("CREATE TABLE person (id bigint PRIMARY KEY, name text)")
    made.publish()
    yield made
    made.close()


def insert(db: psycopg.Connection[object], first: int, rows: int, name: str = "kept") -> None:
    db.execute(
        "INSERT INTO person SELECT g, rpad(%s, 500, 'x') FROM generate_series(%s::bigint, %s) g",
        [name, first, first + rows - 1],
    )


def captured(system: System) -> int:
    return sum(account.changes for account in system.accounts(TABLE))


def peak_while(connector: Running, done: Callable[[], bool], what: str) -> int:
    """Return the most memory that the connector had until `done`."""
    child, peak = psutil.Process(connector.process.pid), 0

    def look() -> bool:
        nonlocal peak
        peak = max(peak, child.memory_info().rss)
        return done()

    wait_for(look, what, 300)
    return peak


def warmed_up(system: System, connector: Running) -> int:
    connector.says("stream_started")
    insert(system.db, 1, WARM_ROWS)
    return peak_while(connector, lambda: captured(system) == WARM_ROWS, "the first transaction")


def values(system: System) -> Iterator[bytes]:
    """Yield what is readable on the raw topic, keeping nothing."""
    client = system.stack.settings.kafka_client("admin")
    consumer = Consumer(client | {"group.id": "limits", "isolation.level": "read_committed"})
    try:
        places = [TopicPartition(raw_topic(system.name, TABLE), number, 0) for number in range(PARTITIONS)]
        ends = {place.partition: consumer.get_watermark_offsets(place, 30)[1] for place in places}
        consumer.assign(places)
        while any(consumer.position([place])[0].offset < ends[place.partition] for place in places):
            yield from (message.value() or b"" for message in consumer.consume(5_000, 1))
    finally:
        consumer.close()


def test_large_transaction_takes_bounded_memory_and_what_was_rolled_back_is_never_seen(
    system: System,
) -> None:
    with system.connector() as connector, psycopg.connect(system.dsn) as other:
        before = warmed_up(system, connector)
        insert(other, 10_000_000, ROWS // 2)
        other.execute("SAVEPOINT half_way")
        insert(other, 20_000_000, ROWS // 4, "rolled-back")
        other.execute("ROLLBACK TO SAVEPOINT half_way")
        insert(other, 30_000_000, ROWS // 2)
        other.commit()
        insert(other, 40_000_000, 1000, "rolled-back")
        other.rollback()
        total = WARM_ROWS + 2 * (ROWS // 2)
        peak = peak_while(connector, lambda: captured(system) >= total, "the large transaction")
        insert(system.db, 50_000_000, 1, "last")
        wait_for(lambda: captured(system) == total + 1, "the last change")
    assert peak - before < BOUND_BYTES
    found = rolled_back = 0
    for value in values(system):
        found += 1
        rolled_back += b"rolled-back" in value
    assert (found, rolled_back) == (total + 1, 0)


def test_a_connector_that_gathers_whole_transactions_is_found_out(system: System) -> None:
    """Control: the same look at a connector without bounds."""
    with system.connector(planted.__file__, "boundless") as connector:
        connector.says("stream_started")
        child = psutil.Process(connector.process.pid)
        before = child.memory_info().rss
        insert(system.db, 1, ROWS)
        wait_for(lambda: child.memory_info().rss - before > BOUND_BYTES, "memory beyond the bound", 120)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def promoted_copy(stack: Stack, admin: psycopg.Connection[object], port: int) -> process.Running:
    """Copy the server as a base backup does, without its slots, and promote the copy."""
    home = Home(stack.home)
    data = Path(home.state().places["postgres"]) / "data"
    copy = data.with_name("copy")
    admin.execute("SELECT pg_backup_start('copy', true)")
    shutil.copytree(data, copy, ignore=shutil.ignore_patterns("postmaster.*", "pg_replslot"), symlinks=True)
    row = admin.execute("SELECT labelfile FROM pg_backup_stop(false)").fetchone()
    assert isinstance(row, tuple)
    shutil.copytree(data / "pg_wal", copy / "pg_wal", dirs_exist_ok=True)  # up to the end of the backup
    (copy / "pg_replslot").mkdir()
    (copy / "backup_label").write_text(str(row[0]))
    (copy / "standby.signal").touch()
    config = copy / "exchange.conf"
    config.write_text(config.read_text() + f"port = {port}\nrestore_command = 'false'\n")
    user = postgres._nobody() if os.geteuid() == 0 else None
    if user is not None:
        for path in (copy, *copy.rglob("*")):
            os.chown(path, user.uid, user.gid, follow_symlinks=False)
    copy.chmod(0o700)
    server = postgres._programs(user, print) / "bin" / "postgres"
    return process.start([server, "-D", copy], home.log("postgres-copy"), user=user)


def test_promoted_standby_halts_the_stream_although_it_holds_the_same_rows(
    system: System, stack: Stack
) -> None:
    with system.connector() as connector:
        connector.says("stream_started")
        insert(system.db, 1, 10)
        wait_for(lambda: captured(system) == 10, "the first changes")
        assert connector.stop() == 0
    port = free_port()
    with psycopg.connect(stack.postgres_dsn(), autocommit=True) as admin:
        running = promoted_copy(stack, admin, port)
    there = f"{system.dsn.rpartition(':')[0]}:{port}/{system.name}"
    try:
        wait_for(lambda: promoted(there), "the promotion of the copy", 120)
        with system.connector(**{system.secret: there}) as connector:
            assert connector.ends() == 1
            text = connector.text()
    finally:
        process.stop(running)
    assert "timeline 2: it was restored or failed over" in text
    assert f"exchange resnapshot {system.name}" in text
    assert captured(system) == 10


def promoted(dsn: str) -> bool:
    try:
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("SELECT pg_promote(false) WHERE pg_is_in_recovery()")
            return db.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
    except psycopg.OperationalError:
        return False
