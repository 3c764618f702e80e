"""One table of a source goes wrong: it halts alone, is seen, and comes back whole once a person decides."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest

from exchange.change import Op
from tests.faults import planted
from tests.integration.capture import PARTITIONS, Record, Running, System
from tests.integration.test_postgres_source import assert_nothing_twice_and_in_order, final_state, ops
from tests.stack import Stack, wait_for

SHARES_STACK = True
PERSON, FIRM = "public.person", "public.firm"
FIRM_DDL: LiteralString = "CREATE TABLE firm (id bigint PRIMARY KEY, name text)"
DDL = FIRM_DDL + "; CREATE TABLE person (id bigint PRIMARY KEY, name text)"


@pytest.fixture
def system(stack: Stack, request: pytest.FixtureRequest) -> Iterator[System]:
    made = System(stack, f"t{abs(hash(request.node.nodeid)) % 10**8}", (PERSON, FIRM))
    made.db.execute(DDL)
    made.publish()
    made.execute("INSERT INTO firm SELECT g, 'first' FROM generate_series(1, 20) g")
    yield made
    made.close()


def publication(system: System, change: str) -> None:
    system.db.execute(f"ALTER PUBLICATION {system.slot} {change}".encode())


def recreate(system: System) -> None:
    system.execute("DROP TABLE firm")
    system.execute(FIRM_DDL)
    system.execute("INSERT INTO firm VALUES (7, 'before it was published')")
    publication(system, "ADD TABLE firm")


def republish(system: System) -> None:
    publication(system, "DROP TABLE firm")
    system.execute("DELETE FROM firm WHERE id > 5")
    system.execute("INSERT INTO firm VALUES (100, 'while it was out')")
    publication(system, "ADD TABLE firm")


def drop_key(system: System) -> None:
    system.execute("ALTER TABLE firm DROP CONSTRAINT firm_pkey")
    system.execute("INSERT INTO firm VALUES (100, 'without a key')")


RECREATED = "was dropped and made anew"
REPUBLISHED = "was taken out of the publication for a while"


def person_flows(system: System, number: int) -> None:
    system.execute("INSERT INTO person VALUES (%s, 'flows')", number)
    system.wait_for_records(PERSON, lambda r: any(x.key == {"id": number} for x in r), f"person {number}")


def halted(system: System, connector: Running, why: str) -> None:
    """The table is halted with its reason in log and heartbeat, and the other goes on."""
    connector.says("table_halted")
    said = wait_for(lambda: system.heartbeat().get("halted"), "the halt in the heartbeat")
    (reason,) = [halt["reason"] for halt in said]
    assert f"table {FIRM} " in reason
    assert why in reason
    assert f"exchange resnapshot {system.name} --table {FIRM}" in reason
    assert connector.process.poll() is None


def state(system: System) -> dict[int, Any]:
    rows = system.db.execute("SELECT id, name FROM firm").fetchall()
    return {row[0]: {"id": row[0], "name": row[1]} for row in rows}


def write_until(system: System, stop: threading.Event) -> None:
    with psycopg.connect(system.dsn, autocommit=True) as db:
        number = 0
        while not stop.wait(0.005):
            number += 1
            db.execute("UPDATE firm SET name = %s WHERE id < 4", [str(number)])
            db.execute("INSERT INTO firm VALUES (%s, 'new')", [1000 + number])
            if number % 3 == 0:
                db.execute("DELETE FROM firm WHERE id = %s", [1000 + number - 1])


def assert_comes_back_whole(system: System) -> list[Record]:
    """Read the table anew while it is written to; return the other table's records."""
    before = len(system.records(FIRM))
    stop = threading.Event()
    writer = threading.Thread(target=write_until, args=(system, stop))
    writer.start()
    try:
        system.run("resnapshot", system.name, "--table", FIRM, "--yes")
        with system.connector() as connector:
            connector.says("stream_started")
            more = before + PARTITIONS + len(state(system)) + 50
            system.wait_for_records(FIRM, lambda r: len(r) > more, "changes behind the new snapshot")
            stop.set()
            writer.join()
            system.execute("INSERT INTO firm VALUES (999999, 'last')")
            firms = system.wait_for_records(
                FIRM, lambda r: any(x.key == {"id": 999999} for x in r), "the last change"
            )
            person_flows(system, 99)
            assert connector.stop() == 0
    finally:
        stop.set()
        writer.join()
    assert final_state(firms) == state(system)
    assert_nothing_twice_and_in_order(firms)
    assert sum(record.header.op is Op.TRUNCATE for record in firms) == PARTITIONS
    return system.records(PERSON)


def test_table_made_anew_while_the_connector_was_down_halts_alone_and_comes_back_whole(
    system: System,
) -> None:
    with system.connector() as connector:
        connector.says("stream_started")
        person_flows(system, 1)
        assert connector.stop() == 0
    recreate(system)
    with system.connector() as connector:
        halted(system, connector, RECREATED)
        system.execute("INSERT INTO firm VALUES (101, 'after it')")
        person_flows(system, 2)
        assert connector.stop() == 0
    assert ops(system.records(FIRM)) == ["r"] * 20
    assert ops(assert_comes_back_whole(system)) == ["c"] * 3


def test_table_that_was_out_of_the_publication_halts_alone_and_stays_so(system: System) -> None:
    with system.connector() as connector:
        connector.says("stream_started")
        person_flows(system, 1)
        republish(system)
        system.execute("INSERT INTO firm VALUES (101, 'after it')")
        halted(system, connector, REPUBLISHED)
        assert connector.stop() == 0
    with system.connector() as connector:
        halted(system, connector, REPUBLISHED)
        person_flows(system, 2)


def test_table_that_loses_its_key_halts_alone(system: System) -> None:
    with system.connector() as connector:
        connector.says("stream_started")
        drop_key(system)
        halted(system, connector, "no longer has a primary key")
        person_flows(system, 1)


def test_publication_that_is_only_widened_halts_nothing(system: System) -> None:
    system.execute("CREATE TABLE more (id int PRIMARY KEY)")
    with system.connector() as connector:
        connector.says("stream_started")
        assert connector.stop() == 0
    publication(system, "SET TABLE person, firm, more")
    system.execute("TRUNCATE firm")
    system.execute("ALTER TABLE firm ADD COLUMN extra text")
    system.execute("INSERT INTO firm VALUES (1, 'goes on')")
    with system.connector() as connector:
        firms = system.wait_for_records(
            FIRM, lambda r: any(x.key == {"id": 1} and x.header.op is Op.CREATE for x in r), "the change"
        )
        assert "table_halted" not in connector.text()
    assert ops(firms) == ["r"] * 20 + ["t"] * PARTITIONS + ["c"]


def test_a_connector_that_takes_any_table_of_the_name_is_found_out(system: System) -> None:
    """Control: the same harm to a connector that does not look; its views differ from the source for good."""
    with system.connector(planted.__file__, "any-table") as connector:
        connector.says("stream_started")
        assert connector.stop() == 0
    republish(system)
    system.execute("INSERT INTO firm VALUES (101, 'after it')")
    with system.connector(planted.__file__, "any-table") as connector:
        firms = system.wait_for_records(
            FIRM, lambda r: any(x.key == {"id": 101} for x in r), "the change after it"
        )
        assert "table_halted" not in connector.text()
    assert final_state(firms) != state(system)
