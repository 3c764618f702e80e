"""What every kind of source promises, on its real server and real Kafka, as processes that are killed."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from exchange import heartbeat
from exchange.change import Op
from tests.conformance import story, struck
from tests.conformance.conftest import Make
from tests.conformance.harness import Subject
from tests.faults import planted
from tests.integration.capture import PARTITIONS, Record
from tests.stack import wait_for

SEEDS = int(os.environ.get("EXCHANGE_FAULT_SEEDS", "1"))
STRUCK = [str(Path(struck.__file__))]
LAST = 9_999_999


def test_snapshot_and_stream_join_without_gap_under_writers(make: Make) -> None:
    subject = make()
    fill(subject, range(50_000, 53_000))
    one, two = story.Writer(subject, 1, 0), story.Writer(subject, 2, 1)
    with one, two, subject.connector() as connector:
        connector.says("stream_started")
        table_of(subject, lambda found: len(found) > 3200, "changes after the snapshot")
        one.stop()
        two.stop()
        records = up_to_a_last_row(subject)
        assert connector.stop() == 0
    assert story.final_state(records) == story.source_state(subject)
    assert (story.twice(records), story.out_of_order(records)) == ([], [])
    accounts = subject.accounts(subject.tables[0])
    assert sum(account.changes for account in accounts) == len(records)


def test_each_operation_is_told_with_its_images(make: Make) -> None:
    subject = make()
    with subject.connector() as connector:
        connector.says("stream_started")
        subject.run_sql("INSERT INTO person VALUES (1, '王 🙂', 12.34)")
        subject.run_sql("UPDATE person SET name = NULL WHERE id = 1")
        subject.run_sql("UPDATE person SET id = 2 WHERE id = 1")
        subject.run_sql("DELETE FROM person WHERE id = 2")
        subject.run_sql("TRUNCATE TABLE person")
        records = table_of(subject, lambda found: len(found) >= 5 + PARTITIONS, "eight records")
        wait_for(lambda: progress(subject) == ("streaming", len(records) - PARTITIONS + 1), "its progress")
    created, updated, old, new, gone, *truncated = sorted(records, key=lambda record: record.at)
    assert [r.header.op.value for r in (created, updated, old, new, gone)] == ["c", "u", "d", "c", "d"]
    assert created.value["after"] == {"id": 1, "name": "王 🙂", "amount": Decimal("12.34")}
    assert updated.value["after"] == {"id": 1, "name": None, "amount": Decimal("12.34")}
    assert (old.key, new.key, gone.key) == ({"id": 1}, {"id": 2}, {"id": 2})
    assert (old.at[:2], old.at[2], new.at[2]) == (new.at[:2], 0, 1)
    assert {(r.header.op, r.key, r.partition) for r in truncated} == {
        (Op.TRUNCATE, None, number) for number in range(PARTITIONS)
    }
    assert created.value["source"]["ts_ms"] == created.header.source_ms
    assert created.value["transaction"]["total_order"] == 1


def test_a_transaction_is_one_position_and_a_rolled_back_one_is_never_told(make: Make) -> None:
    subject = make()
    with subject.connector() as connector:
        connector.says("stream_started")
        with subject.transaction() as run:
            run("INSERT INTO person VALUES (1, 'a', 1)")
            run("SAVEPOINT here")
            run("INSERT INTO person VALUES (2, 'b', 1)")
            run("ROLLBACK TO SAVEPOINT here")
            run("INSERT INTO person VALUES (3, 'c', 1)")
        with suppress(ZeroDivisionError), subject.transaction() as run:
            run("INSERT INTO person VALUES (4, 'd', 1)")
            raise ZeroDivisionError  # rolls back
        subject.run_sql("INSERT INTO person VALUES (5, 'e', 1)")
        records = table_of(subject, lambda found: len(found) >= 3, "three records")
    commits = {(record.key or {})["id"]: record.at[0] for record in records}
    assert sorted(commits) == [1, 3, 5]
    assert commits[1] == commits[3] < commits[5]


def test_every_type_and_null_is_the_same_from_snapshot_and_stream(make: Make, kind: type[Subject]) -> None:
    subject = make(f"CREATE TABLE person (id bigint PRIMARY KEY, {kind.types})")
    nulls = ", ".join(["NULL"] * len(kind.expected))
    insert = "INSERT INTO person VALUES ({}, {})"
    subject.run_sql(insert.format(1, kind.row))
    subject.run_sql(insert.format(2, nulls))
    with subject.connector() as connector:
        connector.says("stream_started")
        subject.run_sql(insert.format(3, kind.row))
        subject.run_sql(insert.format(4, nulls))
        records = table_of(subject, lambda found: len(found) == 4, "four rows")
    rows = {(record.key or {})["id"]: record.value["after"] for record in records}
    assert {key: row.pop("id") for key, row in rows.items()} == {1: 1, 2: 2, 3: 3, 4: 4}
    assert rows == {
        1: kind.expected,
        2: dict.fromkeys(kind.expected),
        3: kind.expected,
        4: dict.fromkeys(kind.expected),
    }


def test_killed_in_the_snapshot_it_sends_every_row_once(make: Make) -> None:
    subject = make()
    fill(subject, range(20_000))
    unfinished = 0
    for _ in range(2):
        with subject.connector() as connector:
            subject.wait_for_positions(2)
            connector.kill()
        unfinished += "snapshot_of_table_complete" not in connector.text()
    assert unfinished > 0
    with subject.connector() as connector:
        connector.says("snapshot_resumed")
        connector.says("stream_started")
        subject.run_sql("UPDATE person SET name = 'late' WHERE id < 5")
        records = table_of(subject, lambda found: len(found) >= 20_005, "all rows")
    read = sorted((r.key or {})["id"] for r in records if r.header.op is Op.READ)
    assert read == list(range(20_000))
    assert Counter(r.header.op.value for r in records) == {"r": 20_000, "u": 5}
    assert (story.twice(records), story.out_of_order(records)) == ([], [])


@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_while_streaming_it_tells_exactly_what_was_committed(make: Make, seed: int) -> None:
    subject = make()
    dice = random.Random(seed)
    with subject.connector() as connector:
        connector.says("stream_started")
    with story.Writer(subject, seed) as writer:
        for _ in range(2):
            with subject.connector() as connector:
                subject.wait_for_positions(dice.randrange(1, 6))
                connector.kill()
        writer.stop()
    # One transaction larger than a batch, killed somewhere in it.
    fill(subject, range(100_000, 121_000))
    with subject.connector() as connector:
        subject.wait_for_positions(1)
        connector.kill()
    with subject.connector():
        records = up_to_a_last_row(subject)
    expected = writer.told | {key: [("c", "row")] for key in range(100_000, 121_000)}
    assert story.told_by(records) == expected | {LAST: [("c", "last")]}
    assert (story.twice(records), story.out_of_order(records)) == ([], [])
    accounts = subject.accounts(subject.tables[0])
    positions = sum(record.header.position.hash64() for record in records) % 2**64
    assert sum(account.changes for account in accounts) == len(records)
    assert sum(account.position_sum for account in accounts) % 2**64 == positions


@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_at_each_point_of_a_batch_it_tells_exactly_what_was_committed(make: Make, seed: int) -> None:
    """Before its records are sent, with all sent and nothing committed, committed and not acknowledged."""
    subject = make()
    dice = random.Random(seed)
    fill(subject, range(200_000, 202_000))
    for point in struck.POINTS:
        with subject.connector(*STRUCK, point, "1") as connector:  # batch 1: the next chunk of the snapshot
            assert connector.ends() == -signal.SIGKILL
        assert "snapshot_of_table_complete" not in connector.text()
    with subject.connector() as connector:
        connector.says("stream_started")
    writer = story.Writer(subject, seed)
    for point in struck.POINTS:
        with subject.connector(*STRUCK, point, str(dice.randrange(1, 4))) as connector:
            connector.says("stream_started")
            writer.until(connector.has_ended, "its death")
            assert connector.ends() == -signal.SIGKILL
    with subject.connector():
        records = up_to_a_last_row(subject)
    told = story.told_by(records)
    assert [told.pop(key) for key in range(200_000, 202_000)] == [[("r", "row")]] * 2_000
    assert told == writer.told | {LAST: [("c", "last")]}
    assert (story.twice(records), story.out_of_order(records)) == ([], [])


def test_the_judge_finds_a_position_that_was_committed_ahead_of_its_changes(make: Make) -> None:
    """Control: the same comparison, a connector that commits its position first and is killed just then."""
    subject = make()
    writer = story.Writer(subject, 3)
    with subject.connector(str(Path(planted.__file__)), "position-first") as connector:
        connector.says("stream_started")
        writer.until(lambda: planted.AHEAD in connector.text(), "the fault")
        connector.kill()
    with subject.connector():
        told = story.told_by(up_to_a_last_row(subject))
    lost = [key for key, what in writer.told.items() if len(told.get(key, ())) < len(what)]
    assert lost


def test_a_second_connector_takes_over_and_the_first_ends(make: Make) -> None:
    subject = make()
    writer = story.Writer(subject, 4)
    with subject.connector() as first:
        first.says("stream_started")
        with subject.connector() as second:
            writer.until(first.has_ended, "the first has ended")
            assert "only one may run" in first.text()
            second.says("stream_started")
            records = up_to_a_last_row(subject)
            assert second.stop() == 0
    assert story.told_by(records) == writer.told | {LAST: [("c", "last")]}
    assert story.twice(records) == []


def test_read_anew_it_empties_the_topics_and_fills_them_again(make: Make) -> None:
    subject = make()
    fill(subject, range(10))
    with subject.connector() as connector:
        connector.says("stream_started")
        subject.run_sql("DELETE FROM person WHERE id = 3")
        table_of(subject, lambda found: len(found) >= 11, "the delete")
    subject.run_sql("DELETE FROM person WHERE id = 4")
    subject.run("resnapshot", subject.name, "--yes")
    with subject.connector() as connector:
        connector.says("stream_started")
        subject.run_sql("INSERT INTO person VALUES (77, 'b', 1)")
        records = table_of(
            subject, lambda found: {"id": 77} in [record.key for record in found], "the insert"
        )
    assert story.final_state(records) == story.source_state(subject)
    assert len({record.header.position for record in records}) == len(records)


def progress(subject: Subject) -> tuple[str, int]:
    """Return what the connector shows of itself: its state, and the changes it has captured."""
    beats = heartbeat.read_all(heartbeat.connect(subject.stack.settings))
    mine = [beat for beat in beats if beat["writer"] == f"cdc-{subject.name}"]
    return (mine[0]["state"], mine[0]["figures"]["captured"]) if mine else ("", 0)


def fill(subject: Subject, keys: range) -> None:
    """Insert rows in one transaction."""
    with subject.transaction() as run:
        for first in range(keys.start, keys.stop, 1000):
            rows = ",".join(f"({key}, 'row', 1)" for key in range(first, min(first + 1000, keys.stop)))
            run(f"INSERT INTO person VALUES {rows}")  # noqa: S608 - our own numbers


def table_of(subject: Subject, enough: Callable[[list[Record]], bool], what: str) -> list[Record]:
    return subject.wait_for_records(subject.tables[0], enough, what)


def up_to_a_last_row(subject: Subject) -> list[Record]:
    """Insert a last row and return everything up to it."""
    subject.run_sql(f"INSERT INTO person VALUES ({LAST}, 'last', 1)")  # noqa: S608

    def is_there(found: list[Any]) -> bool:
        return any(record.key == {"id": LAST} for record in found)

    return table_of(subject, is_there, "the last row")
