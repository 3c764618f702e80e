"""The department's disk: an idle stream keeps no log back, what is kept is seen, alarmed and bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import LiteralString

import psycopg
import pytest

from tests.faults import planted
from tests.integration.capture import System
from tests.stack import Stack, wait_for

SHARES_STACK = True
TABLE = "public.person"
DDL = "CREATE TABLE person (id bigint PRIMARY KEY, name text); CREATE TABLE noise (x text)"
NOISE: LiteralString = "INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 20000)"
"""Some 23 MB of log."""
LIMIT = 16 * 1024**2


@pytest.fixture
def make(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Callable[..., System]]:
    made: list[System] = []

    def build(**planned: object) -> System:
        name = f"g{abs(hash(request.node.nodeid)) % 10**8}n{len(made)}"
        system = System(stack, name, (TABLE,))
        made.append(system)
        system.planned = planned
        system.db.execute(DDL)
        system.publish()
        return system

    yield build
    for system in made:
        system.close()


def write_elsewhere(stack: Stack) -> None:
    """Write to another database of the same server: nothing that a connector of ours is sent."""
    with psycopg.connect(stack.postgres_dsn(), autocommit=True) as db:
        db.execute("CREATE TABLE IF NOT EXISTS elsewhere (x text)")
        db.execute("INSERT INTO elsewhere SELECT repeat('x', 1000) FROM generate_series(1, 5000)")
        db.execute(
            "CHECKPOINT"
        )  # writes which transactions run, from which the slot learns what it can let go


def moves_on(system: System, stack: Stack, timeout_s: float) -> bool:
    """Whether the slot, the log it keeps and the position in Kafka pass what was written elsewhere."""
    positions = len(system.positions())
    confirmed, restart = system.slot_figures()

    def moved() -> bool:
        write_elsewhere(stack)
        now = system.slot_figures()
        return now[0] > confirmed + 5e6 and now[1] > restart + 5e6 and len(system.positions()) > positions

    try:
        wait_for(moved, "the slot to move on", timeout_s)
    except AssertionError:
        return False
    return True


def test_idle_stream_lets_the_server_forget_what_others_wrote(
    make: Callable[..., System], stack: Stack
) -> None:
    system = make()
    with system.connector() as connector:
        connector.says("stream_started")
        assert moves_on(system, stack, 60)
        figures = wait_for(lambda: system.heartbeat().get("figures", {}).get("wal_status"), "figures")
    assert figures == "reserved"
    assert system.records(TABLE) == []


def test_a_connector_that_hears_no_keepalive_is_found_out(make: Callable[..., System], stack: Stack) -> None:
    """Control for the test before: the same look at a connector whose position stays."""
    system = make()
    with system.connector(planted.__file__, "deaf") as connector:
        connector.says("stream_started")
        assert not moves_on(system, stack, 15)


def test_log_held_by_an_open_transaction_is_alarmed_with_its_cause(make: Callable[..., System]) -> None:
    system = make(protect_wal_bytes=LIMIT)
    with system.connector() as connector, psycopg.connect(system.dsn) as other:
        connector.says("stream_started")
        other.execute("INSERT INTO noise VALUES ('open')")
        system.execute(NOISE)
        connector.says("source_keeps_log", 60)
        text = connector.text()
        assert "more than the 16 MiB of protect_wal_bytes" in text
        alarms = wait_for(lambda: system.heartbeat().get("alarms"), "an alarm in the heartbeat")
        assert f"MiB of log for slot {system.slot}" in alarms[0]
        assert system.heartbeat()["figures"]["retained_wal_bytes"] > LIMIT
        wait_for(lambda: "held by a transaction that is open" in str(system.heartbeat()), "the cause")
        assert connector.process.poll() is None


def test_past_the_limit_the_slot_goes_and_the_stream_halts_where_the_topology_says_so(
    make: Callable[..., System],
) -> None:
    system = make(protect_wal_bytes=LIMIT, protect_by="drop_slot")
    with system.connector() as connector, psycopg.connect(system.dsn) as other:
        connector.says("stream_started")
        other.execute("INSERT INTO noise VALUES ('open')")
        system.execute(NOISE)
        assert connector.ends(60) == 1
        text = connector.text()
    slots = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s"
    assert system.db.execute(slots, [system.slot]).fetchall() == []
    assert f"slot {system.slot} was dropped so that the server may forget its log" in text
    assert f"exchange resnapshot {system.name}" in text
    with system.connector() as connector:
        assert connector.ends() == 1
        assert f"slot {system.slot} no longer exists in the database" in connector.text()


def test_log_that_the_server_removed_halts_with_that_reason(
    make: Callable[..., System], stack: Stack
) -> None:
    system = make()
    with system.connector() as connector:
        connector.says("stream_started")
        connector.stop()
    with psycopg.connect(stack.postgres_dsn(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        admin.execute("SELECT pg_reload_conf()")
        try:
            lost = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND wal_status = 'lost'"

            def removed() -> bool:
                system.execute(NOISE)
                system.execute("SELECT pg_switch_wal()")
                system.execute("CHECKPOINT")
                return bool(admin.execute(lost, [system.slot]).fetchall())

            wait_for(removed, "the server to remove the log")
        finally:
            admin.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
            admin.execute("SELECT pg_reload_conf()")
    with system.connector() as connector:
        assert connector.ends() == 1
        text = connector.text()
    assert f"the server removed the log that slot {system.slot} needs (wal_status lost)" in text
    assert f"exchange resnapshot {system.name}" in text
