"""A loss, a repetition, an alteration and a slowed stage, each planted, are named within a minute."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.stack import wait_for
from tests.trial.bus import CITY, COMMANDS, RAW, TrialBus
from tests.trial.load import load
from tests.trial.people import id_number, insert, person

PLANTED = Path(__file__).parent / "planted.py"
pytestmark = pytest.mark.slow_faults

NAMED_WITHIN_S = 60
BUDGET_MS = 1_000
_numbers = itertools.count(1_000)


def ask(bus: TrialBus, path: str) -> Any:
    answer = httpx.get(bus.settings.endpoints().api + path, trust_env=False, timeout=20)
    answer.raise_for_status()
    return answer.json()


def commit(bus: TrialBus, rows: int) -> int:
    """Commit new rows in one transaction; return the source minute, in milliseconds."""
    with psycopg.connect(bus.dsn) as connection:
        for _ in range(rows):
            insert(connection, person(next(_numbers)))
    return time.time_ns() // 1_000_000 // 60_000 * 60_000


@contextmanager
def planted(bus: TrialBus, name: str, fault: str) -> Iterator[None]:
    """Have connector or worker run with a fault built in."""
    bus.stop(name)
    child = bus.stand_in(name, [str(PLANTED), fault, *COMMANDS[name]])
    child.start()
    try:
        yield
    finally:
        child.kill()
        bus.start(name)


def balance(bus: TrialBus) -> Any:
    return ask(bus, "/api/accounts/balance")


def problem(bus: TrialBus, kind: str, minute_ms: int) -> Callable[[], Any]:
    def look() -> Any:
        found = balance(bus)["problems"]
        return next(
            (one for one in found if one["kind"] == kind and abs(one["minute_ms"] - minute_ms) <= 60_000),
            None,
        )

    return look


def settle(bus: TrialBus, processed: int) -> None:
    """Wait until so much is processed, nothing is in flight, and the accounts balance."""

    def look() -> bool:
        found = balance(bus)
        return bool(found["balanced"] and found["processed"] >= processed and found["in_flight"] == 0)

    wait_for(look, f"{processed} changes in the accounts, in balance", 120)


@pytest.fixture(scope="module")
def at_rest(bus: TrialBus) -> TrialBus:
    """The control: with no fault, everything arrives and the accounts balance."""
    bus.start()
    wait_for(lambda: "stream_started" in bus.child("connector").text(), "the connector's snapshot is over")
    commit(bus, 30)

    settle(bus, 30)
    return bus


def test_a_bus_under_load_is_never_called_uneven(at_rest: TrialBus) -> None:
    """The control that matters: what is in flight is looked at all the time and never taken for a loss."""
    enough, in_flight = balance(at_rest)["processed"] + 2_000, itertools.count(1)

    def look() -> bool:
        found = balance(at_rest)
        assert found["problems"] == []
        return bool(found["in_flight"] and next(in_flight) > 20 and found["processed"] > enough)

    with load(at_rest, seed=1):
        wait_for(look, "two thousand changes, and twenty looks at some in flight", 180)
    number = next(_numbers)
    with psycopg.connect(at_rest.dsn) as connection:
        insert(connection, person(number))
    last = id_number(number).encode()
    wait_for(lambda: last in last_record(at_rest).key(), "the last row captured, and so all before it")
    settle(at_rest, enough)


def test_a_record_that_the_worker_passes_over_is_missing_at_the_process_stage(at_rest: TrialBus) -> None:
    with planted(at_rest, "worker", "skip"):
        minute_ms = commit(at_rest, 60)
        found = wait_for(problem(at_rest, "missing", minute_ms), "the loss named", NAMED_WITHIN_S)

    assert (found["stage"], found["topic"], found["changes"]) == ("process", RAW, 3)
    assert found["offsets"]


def test_a_record_that_is_there_twice_is_doubled_at_the_process_stage(at_rest: TrialBus) -> None:
    away_from_others(at_rest)
    minute_ms = commit(at_rest, 1)
    record = wait_for(lambda: last_record(at_rest), "the raw record")
    producer = Producer(at_rest.client())
    producer.produce(
        RAW, record.value(), record.key(), partition=record.partition() or 0, headers=record.headers()
    )
    assert producer.flush(20) == 0

    found = wait_for(problem(at_rest, "doubled", minute_ms), "the repetition named", NAMED_WITHIN_S)
    assert (found["stage"], found["topic"], found["changes"]) == ("process", RAW, 1)


def test_bytes_that_are_others_than_were_captured_are_named(at_rest: TrialBus) -> None:
    away_from_others(at_rest)
    with planted(at_rest, "worker", "alter"):
        minute_ms = commit(at_rest, 5)
        found = wait_for(problem(at_rest, "altered", minute_ms), "the alteration named", NAMED_WITHIN_S)

    assert (found["stage"], found["topic"]) == ("process", RAW)


@pytest.mark.parametrize(("name", "fault", "stage", "slowed_ms"), [
    ("worker", "slow-worker", "process", 3_000),
    ("connector", "slow-connector", "capture", 8_000),
])  # fmt: skip
def test_the_stage_that_is_slowed_is_named(
    at_rest: TrialBus, name: str, fault: str, stage: str, slowed_ms: int
) -> None:
    with_budget(at_rest)
    with planted(at_rest, name, fault):
        before = balance(at_rest)["processed"]
        commit(at_rest, 1)
        wait_for(lambda: balance(at_rest)["processed"] > before, "the slow one at work", 120)
        in_a_new_minute()
        commit(at_rest, 20)
        found = wait_for(lambda: slowed(at_rest, stage), f"{stage} named as the slowest", NAMED_WITHIN_S)

    assert found["budget"]["budget_ms"] == BUDGET_MS
    added = {one["stage"]: one["added_p99"] for one in found["stages"]}
    assert added.pop(stage) >= 0.95 * slowed_ms
    assert max(added.values()) < 0.5 * slowed_ms


def slowed(bus: TrialBus, stage: str) -> Any:
    """Return the route when its budget is broken and the stage named, from what this minute brought."""
    routes = ask(bus, "/api/routes?window_s=10")["routes"]
    found = next(route for route in routes if route["view_topic"] == CITY)
    budget = found["budget"]
    return found if budget and not budget["kept"] and budget["slowest_stage"] == stage else None


def in_a_new_minute() -> None:
    """Wait until a minute has begun, long enough ago that a window of ten seconds lies within it."""
    this = time.time() // 60
    wait_for(lambda: time.time() // 60 > this and time.time() % 60 > 11, "the next minute", 90)


def away_from_others(bus: TrialBus) -> None:
    """Wait for a source minute of its own: within one, a loss and a repetition show as their difference."""
    last = max((one["minute_ms"] for one in balance(bus)["problems"]), default=0)
    wait_for(lambda: time.time_ns() // 1_000_000 // 60_000 * 60_000 > last, "the next minute", 90)


def with_budget(bus: TrialBus) -> None:
    file = bus.files / "topology.yaml"
    text = file.read_text()
    if "delay_budget_ms" not in text:
        declared = f"  trial.person.city:\n    delay_budget_ms: {BUDGET_MS}\n"
        file.write_text(text.replace("  trial.person.city:\n", declared, 1))
        bus.cli("apply", "--yes")


def last_record(bus: TrialBus) -> Any:
    """Return the last record of the raw topic."""
    consumer = Consumer(bus.client() | {"group.id": "test-last", "enable.auto.commit": False})
    try:
        found: list[Any] = []
        for partition in range(3):
            at = TopicPartition(RAW, partition)
            low, high = consumer.get_watermark_offsets(at, timeout=20)
            consumer.assign([TopicPartition(RAW, partition, max(low, high - 3))])
            found += [one for one in consumer.consume(3, timeout=1) if one.error() is None and one.value()]
        return max(found, key=lambda one: one.timestamp()[1], default=None)
    finally:
        consumer.close()
