"""`exchange consume` against a running bus."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer

from exchange.change import HEADER, Op, Position, RecordHeader
from exchange.quarantine.entries import Topics
from tests.stack import wait_for
from tests.trial.bus import CITY, PARTITIONS, TrialBus, trial_bus
from tests.trial.people import id_number, insert, person

ROWS = 12
VIEW = "trial.person.city"


@pytest.fixture(scope="module")
def bus() -> Iterator[TrialBus]:
    """A bus with twelve rows in the view, one of them deleted: twelve creates, one delete, one tombstone."""
    with trial_bus() as bus:
        with psycopg.connect(bus.dsn) as connection:
            for number in range(ROWS):
                insert(connection, person(number))
        bus.start()
        wait_for(lambda: len(consumed(bus, "earliest")) == ROWS, "all rows are in the view", 120)
        with psycopg.connect(bus.dsn) as connection:
            connection.execute("DELETE FROM public.person WHERE id_number = %s", [id_number(0)])
        wait_for(lambda: len(consumed(bus, "earliest")) == ROWS + 2, "the delete is in the view", 120)
        bus.stop()
        yield bus


def consume(bus: TrialBus, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return bus.cli("consume", "campus", VIEW, "--json", *arguments, check=check)


def consumed(bus: TrialBus, start: str, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in consume(bus, "--from", start, *arguments).stdout.splitlines()]


def test_every_record_is_shown_decoded_and_masked(bus: TrialBus) -> None:
    records = consumed(bus, "earliest")
    created = [record for record in records if record["op"] in ("c", "r")]
    assert len(created) == ROWS
    assert all(record["after"]["name"].startswith("张*") for record in created)
    assert all(record["after"]["email"] == "***" and record["before"] is None for record in created)
    assert not any(id_number(number) in json.dumps(records) for number in range(ROWS))


def test_a_delete_is_followed_by_its_tombstone_with_the_same_key_and_position(bus: TrialBus) -> None:
    deleted, tombstone = [
        record for record in consumed(bus, "earliest") if record["op"] in ("d", "tombstone")
    ]
    assert (deleted["op"], tombstone["op"]) == ("d", "tombstone")
    assert (deleted["key"], deleted["position"]) == (tombstone["key"], tombstone["position"])
    assert (deleted["after"], tombstone["before"], tombstone["after"]) == (None, None, None)


def test_it_goes_on_where_it_left_off(bus: TrialBus) -> None:
    first = consumed(bus, "earliest", "--max", "5")
    rest = consumed(bus, "committed")
    places = [(record["partition"], record["offset"]) for record in first + rest]
    assert (len(first), len(rest)) == (5, ROWS - 3)
    assert len(set(places)) == len(places)
    assert consumed(bus, "committed") == []


def test_it_reads_one_partition_from_an_offset(bus: TrialBus) -> None:
    wanted = consumed(bus, "earliest")[-1]
    found = consumed(bus, f"{wanted['partition']}:{wanted['offset']}", "--max", "1")
    assert found[0]["position"] == wanted["position"]


def test_text_names_operation_key_place_position_and_delay(bus: TrialBus) -> None:
    said = bus.cli("consume", "campus", VIEW, "--from", "earliest", "--max", "1").stdout
    assert VIEW in said
    assert "position" in said
    assert "s after the source's commit" in said
    assert "after " in said


def test_a_subscriber_without_a_grant_is_told_so(bus: TrialBus) -> None:
    refused = bus.cli("consume", "outsider", VIEW, check=False)
    assert refused.returncode == 1
    assert "there is no grant" in refused.stderr
    assert refused.stdout == ""


def test_a_wrong_password_is_told_from_a_missing_grant(bus: TrialBus) -> None:
    refused = bus.cli("consume", "campus", VIEW, check=False, EXCHANGE_KAFKA_PASSWORD_CAMPUS="wrong")
    assert refused.returncode == 1
    assert "does not accept campus's password" in refused.stderr


def test_an_offset_that_is_not_there_is_a_gap_and_not_skipped(bus: TrialBus) -> None:
    refused = consume(bus, "--from", "0:1000000", check=False)
    assert refused.returncode == 1
    assert "no longer (or not yet) there" in refused.stderr


def test_a_partition_that_is_not_there_is_told_with_those_that_are(bus: TrialBus) -> None:
    refused = consume(bus, "--from", f"{PARTITIONS}:0", check=False)
    assert refused.returncode == 1
    assert f"there is no partition {PARTITIONS}; there are 0 to {PARTITIONS - 1}" in refused.stderr


def test_a_subscriber_nobody_declared_has_no_password_and_is_named(bus: TrialBus) -> None:
    refused = bus.cli("consume", "nobody", VIEW, check=False)
    assert refused.returncode == 1
    assert "Kafka user nobody has no password here" in refused.stderr
    assert "`exchange apply` makes one for everybody that" in refused.stderr


def test_ctrl_c_commits_what_was_printed(bus: TrialBus) -> None:
    shown = follow_until_interrupted(bus, records=ROWS + 2)
    assert shown == ROWS + 2
    assert consumed(bus, "committed") == []


def follow_until_interrupted(bus: TrialBus, records: int) -> int:
    command = [sys.executable, "-m", "exchange.cli", "consume", "campus", VIEW]
    child = subprocess.Popen(
        [*command, "--json", "--follow", "--from", "earliest"],
        env=dict(bus.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(records)]
    child.send_signal(signal.SIGINT)
    rest, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    return len(lines) + len(rest.splitlines())


def test_duplicates_are_dropped_and_bad_records_shown_in_their_place(bus: TrialBus) -> None:
    """Last in this file: it spoils the topic."""
    repeated = consumed(bus, "earliest")[0]
    raw = raw_record(bus, repeated["partition"], repeated["offset"])
    end = end_offset(bus, 0)
    write(bus, repeated["partition"], raw.key(), raw.value(), bytes(dict(raw.headers())[HEADER]))
    fresh = RecordHeader(Position(99, 1, 0), Op.CREATE, 0).pack()
    write(bus, 0, b"\x00\x00\x00\x00\x01junk", b"random bytes", fresh)
    write(bus, 0, None, b"no header", None)
    done = consume(bus, "--from", "earliest", check=False)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    problems = [record["problem"] for record in records if "problem" in record]
    assert done.returncode == 1
    assert "1 duplicate dropped, 2 undecodable" in done.stderr
    assert sum(record["position"] == repeated["position"] for record in records) == 1
    assert min(record["offset"] for record in records if "problem" in record) >= end
    assert "not a record of its schema" in problems[0]
    assert "header" in problems[1]


def raw_record(bus: TrialBus, partition: int, offset: int) -> Any:
    return next(Topics(bus.client(), "unused").read(CITY, partition, offset))


def end_offset(bus: TrialBus, partition: int) -> int:
    return Topics(bus.client(), "unused").spans(CITY)[partition][1]


def write(bus: TrialBus, partition: int, key: bytes | None, value: bytes, header: bytes | None) -> None:
    assert partition < PARTITIONS
    producer = Producer(bus.client())
    producer.produce(CITY, value, key, partition, headers=[(HEADER, header)] if header else None)
    assert producer.flush(20) == 0
