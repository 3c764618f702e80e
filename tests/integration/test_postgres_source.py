"""The PostgreSQL source on real PostgreSQL, Kafka and registry, as processes that are stopped and killed."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import pytest
from pydantic import SecretStr

from connectors.sources.postgres.copydata import Fill, OneByOne, filler
from connectors.sources.postgres.frames import Frames
from connectors.sources.postgres.replication import Replication
from exchange.change import Op, Reason
from tests.integration.capture import PARTITIONS, Record, System
from tests.stack import Stack, wait_for

SHARES_STACK = True
TABLE = "public.person"
DDL = "CREATE TABLE person (id bigint PRIMARY KEY, name text, amount numeric(12,2))"
ALL_TYPES = """
    CREATE TYPE mood AS ENUM ('ok', 'bad');
    CREATE DOMAIN positive AS numeric(6,2);
    CREATE TABLE person (
        id bigint PRIMARY KEY, s smallint, n numeric(12,3), nn numeric, t text, v varchar(10), c char(6),
        b bool, d date, ts timestamp, tz timestamptz, ti time, by bytea, j jsonb, u uuid, m mood, po positive,
        f4 real, f8 double precision, ia int[], ta text[], na numeric(5,2)[], ma mood[], iv interval,
        inet inet, "姓名" text)
"""


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
    """Replay the records per partition, as a subscriber would, and return what is left."""
    rows: dict[int, Any] = {}
    for record in records:
        if record.header.op is Op.TRUNCATE:
            rows = {key: row for key, row in rows.items() if row["_partition"] != record.partition}
        elif record.header.op is Op.DELETE:
            rows.pop((record.key or {})["id"], None)
        else:
            rows[(record.key or {})["id"]] = record.value["after"] | {"_partition": record.partition}
    return {key: {k: v for k, v in row.items() if k != "_partition"} for key, row in rows.items()}


def source_state(system: System) -> dict[int, Any]:
    rows = system.db.execute("SELECT id, name, amount FROM person").fetchall()
    return {row[0]: {"id": row[0], "name": row[1], "amount": row[2]} for row in rows}


def assert_nothing_twice_and_in_order(records: list[Record]) -> None:
    seen = Counter(record.at for record in records)
    assert [at for at, times in seen.items() if times > 1] == []
    last: dict[Any, tuple[int, int, int]] = {}
    for record in records:
        key = (record.partition, json.dumps(record.key, sort_keys=True))
        assert last.get(key, (0, 0, 0)) < record.at
        last[key] = record.at


def write_until(system: System, stop: threading.Event, seed: int) -> None:
    """Change random rows with a connection of its own until told to stop."""
    dice = random.Random(seed)
    with psycopg.connect(system.dsn, autocommit=True) as db:
        while not stop.wait(0.02):  # a pace that leaves the machine to the others
            first = dice.randrange(400)
            with db.transaction():
                for number in range(first, first + dice.randrange(1, 20)):
                    write_one(db, dice, number)


def write_one(db: psycopg.Connection[Any], dice: random.Random, number: int) -> None:
    match dice.randrange(4):
        case 0:
            db.execute("DELETE FROM person WHERE id = %s", [number])
        case 1:
            db.execute("UPDATE person SET amount = amount + 1 WHERE id = %s", [number])
        case _:
            sql = "INSERT INTO person VALUES (%s, %s, 1) ON CONFLICT (id) DO UPDATE SET name = excluded.name"
            db.execute(sql, [number, f"name {dice.random()}"])


def mark(system: System, number: int) -> None:
    system.execute("INSERT INTO person VALUES (%s, 'mark', 0)", number)


def has_mark(number: int) -> Callable[[list[Record]], bool]:
    return lambda records: any(record.key == {"id": number} for record in records)


def test_snapshot_and_stream_join_without_gap_under_concurrent_writers(make: Callable[..., System]) -> None:
    system = make()
    system.execute("INSERT INTO person SELECT g, 'first', 1 FROM generate_series(0, 5999) g")
    stop = threading.Event()
    writers = [threading.Thread(target=write_until, args=(system, stop, seed)) for seed in range(2)]
    for writer in writers:
        writer.start()
    try:
        with system.connector() as connector:
            connector.says("stream_started")
            system.wait_for_records(TABLE, lambda r: len(r) > 6500, "changes after the snapshot")
            stop.set()
            for writer in writers:
                writer.join()
            mark(system, 10_000)
            records = system.wait_for_records(TABLE, has_mark(10_000), "the last change")
            assert connector.stop() == 0
    finally:
        stop.set()
    assert final_state(records) == source_state(system)
    assert_nothing_twice_and_in_order(records)
    assert sum(account.changes for account in system.accounts(TABLE)) == len(records)


def test_insert_update_delete_key_change_and_truncate(make: Callable[..., System]) -> None:
    system = make()
    with system.connector() as connector:
        connector.says("stream_started")
        system.execute("INSERT INTO person VALUES (1, '王', 12.34)")
        system.execute("UPDATE person SET name = NULL WHERE id = 1")
        system.execute("UPDATE person SET id = 2 WHERE id = 1")
        system.execute("DELETE FROM person WHERE id = 2")
        system.execute("TRUNCATE person")
        records = system.wait_for_records(TABLE, lambda r: len(r) >= 5 + PARTITIONS, "eight records")
    records.sort(key=lambda record: record.at)
    assert ops(records) == ["c", "u", "d", "c", "d", *["t"] * PARTITIONS]
    created, updated, old, new, gone, *truncated = records
    assert created.value["after"] == {"id": 1, "name": "王", "amount": Decimal("12.34")}
    assert updated.value["before"] is None
    assert updated.value["after"]["name"] is None
    assert (old.key, new.key) == ({"id": 1}, {"id": 2})
    assert (old.at[:2], old.at[2], new.at[2]) == (new.at[:2], 0, 1)
    assert old.value["before"] == {"id": 1, "name": None, "amount": None}
    assert gone.key == {"id": 2}
    assert [(r.key, r.header.position.part, r.partition) for r in truncated] == [
        (None, number, number) for number in range(PARTITIONS)
    ]
    assert created.value["source"]["ts_ms"] == created.header.source_ms
    assert created.value["transaction"]["total_order"] == 1
    (account, *_) = system.accounts(TABLE)
    assert account.writer == f"cdc-{system.name}"


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


def test_every_type_arrives_exactly_from_snapshot_and_stream_alike(make: Callable[..., System]) -> None:
    system = make(ALL_TYPES)
    row: LiteralString = """
        -5, -12345.678, 1e-30, '中文😀', 'v', 'ab', true, '9999-12-31', '0001-01-01 00:00:00.000001',
        '2024-02-29 12:00:00.5+08', '23:59:59.999999', '\\x00ff', '{"a":[1]}',
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ok', -1.50, 1.5, -1e300, '{1,NULL,3}',
        ARRAY['a,b', 'q"\\{}', NULL, 'NULL', ''], '{1.25,-3}', '{ok,bad}', '1 day 2 hours', '10.0.0.1/8', '王'
    """
    system.db.execute("SET TIME ZONE 'Asia/Shanghai'; SET datestyle = 'SQL, DMY'")
    system.execute("ALTER ROLE postgres SET extra_float_digits = -3")
    try:
        system.execute("INSERT INTO person VALUES (1," + row + ")")  # noqa: S608 - a constant
        with system.connector() as connector:
            connector.says("stream_started")
            system.execute("INSERT INTO person VALUES (2," + row + ")")  # noqa: S608 - a constant
            records = system.wait_for_records(TABLE, lambda r: len(r) == 2, "both rows")
    finally:
        system.execute("ALTER ROLE postgres RESET extra_float_digits")
    expected = {
        "s": -5,
        "n": Decimal("-12345.678"),
        "nn": "0.000000000000000000000000000001",
        "t": "中文😀",
        "v": "v",
        "c": "ab    ",
        "b": True,
        "d": date(9999, 12, 31),
        "ts": datetime(1, 1, 1, 0, 0, 0, 1),  # noqa: DTZ001
        "tz": datetime(2024, 2, 29, 4, 0, 0, 500000, UTC),
        "ti": time(23, 59, 59, 999999),
        "by": b"\x00\xff",
        "j": '{"a": [1]}',
        "u": UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        "m": "ok",
        "po": Decimal("-1.50"),
        "f4": 1.5,
        "f8": -1e300,
        "ia": [1, None, 3],
        "ta": ["a,b", 'q"\\{}', None, "NULL", ""],
        "na": [Decimal("1.25"), Decimal("-3.00")],
        "ma": ["ok", "bad"],
        "iv": "1 day 02:00:00",
        "inet": "10.0.0.1/8",
        "_u59d3_u540d": "王",
    }
    for record in records:
        assert {k: v for k, v in record.value["after"].items() if k != "id"} == expected
    assert sorted(ops(records)) == ["c", "r"]


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


def test_killed_in_the_snapshot_and_resumed_sends_every_row_once(make: Callable[..., System]) -> None:
    system = make()
    rows = 60_000
    system.execute("INSERT INTO person SELECT g, repeat('x', 200), 1 FROM generate_series(1, 60000) g")
    kills = 0
    for _ in range(3):
        with system.connector() as connector:
            system.wait_for_positions(2)
            connector.kill()
        kills += "snapshot_of_table_complete" not in connector.text()
    assert kills > 0
    with system.connector() as connector:
        connector.says("stream_started")
        system.execute("UPDATE person SET name = 'late' WHERE id <= 5")
        records = system.wait_for_records(TABLE, lambda r: len(r) >= rows + 5, "all rows", 120)
    assert sorted(r.key["id"] for r in records if r.header.op is Op.READ and r.key) == list(
        range(1, rows + 1)
    )
    assert Counter(ops(records)) == {"r": rows, "u": 5}
    assert_nothing_twice_and_in_order(records)


def test_position_never_shows_a_key_of_the_source(make: Callable[..., System]) -> None:
    system = make("CREATE TABLE person (id text PRIMARY KEY, name text, amount numeric)")
    system.execute("INSERT INTO person SELECT 'canary-' || g, '', 1 FROM generate_series(1, 2000) g")
    with system.connector() as connector:
        connector.says("stream_started")
    wait_for(lambda: len(system.positions()) > 2, "positions of the snapshot")
    positions = system.positions()
    assert not any(b"canary" in position for position in positions)


@pytest.mark.parametrize("seed", range(3))
def test_killed_while_streaming_and_resumed_has_exactly_the_committed_changes(
    make: Callable[..., System], seed: int
) -> None:
    system = make()
    dice = random.Random(seed)
    stop = threading.Event()
    with system.connector() as connector:
        connector.says("stream_started")
    writer = threading.Thread(target=write_until, args=(system, stop, seed))
    writer.start()
    try:
        for _ in range(4):
            with system.connector() as connector:
                system.wait_for_positions(dice.randrange(1, 8))
                connector.kill()
    finally:
        stop.set()
        writer.join()
    # One transaction larger than a batch, killed somewhere in it.
    system.execute("INSERT INTO person SELECT g, 'bulk', 1 FROM generate_series(1000, 20999) g")
    with system.connector() as connector:
        system.wait_for_positions(2)
        connector.kill()
    mark(system, 100_000)
    with system.connector():
        records = system.wait_for_records(TABLE, has_mark(100_000), "the last change")
    assert final_state(records) == source_state(system)
    assert_nothing_twice_and_in_order(records)
    indices: dict[int, list[int]] = {}
    for record in records:
        indices.setdefault(record.at[0], []).append(record.at[1])
    assert all(sorted(set(found)) == list(range(max(found) + 1)) for found in indices.values())
    accounts = system.accounts(TABLE)
    assert sum(account.changes for account in accounts) == len(records)
    expected = sum(record.header.position.hash64() for record in records) % 2**64
    assert sum(account.position_sum for account in accounts) % 2**64 == expected


def test_second_connector_takes_over_and_the_first_ends_with_a_clear_error(
    make: Callable[..., System],
) -> None:
    system = make()
    with system.connector() as first:
        first.says("stream_started")
        with system.connector() as second:
            wait_for(lambda: "waiting" in second.text() or "capture_started" in second.text(), "the second")
            mark(system, 1)
            assert first.ends() == 1
            assert "another connector of this source has started" in first.text()
            mark(system, 2)
            records = system.wait_for_records(TABLE, has_mark(2), "the change after the take-over")
    assert Counter(record.key["id"] for record in records if record.key) == {1: 1, 2: 1}


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
