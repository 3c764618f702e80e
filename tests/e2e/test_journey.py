"""One row's journey, told by the judge: every kind of change, with every process restarted on the way."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from exchange import local
from exchange.local import stack
from tests.trial import people
from tests.trial.alarms import false_alarms
from tests.trial.bus import CITY, NORTH, QUARANTINE, RAW, TrialBus, Watch
from tests.trial.people import SOUTH, Writer, id_number, insert, person


@pytest.fixture(scope="module")
def watch(bus: TrialBus) -> Watch:
    """Judging begins before the first row; twenty rows are there before the connector is."""
    watch = bus.watch("judge")
    with psycopg.connect(bus.dsn) as connection:
        for number in range(20):
            insert(connection, person(number) | {"region_code": SOUTH if number % 2 else people.NORTH})
    bus.start()
    assert watch.settle() == []
    return watch


def change(bus: TrialBus, statement: LiteralString, *values: str) -> None:
    """Commit one statement."""
    with psycopg.connect(bus.dsn) as connection:
        connection.execute(statement, values)


def test_the_snapshot_brings_every_row_to_the_views_it_belongs_to(watch: Watch) -> None:
    assert (watch.journey.count(CITY), watch.journey.count(NORTH)) == (20, 10)


def test_insert_update_and_delete_arrive_in_each_view(bus: TrialBus, watch: Watch) -> None:
    before = watch.journey.count(CITY)
    with psycopg.connect(bus.dsn) as connection:
        insert(connection, person(100))
    who = id_number(100)
    change(bus, "UPDATE public.person SET full_name = '王改名' WHERE id_number = %s", who)
    change(bus, "DELETE FROM public.person WHERE id_number = %s", who)
    assert watch.settle() == []
    assert watch.journey.count(CITY) == before + 3


def test_a_row_that_leaves_a_views_scope_is_deleted_there_and_created_when_it_returns(
    bus: TrialBus, watch: Watch
) -> None:
    for region in (SOUTH, people.NORTH):
        change(bus, "UPDATE public.person SET region_code = %s WHERE id_number = %s", region, id_number(0))
    assert watch.settle() == []


def test_a_key_change_is_a_delete_of_the_old_key_and_a_create_of_the_new(bus: TrialBus, watch: Watch) -> None:
    before = watch.journey.count(CITY)
    change(bus, "UPDATE public.person SET id_number = %s WHERE id_number = %s", id_number(200), id_number(2))
    assert watch.settle() == []
    assert watch.journey.count(CITY) == before + 2


def test_a_bad_row_goes_to_quarantine_and_its_repair_to_the_views(bus: TrialBus, watch: Watch) -> None:
    refused = watch.journey.count(QUARANTINE)
    with psycopg.connect(bus.dsn) as connection:
        insert(connection, person(101) | {"version": -1})
    change(bus, "UPDATE public.person SET version = 1 WHERE id_number = %s", id_number(101))
    assert watch.settle() == []
    assert watch.journey.count(QUARANTINE) == refused + 1


def test_a_rolled_back_transaction_leaves_no_trace(bus: TrialBus, watch: Watch) -> None:
    before = watch.journey.count(CITY)
    with psycopg.connect(bus.dsn) as connection:
        insert(connection, person(102))
        connection.rollback()
        insert(connection, person(103))
    assert watch.settle() == []
    assert watch.journey.count(CITY) == before + 1


def test_truncate_is_told_to_every_partition_of_every_view(bus: TrialBus, watch: Watch) -> None:
    before = watch.journey.count(NORTH)
    change(bus, "TRUNCATE public.person")
    assert watch.settle() == []
    assert watch.journey.count(NORTH) == before + 3


def test_a_run_under_load_gives_no_alarm(bus: TrialBus, watch: Watch) -> None:
    with load(bus, seed=6, watch=watch):
        assert false_alarms(bus, 12) == []
    assert watch.settle() == []


@pytest.mark.parametrize("name", ["connector", "worker"])
def test_a_process_stopped_by_sigterm_under_load_ends_with_0_and_goes_on_where_it_was(
    bus: TrialBus, watch: Watch, name: str
) -> None:
    with load(bus, seed=7, watch=watch):
        assert bus.stop(name) == {name: 0}
        bus.start(name)
        see_progress(watch)
    assert watch.settle() == []


def test_the_monitor_restarted_under_load_goes_on_counting_where_it_was(bus: TrialBus, watch: Watch) -> None:
    with load(bus, seed=8, watch=watch):
        stack.stop(bus.settings, "monitor")
        local.up(bus.settings)
        see_progress(watch)
    assert watch.settle() == []


def test_the_accounts_balance_and_agree_with_what_the_judge_saw(bus: TrialBus, watch: Watch) -> None:
    assert watch.settle() == []
    assert not bus.stood_still
    (found,) = balanced(bus, watch.journey.count(RAW))["topics"]
    assert found["captured"] == watch.journey.count(RAW)
    assert found["refused_process"] == watch.journey.count(QUARANTINE)
    delivered = {view["view_topic"]: view["delivered"] for view in found["views"]}
    assert delivered == {topic: watch.journey.count(topic) for topic in (CITY, NORTH)}


def test_kafka_itself_refuses_a_subscriber_without_a_grant(bus: TrialBus) -> None:
    assert read_as(bus, "campus", "campus.e2e", CITY) is None
    assert read_as(bus, "outsider", "outsider.e2e", CITY) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert read_as(bus, "campus", "campus.e2e", NORTH) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert read_as(bus, "campus", "outsider.e2e", CITY) == KafkaError.GROUP_AUTHORIZATION_FAILED


@pytest.mark.parametrize("principal", ["campus", "outsider", "connector-trial", "monitor", "steward-office"])
@pytest.mark.parametrize("topic", [RAW, QUARANTINE, "_exchange.plan", "_exchange.accounts"])
def test_nobody_but_who_must_reads_the_buss_own_topics(bus: TrialBus, principal: str, topic: str) -> None:
    allowed = {
        ("connector-trial", "_exchange.plan"),
        ("steward-office", QUARANTINE),
        ("monitor", "_exchange.plan"),
        ("monitor", "_exchange.accounts"),
        ("monitor", QUARANTINE),
    }
    refused = read_as(bus, principal, None, topic)
    assert refused == (None if (principal, topic) in allowed else KafkaError.TOPIC_AUTHORIZATION_FAILED)


def read_as(bus: TrialBus, principal: str, group: str | None, topic: str) -> int | None:
    """Read a topic, in a group or without; return None for a record, else the code of the refusal."""
    consumer = Consumer(
        bus.client(principal)
        | {"group.id": group or "unused", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    )
    try:
        if group is None:
            seen = consumer.list_topics(topic, timeout=30).topics[topic].error
            if seen is not None:
                return int(seen.code())
            consumer.assign([TopicPartition(topic, partition, 0) for partition in range(3)])
        else:
            consumer.subscribe([topic])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            record = consumer.poll(0.5)
            if record is None:
                continue
            error = record.error()
            if error is None:
                return None
            if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED or (
                group is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
            ):
                return int(error.code())
        msg = f"{principal} got neither a record of {topic} nor a refusal"
        raise AssertionError(msg)
    finally:
        consumer.close()


@contextmanager
def load(bus: TrialBus, seed: int, watch: Watch) -> Iterator[None]:
    """Change rows all the time in the background; the body starts once some of it has arrived."""
    stop = threading.Event()
    writer = Writer(bus.dsn, seed, people=30)
    change(bus, "TRUNCATE public.person")

    def write() -> None:
        with psycopg.connect(bus.dsn) as connection:
            while not stop.wait(0.005):
                writer.transaction(connection)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        see_progress(watch)
        yield
    finally:
        stop.set()
        thread.join()


def see_progress(watch: Watch) -> None:
    """Wait until another thirty records are readable in the first view."""
    start = watch.journey.count(CITY)
    watch.until("records of the load are readable", lambda: watch.journey.count(CITY) > start + 30)


def balanced(bus: TrialBus, captured: int) -> Any:
    """Return the balance once it knows of so many changes, all of them are processed and it balances."""
    deadline = time.monotonic() + 60
    while True:
        found = get(bus, "/api/accounts/balance")
        if found["balanced"] and found["in_flight"] == 0 and found["captured"] >= captured:
            return found
        assert time.monotonic() < deadline, f"not balanced within a minute: {found}"
        time.sleep(0.1)


def get(bus: TrialBus, path: str) -> Any:
    """Return the JSON that the API answers."""
    with urllib.request.urlopen(bus.settings.endpoints().api + path, timeout=30) as answer:  # noqa: S310
        return json.load(answer)
