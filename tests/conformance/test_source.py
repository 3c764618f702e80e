"""What every kind of source promises, on its real server and real Kafka, as processes that are killed."""

from __future__ import annotations

import os
import random
import signal
import sys
from contextlib import ExitStack, suppress
from decimal import Decimal

import pytest

from exchange.change import Op
from exchange.pauses import PAUSED, PAUSES, Pause, Wish
from tests.conformance import planted, story, struck
from tests.conformance.conftest import Make
from tests.conformance.story import LAST, table_of, up_to_a_last_row
from tests.conformance.subject import AnySubject, Change, Delete, Put, Subject, Told
from tests.integration.capture import PARTITIONS
from tests.stack import wait_for

SEEDS = int(os.environ.get("EXCHANGE_PHASE_SEEDS", "1"))
"""Deaths of a connector in each phase."""
FIRST_SEED = int(os.environ.get("EXCHANGE_FIRST_FAULT_SEED", "1"))
PHASES = (struck.NOWHERE, *struck.POINTS)
MOST_CHUNKS = 25
"""Of a snapshot, that a connector reads from when it was seen to get on until its death; far too many."""
killed_often = pytest.mark.timeout(600 + 240 * SEEDS)
needs = pytest.mark.needs


def test_each_operation_is_told_and_a_restart_adds_nothing(make: Make) -> None:
    subject: AnySubject = make()
    changes: list[Change] = [Put(1, "王 🙂"), Put(1, None, is_new=False), Put(2, "b")]
    changes += [] if "delete" in subject.lacks else [Delete(1), Put(1, "again")]
    with subject.connector() as connector:
        connector.says(subject.started)
        for change in changes:
            subject.commit([change])
            story.settle(subject)
        records = table_of(subject, lambda found: len(found) >= len(changes), "all changes")
        wait_for(lambda: story.progress(subject) == ("streaming", len(changes)), "its progress")
        assert connector.stop() == 0
    with subject.connector():
        records = up_to_a_last_row(subject)
    assert story.judge(records, told_of(subject, [*changes, Put(LAST, "last")])) == {}
    rows = [record.value["after"] for record in records]
    assert {"id": 1, "name": "王 🙂", "amount": Decimal(1)} in rows
    assert sum(account.changes for account in subject.accounts(subject.tables[0])) == len(records)


def test_every_type_and_null_is_the_same_from_the_first_reading_and_the_stream(
    make: Make, kind: type[AnySubject]
) -> None:
    subject: AnySubject = make(typed=True)
    with ExitStack() as running:
        if "snapshot" not in kind.lacks:
            subject.put_typed(1, nulls=False)
            subject.put_typed(2, nulls=True)
        running.enter_context(subject.connector()).says(subject.started)
        for key, nulls in ((3, False), (4, True)):
            subject.put_typed(key, nulls=nulls)
            story.settle(subject)
        wanted = 2 if "snapshot" in kind.lacks else 4
        records = table_of(subject, lambda found: len(found) == wanted, "the rows")
    rows = {(record.key or {})["id"]: record.value["after"] for record in records}
    assert {key: row.pop("id") for key, row in rows.items()} == {key: key for key in rows}
    nothing = dict.fromkeys(kind.expected)
    assert rows == {key: nothing if key % 2 == 0 else kind.expected for key in range(5 - wanted, 5)}


@pytest.mark.long
@killed_often
def test_killed_at_any_point_it_tells_exactly_what_was_done(make: Make) -> None:
    """At random; with a batch not sent, sent and not committed, committed and not acknowledged."""
    subject: AnySubject = make()
    dice = random.Random(FIRST_SEED)
    with subject.connector() as connector:
        connector.says(subject.started)
    writers = [story.Writer(subject, FIRST_SEED + number, number) for number in range(story.WRITERS)]
    with ExitStack() as at_work:
        for writer in writers:
            at_work.enter_context(writer)
        for seed in range(SEEDS):
            for phase in PHASES:
                die_once(subject, phase, dice)
            say(subject, f"in each phase of the stream: {seed + 1} deaths")
    rows = commit_large_ones(subject, dice)
    with subject.connector():
        records = up_to_a_last_row(subject)
    expected: dict[int, list[Told]] = {key: [(subject.created, "row")] for key in rows}
    expected[LAST] = [(subject.created, "last")]
    for writer in writers:
        expected |= writer.told
    assert story.judge(records, expected) == {}
    accounts = subject.accounts(subject.tables[0])
    positions = sum(record.header.position.hash64() for record in records) % 2**64
    assert sum(account.changes for account in accounts) == len(records)
    assert sum(account.position_sum for account in accounts) % 2**64 == positions


def commit_large_ones(subject: AnySubject, dice: random.Random) -> range:
    """Commit what takes several Kafka transactions, with a death somewhere in each; return the keys."""
    first = 100_000
    for seed in range(SEEDS if subject.large else 0):
        subject.fill(range(first + seed * subject.large, first + (seed + 1) * subject.large))
        die_once(subject, dice.choice(PHASES), dice)
        say(subject, f"in a large commit: {seed + 1} deaths")
    return range(first, first + SEEDS * subject.large)


def die_once(subject: AnySubject, phase: str, dice: random.Random) -> str:
    """Run a connector until its death; return what it said."""
    with subject.connector(struck.PROGRAM, phase, str(dice.randrange(1, 4))) as connector:
        if phase == struck.NOWHERE:
            subject.wait_for_positions(dice.randrange(1, 6), connector)
            connector.kill()
        assert connector.ends(story.PATIENCE_S) == -signal.SIGKILL, connector.text()
        return connector.text()


@pytest.mark.slow_faults
def test_a_pause_holds_over_a_death_and_nothing_is_lost_or_doubled_by_it(make: Make) -> None:
    subject: AnySubject = make()
    writers = [story.Writer(subject, FIRST_SEED + number, number) for number in range(story.WRITERS)]
    with ExitStack() as at_work:
        with subject.connector() as connector:
            connector.says(subject.started)
            for writer in writers:
                at_work.enter_context(writer)
            subject.wait_for_positions(3, connector)
            wish(subject, Wish.PAUSE)
            connector.says("capture_paused")
            kept = len(subject.positions())
            connector.kill()
        with subject.connector() as connector:
            connector.says("capture_paused")
            wait_for(lambda: story.progress(subject)[0] == PAUSED, "the heartbeat of a paused connector", 120)
            assert len(subject.positions()) == kept
            wish(subject, Wish.RUN)
            subject.wait_for_positions(3, connector)
            connector.kill()
    with subject.connector():
        records = up_to_a_last_row(subject)
    expected: dict[int, list[Told]] = {LAST: [(subject.created, "last")]}
    for writer in writers:
        expected |= writer.told
    assert story.judge(records, expected) == {}


def wish(subject: AnySubject, wanted: Wish) -> None:
    pause = Pause(operation="1f", wish=wanted, by="chen-hao", since_ms=0, reason="r")
    PAUSES.give(subject.stack.settings.kafka_client("admin"), subject.name, pause)


@needs("snapshot", "snapshot once")
@killed_often
def test_killed_in_the_snapshot_it_sends_every_row_once(make: Make) -> None:
    subject: Subject = make()
    dice = random.Random(FIRST_SEED)
    rows = range(struck.CHUNK_ROWS * (SEEDS * (MOST_CHUNKS + 3 * len(struck.POINTS)) + MOST_CHUNKS))
    subject.fill(rows)
    for seed in range(SEEDS):
        for phase in PHASES:
            assert "snapshot_of_table_complete" not in die_once(subject, phase, dice)
        say(subject, f"in each phase of the snapshot: {seed + 1} deaths")
    with subject.connector() as connector:
        connector.says("snapshot_resumed")
        connector.says("stream_started", story.PATIENCE_S)
        subject.run_sql("UPDATE person SET name = 'late' WHERE id < 5")
        records = up_to_a_last_row(subject)
    expected: dict[int, list[Told]] = {key: [("r", "row")] for key in rows}
    expected |= {key: [("r", "row"), ("u", "late")] for key in range(5)}
    assert story.judge(records, expected | {LAST: [("c", "last")]}) == {}


@pytest.mark.long
def test_the_judge_finds_what_a_planted_fault_does(make: Make, kind: type[AnySubject]) -> None:
    """Control: the same comparison, a connector that does one step too early and is killed just then."""
    for fault, found in kind.faults.items():
        subject: AnySubject = make()
        with story.Writer(subject, 3) as writer:
            with subject.connector(planted.PROGRAM, fault) as connector:
                connector.says(planted.HAPPENED, story.PATIENCE_S)
                connector.kill()
            writer.stop()
        with subject.connector():
            records = up_to_a_last_row(subject)
        expected = writer.told | {LAST: [(subject.created, "last")]}
        assert found in story.judge(records, expected), fault


@needs("take-over")
def test_a_second_connector_takes_over_and_the_first_ends(make: Make) -> None:
    subject: AnySubject = make()
    writer = story.Writer(subject, 4)
    with subject.connector() as first:
        first.says(subject.started)
        with subject.connector() as second:
            writer.until(first.has_ended, "the first has ended")
            assert "only one may run" in first.text()
            second.says(subject.started)
            records = up_to_a_last_row(subject)
            assert second.stop() == 0
    assert story.judge(records, writer.told | {LAST: [(subject.created, "last")]}) == {}


@needs("snapshot")
def test_snapshot_and_stream_join_without_gap_under_writers(make: Make) -> None:
    subject: Subject = make()
    subject.fill(range(50_000, 53_000))
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


@needs("key change", "one position")
def test_a_changed_key_and_an_emptied_table_are_told_with_their_images(make: Make) -> None:
    subject: Subject = make()
    with subject.connector() as connector:
        connector.says("stream_started")
        subject.run_sql("INSERT INTO person VALUES (1, '王 🙂', 12.34)")
        subject.run_sql("UPDATE person SET id = 2 WHERE id = 1")
        subject.run_sql("DELETE FROM person WHERE id = 2")
        subject.run_sql("TRUNCATE TABLE person")
        records = table_of(subject, lambda found: len(found) >= 4 + PARTITIONS, "seven records")
    created, old, new, gone, *truncated = sorted(records, key=lambda record: record.at)
    assert [r.header.op.value for r in (created, old, new, gone)] == ["c", "d", "c", "d"]
    assert created.value["after"] == {"id": 1, "name": "王 🙂", "amount": Decimal("12.34")}
    assert (old.key, new.key, gone.key) == ({"id": 1}, {"id": 2}, {"id": 2})
    assert (old.at[:2], old.at[2], new.at[2]) == (new.at[:2], 0, 1)
    assert {(r.header.op, r.key, r.partition) for r in truncated} == {
        (Op.TRUNCATE, None, number) for number in range(PARTITIONS)
    }
    assert created.value["source"]["ts_ms"] == created.header.source_ms
    assert created.value["transaction"]["total_order"] == 1


@needs("transactions", "one position")
def test_a_transaction_is_one_position_and_a_rolled_back_one_is_never_told(make: Make) -> None:
    subject: Subject = make()
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


@needs("transactions")
def test_a_transaction_that_began_before_a_restart_and_ends_after_it_is_told_whole(make: Make) -> None:
    """Its first change lies before the place where the connector goes on, its commit behind it."""
    subject: Subject = make()
    with ExitStack() as running:
        connector = running.enter_context(subject.connector())
        connector.says(subject.started)
        with subject.transaction() as run:
            run("INSERT INTO person VALUES (1, 'early', 1)")
            subject.run_sql("INSERT INTO person VALUES (2, 'between', 1)")
            table_of(subject, lambda found: len(found) >= 1, "the row between")
            story.settle(subject)
            connector.kill()
            run("INSERT INTO person VALUES (3, 'late', 1)")
    with subject.connector():
        records = up_to_a_last_row(subject)
    names = {1: "early", 2: "between", 3: "late", LAST: "last"}
    assert story.judge(records, {key: [("c", name)] for key, name in names.items()}) == {}


@needs("snapshot")
def test_read_anew_it_empties_the_topics_and_fills_them_again(make: Make) -> None:
    subject: Subject = make()
    subject.fill(range(10))
    with subject.connector() as connector:
        connector.says("stream_started")
        subject.run_sql("DELETE FROM person WHERE id = 3")
        table_of(subject, lambda found: len(found) >= 11, "the delete")
    subject.run_sql("DELETE FROM person WHERE id = 4")
    subject.run("resnapshot", subject.name, "--yes")
    with subject.connector() as connector:
        connector.says("stream_started")
        records = up_to_a_last_row(subject)
    assert story.final_state(records) == story.source_state(subject)
    assert len({record.header.position for record in records}) == len(records)


def told_of(subject: AnySubject, changes: list[Change]) -> dict[int, list[Told]]:
    """Return the story of each key."""
    told: dict[int, list[Told]] = {}
    for change in changes:
        for key, what in subject.tells(change):
            told.setdefault(key, []).append(what)
    return told


def say(subject: AnySubject, what: str) -> None:
    """Show how far a long run is, where pytest runs with -s."""
    sys.stderr.write(f"{type(subject).__name__}: {what}\n")
