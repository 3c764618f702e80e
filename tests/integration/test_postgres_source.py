"""What of the PostgreSQL source is its own; what it promises as every kind does is in tests/conformance."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from connectors.sources.postgres.copydata import Fill, OneByOne, filler
from connectors.sources.postgres.frames import Frames
from connectors.sources.postgres.replication import Replication
from exchange import pauses
from exchange.change import Op, Reason
from exchange.commands.acting import os_user
from exchange.governance.export import decisions_after
from exchange.governance.store import Store
from exchange.pauses import PAUSES, Pause, Wish
from exchange.resnapshots import RESNAPSHOTS, Resnapshot, Resnapshots, State
from tests.conformance import story
from tests.integration import orders_planted
from tests.integration.capture import PARTITIONS, Record, System
from tests.stack import Stack, wait_for

SHARES_STACK = True
ORDERS_PLANTED = str(Path(orders_planted.__file__))
TABLE = "public.person"
DDL = "CREATE TABLE person (id bigint PRIMARY KEY, name text, amount numeric(12,2))"


@pytest.fixture
def make(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Callable[..., System]]:
    made: list[System] = []

    def build(ddl: str = DDL, tables: tuple[str, ...] = (TABLE,), publish: bool = True) -> System:
        number = abs(hash(request.node.nodeid)) % 10**8
        system = System(stack, f"s{number}n{len(made)}", tables)
        made.append(system)
        system.db.execute(ddl.encode())
        if publish:
            system.publish()
        return system

    yield build
    for system in made:
        system.close()


def ops(records: list[Record]) -> list[str]:
    return [record.header.op.value for record in sorted(records, key=lambda record: record.at)]


def final_state(records: list[Record]) -> dict[int, Any]:
    return story.final_state(records)


def assert_nothing_twice_and_in_order(records: list[Record]) -> None:
    assert (story.twice(records), story.out_of_order(records)) == ([], [])


def source_state(system: System) -> dict[int, Any]:
    rows = system.db.execute("SELECT id, name, amount FROM person").fetchall()
    return {row[0]: {"id": row[0], "name": row[1], "amount": row[2]} for row in rows}


def mark(system: System, number: int) -> None:
    system.execute("INSERT INTO person VALUES (%s, 'mark', 0)", number)


def has_mark(number: int) -> Callable[[list[Record]], bool]:
    return lambda records: any(record.key == {"id": number} for record in records)


def frames_of(system: System, slot: str, fill: Callable[[Any], Fill], inserts: int) -> list[bytes]:
    """What a slot sends up to so many inserts, without log positions and times."""
    replication = Replication(system.name, SecretStr(system.dsn))
    replication._fill = fill(replication._connection.raw)
    replication.start(slot, system.slot, 0)
    found: list[bytes] = []
    try:
        while sum(message[:1] == b"I" for message in found) < inserts:
            frames = Frames()
            replication.fill(frames)
            while not frames.all_taken:
                message = replication.unwrap(frames.take())
                found += [message] if isinstance(message, bytes) and message[:1] in b"RIUD" else []
            replication.wait(1)
    finally:
        replication.close()
    return found


def test_frames_read_natively_are_those_that_psycopg_gives(make: Callable[..., System]) -> None:
    system = make()
    for slot in ("natively", "one_by_one"):
        system.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", slot)
    try:
        for size in (0, 100, 20_000, 3_000_000, 1):
            system.execute(
                "INSERT INTO person SELECT %s + g, repeat('x', %s) FROM generate_series(1, 300) g LIMIT %s",
                *(size * 1000, size, 300 if size < 1_000_000 else 2),
            )
        natively = frames_of(system, "natively", filler, 1202)
        assert natively == frames_of(system, "one_by_one", OneByOne, 1202)
    finally:
        for slot in ("natively", "one_by_one"):
            drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
            wait_for(lambda slot=slot: not is_read(system, slot), "an unread slot")  # type: ignore[misc]
            system.execute(drop, slot)


def is_read(system: System, slot: str) -> bool:
    return bool(
        system.db.execute(
            "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND active", [slot]
        ).fetchall()
    )


def test_without_native_clients_the_same_is_captured(make: Callable[..., System]) -> None:
    system = make(DDL + "; ALTER TABLE person REPLICA IDENTITY FULL")
    with system.connector(EXCHANGE_NATIVE="off") as connector:
        connector.says("stream_started")
        system.execute("INSERT INTO person SELECT g, '王', 12.34 FROM generate_series(1, 5000) g")
        system.execute("UPDATE person SET amount = id")
        records = system.wait_for_records(TABLE, lambda r: len(r) >= 10_000, "all changes")
        assert "EXCHANGE_NATIVE=off" in connector.text()
    assert Counter(ops(records)) == {"c": 5000, "u": 5000}
    assert final_state(records) == source_state(system)
    assert_nothing_twice_and_in_order(records)


def test_full_replica_identity_gives_before_images_and_unchanged_large_values(
    make: Callable[..., System],
) -> None:
    system = make(
        DDL + "; ALTER TABLE person REPLICA IDENTITY FULL; ALTER TABLE person ALTER name SET STORAGE EXTERNAL"
    )
    large = "x" * 20_000
    system.execute("INSERT INTO person VALUES (1, %s, 1)", large)
    with system.connector() as connector:
        connector.says("stream_started")
        system.execute("UPDATE person SET amount = 2 WHERE id = 1")
        records = system.wait_for_records(TABLE, lambda r: len(r) >= 2, "the update")
    (update,) = [record for record in records if record.header.op is Op.UPDATE]
    assert update.value["before"]["name"] == update.value["after"]["name"] == large
    assert (str(update.value["before"]["amount"]), str(update.value["after"]["amount"])) == ("1.00", "2.00")


def test_key_that_is_stored_out_of_line_is_no_changed_key(make: Callable[..., System]) -> None:
    ddl = "CREATE TABLE person (id text PRIMARY KEY, name text)"
    system = make(ddl + "; ALTER TABLE person ALTER id SET STORAGE EXTERNAL")
    key = "k" * 2_500
    with system.connector() as connector:
        connector.says("stream_started")
        system.execute("INSERT INTO person VALUES (%s, 'old')", key)
        system.execute("UPDATE person SET name = 'new'")
        records = system.wait_for_records(TABLE, lambda r: len(r) >= 2, "the update")
    assert ops(records) == ["c", "u"]
    assert [record.value["after"] for record in records] == [
        {"id": key, "name": "old"},
        {"id": key, "name": "new"},
    ]


def test_refused_changes_go_sealed_to_quarantine_and_are_counted(make: Callable[..., System]) -> None:
    system = make(DDL + "; ALTER TABLE person ALTER name SET STORAGE EXTERNAL")
    with system.connector() as connector:
        connector.says("stream_started")
        system.execute("INSERT INTO person VALUES (1, 'canary', 'NaN')")
        system.execute("INSERT INTO person VALUES (2, %s, 1)", "y" * 2_000_000)
        system.execute("INSERT INTO person VALUES (3, %s, 1)", "z" * 20_000)
        system.execute("UPDATE person SET amount = 2 WHERE id = 3")
        system.execute("UPDATE person SET amount = 5 WHERE id = 1")
        mark(system, 4)
        records = system.wait_for_records(TABLE, has_mark(4), "the last change")
        log = connector.text()
    refused = system.refused(TABLE)
    assert Counter((record.reason, record.field) for record in refused) == {
        (Reason.UNREPRESENTABLE, "amount"): 1,
        (Reason.TOO_LARGE, ""): 1,
        (Reason.UNCHANGED_TOAST, "name"): 1,
    }
    by_reason = {record.reason: record for record in refused}
    _, value = system.opened(by_reason[Reason.UNREPRESENTABLE])
    assert json.loads(value or b"")["after"] == {"id": "1", "name": "canary", "amount": "NaN"}
    key, value = system.opened(by_reason[Reason.TOO_LARGE])
    assert key is not None
    assert value is None
    assert by_reason[Reason.TOO_LARGE].payload_bytes > 2_000_000
    assert Counter(ops(records)) == {"c": 2, "u": 1}
    accounts = system.accounts(TABLE)
    assert sum(account.changes for account in accounts) == 6
    assert sum(sum(account.refused.values()) for account in accounts) == 3
    assert "canary" not in log


def test_new_column_in_mid_stream_gets_a_new_schema_version(make: Callable[..., System]) -> None:
    system = make()
    with system.connector() as connector:
        connector.says("stream_started")
        mark(system, 1)
        system.execute("ALTER TABLE person ADD COLUMN extra date DEFAULT '2024-02-29'")
        mark(system, 2)
        records = system.wait_for_records(TABLE, has_mark(2), "the change after ALTER")
    fields = {record.key["id"]: sorted(record.value["after"]) for record in records if record.key}
    assert fields == {1: ["amount", "id", "name"], 2: ["amount", "extra", "id", "name"]}


def test_position_never_shows_a_key_of_the_source(make: Callable[..., System]) -> None:
    system = make("CREATE TABLE person (id text PRIMARY KEY, name text, amount numeric)")
    system.execute("INSERT INTO person SELECT 'canary-' || g, '', 1 FROM generate_series(1, 2000) g")
    with system.connector() as connector:
        connector.says("stream_started")
    wait_for(lambda: len(system.positions()) > 2, "positions of the snapshot")
    positions = system.positions()
    assert not any(b"canary" in position for position in positions)


def test_dropped_slot_halts_and_resnapshot_mends_it(make: Callable[..., System]) -> None:
    system = make()
    system.execute("INSERT INTO person VALUES (1, 'stays', 1), (2, 'goes', 1)")
    with system.connector() as connector:
        connector.says("stream_started")
    system.drop_slot()
    system.execute("DELETE FROM person WHERE id = 2")
    with system.connector() as connector:
        assert connector.ends() == 1
        assert f"slot {system.slot} no longer exists in the database" in connector.text()
        assert f"exchange resnapshot {system.name}" in connector.text()
    system.run("resnapshot", system.name, "--yes")
    with system.connector() as connector:
        connector.says("stream_started")
        mark(system, 3)
        records = system.wait_for_records(TABLE, has_mark(3), "the change after the new snapshot")
    assert final_state(records) == source_state(system)
    assert_nothing_twice_and_in_order(records)


def test_giving_up_a_position_is_noted_in_the_name_of_who_ran_it(make: Callable[..., System]) -> None:
    system = make()
    assert system.result("resnapshot", system.name, "--yes").returncode == 1
    mark(system, 1)
    with system.connector():
        system.wait_for_records(TABLE, has_mark(1), "the row")
    system.run("resnapshot", system.name, "--table", TABLE, "--yes")
    user, about = os_user(), f"resnapshot {system.name}"
    with Store.of(system.stack.settings) as store:
        told = [one for one in decisions_after(store, 0) if one.about.startswith(about)]
    assert [(one.actor, one.by, one.outcome, one.about) for one in told] == [
        (user, user, "refused", about),
        (user, user, "done", f"{about} {TABLE}"),
    ]


def test_recreated_slot_halts(make: Callable[..., System]) -> None:
    system = make()
    with system.connector() as connector:
        connector.says("stream_started")
    system.drop_slot()
    mark(system, 1)
    system.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", system.slot)
    with system.connector() as connector:
        assert connector.ends() == 1
        assert "it was moved or made anew" in connector.text()


def test_publication_missing_for_a_while_halts_although_it_is_back(make: Callable[..., System]) -> None:
    system = make()
    with system.connector() as connector:
        connector.says("stream_started")
        mark(system, 1)
        system.wait_for_records(TABLE, has_mark(1), "the first change")
    publication = system.slot
    system.db.execute(f"DROP PUBLICATION {publication}".encode())
    with system.connector() as connector:
        assert connector.ends() == 1
        assert f"publication {publication} does not exist; run `exchange apply`" in connector.text()
    mark(system, 2)
    system.db.execute(f"CREATE PUBLICATION {publication} FOR TABLE person".encode())
    mark(system, 3)
    with system.connector() as connector:
        assert connector.ends() == 1
        assert f"table {TABLE} was taken out of the publication for a while" in connector.text()
    assert not has_mark(3)(system.records(TABLE))


def test_publication_dropped_under_a_running_connector_halts_it(make: Callable[..., System]) -> None:
    system = make()
    with system.connector() as connector:
        connector.says("stream_started")
        mark(system, 1)
        system.wait_for_records(TABLE, has_mark(1), "the first change")
        system.db.execute(f"DROP PUBLICATION {system.slot}".encode())
        mark(system, 2)
        assert connector.ends() == 1
        assert "publication" in connector.text()
        assert "exchange " in connector.text()
    assert not has_mark(2)(system.records(TABLE))


@pytest.mark.parametrize(
    ("ddl", "text"),
    [
        ("CREATE TABLE person (id int)", "table public.person has no primary key; give it one"),
        (DDL + "; ALTER TABLE person REPLICA IDENTITY NOTHING", "has replica identity NOTHING"),
        ("CREATE TABLE other (id int PRIMARY KEY)", "table public.person does not exist"),
    ],
)
def test_table_that_cannot_be_captured_is_refused_before_a_slot_is_made(
    make: Callable[..., System], ddl: str, text: str
) -> None:
    system = make(ddl, publish=False)
    system.publish(of="ALL TABLES")
    with system.connector() as connector:
        assert connector.ends() == 1
        assert text in connector.text()
    assert (
        system.db.execute("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", [system.slot]).fetchall()
        == []
    )


def test_wrong_password_is_told_without_the_drivers_text(make: Callable[..., System]) -> None:
    system = make()
    wrong = system.dsn.replace(":" + system.dsn.split(":")[2].split("@")[0] + "@", ":canary-password@")
    with system.connector(**{system.secret: wrong}) as connector:
        assert connector.ends() == 1
        assert "refused the user's password; correct the connection string" in connector.text()
        assert "canary-password" not in connector.text()


def test_source_that_is_away_is_waited_for(make: Callable[..., System]) -> None:
    system = make()
    away = "postgresql://postgres:x@127.0.0.1:9/x"
    with system.connector(**{system.secret: away}) as connector:
        connector.says("cannot be reached")
        assert connector.process.poll() is None
        assert connector.stop() == 0


def test_lost_source_connection_is_taken_up_again(make: Callable[..., System]) -> None:
    system = make()
    with system.connector() as connector:
        connector.says("stream_started")
        system.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = %s",
            f"exchange-connector-{system.name}",
        )
        connector.says("waiting")
        mark(system, 1)
        records = system.wait_for_records(TABLE, has_mark(1), "the change after the break")
    assert ops(records) == ["c"]


def test_table_added_later_is_read_first_and_nothing_else_again(make: Callable[..., System]) -> None:
    system = make(DDL + "; CREATE TABLE firm (id bigint PRIMARY KEY, name text, amount numeric(12,2))")
    system.execute("INSERT INTO firm VALUES (1, 'there before', 1)")
    mark(system, 1)
    with system.connector() as connector:
        connector.says("stream_started")
        system.add_table("public.firm")
        system.publish_plan(2)
        assert connector.ends() == 3
    with system.connector() as connector:
        connector.says("stream_started")
        system.execute("INSERT INTO firm VALUES (2, 'new', 1)")
        firms = system.wait_for_records("public.firm", has_mark(2), "the new row")
    assert ops(firms) == ["r", "c"]
    assert ops(system.records(TABLE)) == ["r"]


def test_idle_slot_moves_on_while_unpublished_tables_are_written(make: Callable[..., System]) -> None:
    system = make(DDL + "; CREATE TABLE noise (x text)")
    with system.connector() as connector:
        connector.says("stream_started")

        def confirmed() -> int:
            row = system.db.execute(
                "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = %s",
                [system.slot],
            ).fetchone()
            return int(row[0]) if row else 0

        before = confirmed()
        system.execute("INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
        wait_for(lambda: confirmed() > before + 1_000_000, "the slot to move on")
    assert system.records(TABLE) == []


# --- pauses -------------------------------------------------------------------------------------------------


def wish(system: System, wanted: Wish) -> None:
    pause = Pause(operation="1f", wish=wanted, by="chen-hao", since_ms=0, reason="the disk is moved")
    PAUSES.give(system.stack.settings.kafka_client("admin"), system.name, pause)


def is_paused(system: System) -> bool:
    return system.heartbeat().get("state") == pauses.PAUSED


def lag_of(system: System) -> int:
    return int(system.heartbeat().get("figures", {}).get("lag_bytes", -1))


def write_in_pause(system: System) -> None:
    system.execute("INSERT INTO person SELECT g, 'in pause', 1 FROM generate_series(10, 3000) g")
    system.execute("UPDATE person SET name = 'changed' WHERE id BETWEEN 20 AND 29")
    system.execute("DELETE FROM person WHERE id = 30")


def test_a_paused_connector_writes_nothing_over_kill_and_then_tells_every_change_once(
    make: Callable[..., System],
) -> None:
    system = make()
    with system.connector() as connector:
        connector.says("stream_started")
        mark(system, 1)
        system.wait_for_records(TABLE, has_mark(1), "the first row")
        wish(system, Wish.PAUSE)
        wait_for(lambda: is_paused(system), "the heartbeat of a paused connector", 120)
        kept = (len(system.records(TABLE)), system.positions(), system.slot_figures()[1])
        write_in_pause(system)
        wait_for(lambda: lag_of(system) > 100_000, "the log that is kept is seen in the pause", 120)
        figures = system.heartbeat()["figures"]
        assert (figures["paused_operation"], figures["paused_by"]) == ("1f", "chen-hao")
        assert (figures["paused_since_ms"], figures["paused_reason"]) == (0, "the disk is moved")
        connector.kill()
    with system.connector() as connector:
        connector.says("capture_paused")
        system.execute("INSERT INTO person VALUES (4000, 'after kill', 2)")
        before = lag_of(system)
        wait_for(lambda: lag_of(system) > before, "the log grows on", 120)
        assert (len(system.records(TABLE)), system.positions(), system.slot_figures()[1]) == kept
        assert "the disk is moved" not in connector.text()
        wish(system, Wish.RUN)
        connector.says("stream_started")
        mark(system, 5000)
        records = system.wait_for_records(TABLE, has_mark(5000), "what came after the pause")
        assert connector.stop() == 0
    assert final_state(records) == source_state(system)
    assert Counter(ops(records)) == {"c": 1 + 2991 + 1 + 1, "u": 10, "d": 1}
    assert_nothing_twice_and_in_order(records)


@pytest.mark.parametrize("fault", ["deaf", "forgets"])
def test_the_judges_of_a_pause_see_one_that_is_not_kept_and_one_that_loses_changes(
    make: Callable[..., System], fault: str
) -> None:
    """Planted: a connector that hears of no pause, and one that goes on behind what came in it."""
    system = make()
    with system.connector(ORDERS_PLANTED, fault) as connector:
        connector.says("stream_started")
        mark(system, 1)
        system.wait_for_records(TABLE, has_mark(1), "the first row")
        wish(system, Wish.PAUSE)
        if fault == "deaf":
            write_in_pause(system)
            records = system.wait_for_records(
                TABLE, lambda records: len(records) > 1, "a record in the pause"
            )
            assert len(records) > 1
            return
        connector.says("capture_paused")
        write_in_pause(system)
        wish(system, Wish.RUN)
        wait_for(lambda: connector.text().count("stream_started") == 2, "the stream after the pause", 120)
        mark(system, 5000)
        records = system.wait_for_records(TABLE, has_mark(5000), "what came after the pause")
    assert final_state(records) != source_state(system)


# --- read anew by order -------------------------------------------------------------------------------------


def order_anew(system: System, operation: str, table: str = "") -> None:
    order = Resnapshot(operation=operation, table=table, by="chen-hao", at_ms=0)
    RESNAPSHOTS.give(system.stack.settings.kafka_client("admin"), system.name, order)


def emptied(records: list[Record]) -> int:
    return sum(record.header.op is Op.TRUNCATE for record in records) // PARTITIONS


def last_order(system: System) -> Resnapshot:
    with Resnapshots(system.stack.settings.kafka_client("admin"), system.name) as orders:
        found = orders.read()
    assert found is not None
    return found


def test_an_order_to_read_anew_is_carried_out_once_over_kill_and_mends_a_halt(
    make: Callable[..., System],
) -> None:
    system = make()
    order_anew(system, "0f")
    with system.connector() as connector:
        connector.says("read_anew_refused")  # there is nothing to give up yet
        connector.says("stream_started")
        mark(system, 1)
        system.wait_for_records(TABLE, has_mark(1), "the first row")
        order_anew(system, "1f", TABLE)
        connector.says("read_anew ")
        connector.kill()
    with system.connector() as connector:
        connector.says("stream_started")
        mark(system, 2)
        records = system.wait_for_records(TABLE, has_mark(2), "a row behind it")
        assert (emptied(records), "read_anew " in connector.text()) == (1, False)
        connector.kill()
    system.drop_slot()
    system.execute("DELETE FROM person WHERE id = 1")
    with system.connector() as connector:
        assert connector.ends() == 1, connector.text()
    order_anew(system, "2f")
    with system.connector() as connector:
        connector.says("stream_started")
        mark(system, 3)
        records = system.wait_for_records(TABLE, has_mark(3), "a row behind the second")
    assert (emptied(records), final_state(records)) == (2, source_state(system))
    found = last_order(system)
    assert (found.operation, found.state) == ("2f", State.BEGUN)


def test_the_judge_of_orders_sees_one_that_is_carried_out_twice(make: Callable[..., System]) -> None:
    """Planted: that it is begun is not noted with it."""
    system = make()
    with system.connector(ORDERS_PLANTED, "repeats") as connector:
        connector.says("stream_started")
        mark(system, 1)
        system.wait_for_records(TABLE, has_mark(1), "the first row")
        order_anew(system, "1f")
        system.wait_for_records(TABLE, lambda records: emptied(records) == 1, "the emptying")
        connector.kill()
    with system.connector(ORDERS_PLANTED, "repeats"):
        records = system.wait_for_records(TABLE, lambda records: emptied(records) > 1, "a second one")
    assert emptied(records) > 1
