"""A table that is read again beside its stream: on real PostgreSQL and Kafka."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from exchange.change import Op
from exchange.errors import PlanError
from exchange.snapshot_orders import Wish
from exchange.snapshots import Snapshots, SnapshotStatus
from tests.conformance import story
from tests.conformance.databases import PostgresSubject
from tests.conformance.subject import DDL
from tests.integration import snapshot_planted
from tests.integration.capture import Record
from tests.stack import Stack, wait_for

TABLE = "public.person"
PLANTED = str(Path(snapshot_planted.__file__))
ROWS = 3_000
LAST = 9_999_999
Make = Callable[..., PostgresSubject]


@pytest.fixture
def make(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Return a maker of captured systems; so many rows are there before their connector first starts."""
    made: list[PostgresSubject] = []

    def build(rows: int = ROWS) -> PostgresSubject:
        number = abs(hash(request.node.nodeid)) % 10**8
        subject = PostgresSubject(stack, f"i{number}n{len(made)}", (TABLE,))
        made.append(subject)
        subject.run_sql(DDL)
        subject.execute("INSERT INTO person SELECT g, 'row', 1 FROM generate_series(0, %s - 1) g", rows)
        subject.publish()
        return subject

    yield build
    for subject in made:
        subject.close()


@pytest.mark.slow_faults
def test_under_writers_each_row_read_is_the_newest_that_was_told(make: Make) -> None:
    subject = make()
    rounds = 6
    with ExitStack() as running:
        connector = running.enter_context(subject.connector())
        connector.says("stream_started")
        writers = [story.Writer(subject, seed, seed % 2) for seed in range(2)]
        writers[0].adopt(dict.fromkeys(range(160), "row"))
        for writer in writers:
            running.enter_context(writer)
        for _ in range(rounds):
            start(subject)
            ends(subject, "complete")
        for writer in writers:
            writer.stop()
        records = up_to_a_last_row(subject)
        assert connector.stop() == 0
    assert stale_reads(records) == []
    assert story.final_state(records) == story.source_state(subject)
    assert (story.twice(records), story.out_of_order(records)) == ([], [])
    assert without_reads(story.told_by(records)) == told(*writers) | {LAST: [("c", "last")]}
    reads = Counter(record.key["id"] for record in records if record.header.op is Op.READ and record.key)
    assert all(reads[key] == 1 + rounds for key in range(200, ROWS))  # nobody writes there
    accounts = subject.accounts(TABLE)
    assert sum(account.changes for account in accounts) == len(records)


RACES = {
    "update": "UPDATE person SET name = 'raced' WHERE id IN (3, 199)",
    "delete": "DELETE FROM person WHERE id = 3",
    "key change": "UPDATE person SET id = 5000003 WHERE id = 3",
    "delete and insert": "DELETE FROM person WHERE id = 3; INSERT INTO person VALUES (3, 'raced', 2)",
    "truncate": "TRUNCATE person; INSERT INTO person VALUES (3, 'raced', 2)",
    "alter and update": "ALTER TABLE person ADD COLUMN more int DEFAULT 7; "
    "UPDATE person SET name = 'raced' WHERE id = 3",
    "drop a column": "ALTER TABLE person DROP COLUMN amount",
}


def test_what_commits_between_a_chunk_and_its_mark_wins(make: Make) -> None:
    subject = make(400)
    subject.run_sql("CREATE TABLE race (sql text)")
    with subject.connector(PLANTED, "race") as connector:
        connector.says("stream_started")
        for number, (name, sql) in enumerate(RACES.items()):
            subject.execute("INSERT INTO race VALUES (%s)", sql)
            start(subject)
            ends(subject, "complete")
            assert subject.fetch("SELECT * FROM race") == []
            subject.execute("INSERT INTO person (id, name) VALUES (%s, 'last')", LAST + number)
            records = subject.wait_for_records(TABLE, is_there(LAST + number), "the last row")
            assert stale_reads(records) == [], name
            state = {key: row["name"] for key, row in story.final_state(records).items()}
            assert state == dict(subject.db.execute("SELECT id, name FROM person").fetchall()), name
        assert connector.stop() == 0
    assert (story.twice(records), story.out_of_order(records)) == ([], [])


def test_the_judge_sees_stale_rows_win_where_the_window_is_forgotten(make: Make) -> None:
    """Control: the same race and the same judge, a connector that forgets what was told meanwhile."""
    subject = make(400)
    subject.run_sql("CREATE TABLE race (sql text)")
    subject.execute("INSERT INTO race VALUES (%s)", RACES["update"])
    with subject.connector(PLANTED, "race-without-window") as connector:
        connector.says("stream_started")
        start(subject)
        ends(subject, "complete")
        records = up_to_a_last_row(subject)
        assert connector.stop() == 0
    assert sorted(stale_reads(records)) == [3, 199]
    assert story.final_state(records) != story.source_state(subject)


@pytest.mark.slow_faults
def test_killed_at_each_point_of_a_chunk_it_sends_every_row_once(make: Make) -> None:
    subject = make()
    with subject.connector() as connector:
        connector.says("stream_started")
        connector.stop()
    start(subject)
    for point in snapshot_planted.POINTS:
        with subject.connector(PLANTED, "die", DIE=point, CHUNK="1") as connector:
            assert connector.ends() == -signal.SIGKILL, connector.text()
        assert status(subject).state in ("ordered", "running")
    with subject.connector() as connector:
        connector.says("stream_started")
        found = ends(subject, "complete")
        records = up_to_a_last_row(subject)
        assert connector.stop() == 0
    assert (found.rows, found.passed) == (ROWS, 0)
    reads = Counter(record.key["id"] for record in records if record.header.op is Op.READ and record.key)
    assert reads == dict.fromkeys(range(ROWS), 2)
    assert (story.twice(records), story.out_of_order(records)) == ([], [])
    assert sum(account.changes for account in subject.accounts(TABLE)) == len(records)


def test_it_pauses_goes_on_and_stops_as_it_is_told(make: Make) -> None:
    subject = make()
    with subject.connector() as connector:
        connector.says("stream_started")
        subject.run("snapshot", "start", subject.name, "--table", TABLE, "--rows-per-s", "20")
        has_begun(subject)
        assert "is under way" in refusal(subject)
        subject.run("snapshot", "pause", subject.name)
        assert 0 < ends(subject, "paused").rows < ROWS
        subject.run_sql("UPDATE person SET name = 'meanwhile' WHERE id = 1")
        subject.wait_for_records(TABLE, lambda found: told_last(found, 1), "the stream")
        wait_for(lambda: subject.heartbeat()["figures"]["snapshot_state"] == "paused", "its heartbeat")
        assert connector.stop() == 0
    with subject.connector() as connector:
        connector.says("stream_started")
        assert status(subject).state == "paused"
        subject.run("snapshot", "resume", subject.name, "--rows-per-s", "0")
        assert ends(subject, "complete").rows == ROWS
        with pytest.raises(PlanError, match="no snapshot is under way"):
            snapshots(subject).wish(Wish.RUN)
        start(subject, rows_per_s=20)
        has_begun(subject)
        subject.run("snapshot", "stop", subject.name)
        stopped = ends(subject, "stopped")
        shown = subject.result("snapshot", "status", subject.name, "--json").stdout
        assert json.loads(shown)["state"] == "stopped"
        records = up_to_a_last_row(subject)
        assert connector.stop() == 0
    reads = sum(record.header.op is Op.READ for record in records)
    assert reads == 2 * ROWS + stopped.rows
    assert stopped.rows < ROWS
    assert stale_reads(records) == []
    assert story.final_state(records) == story.source_state(subject)


def test_it_waits_for_transactions_that_are_older_and_for_nobody_who_alters_the_table(make: Make) -> None:
    subject = make(100)
    with subject.connector() as connector, psycopg.connect(subject.dsn) as other:
        connector.says("stream_started")
        other.execute("UPDATE person SET name = 'slow' WHERE id = 1")
        start(subject)
        wait_for(lambda: hint(subject, "still open"), "what it waits for")
        other.execute("LOCK TABLE person IN ACCESS EXCLUSIVE MODE")
        wait_for(lambda: hint(subject, "is locked"), "the lock")
        other.commit()
        ends(subject, "complete")
        records = up_to_a_last_row(subject)
        assert connector.stop() == 0
    assert stale_reads(records) == []
    assert story.final_state(records) == story.source_state(subject)


def test_what_is_told_before_it_can_be_seen_is_not_overwritten(make: Make) -> None:
    """A commit that waits for a standby is in the log, and told, long before another session sees it."""
    subject = make(100)
    with subject.connector() as connector:
        connector.says("stream_started")
        with unseen_commit(subject):
            start(subject)
            wait_for(lambda: hint(subject, "still open"), "what it waits for")
        ends(subject, "complete")
        records = up_to_a_last_row(subject)
        assert connector.stop() == 0
    assert stale_reads(records) == []
    assert story.final_state(records) == story.source_state(subject)


def test_the_judge_sees_it_overwritten_where_nothing_is_waited_for(make: Make) -> None:
    """Control: the same, a connector that does not wait before its first chunk."""
    subject = make(100)
    with subject.connector(PLANTED, "impatient") as connector:
        connector.says("stream_started")
        with unseen_commit(subject):
            start(subject)
            ends(subject, "complete")
        records = up_to_a_last_row(subject)
        assert connector.stop() == 0
    assert stale_reads(records) == [1]


@contextmanager
def unseen_commit(subject: PostgresSubject) -> Iterator[None]:
    """Have an update of row 1 be told that no session sees before the body ends."""
    names = ["row"]
    stop = threading.Event()

    def update() -> None:
        with psycopg.connect(subject.dsn, autocommit=True) as db:
            while not stop.is_set():  # the first ones may not wait: the setting takes effect in its own time
                names.append(f"told {len(names)}")
                db.execute("UPDATE person SET name = %s WHERE id = 1", [names[-1]])

    def is_unseen() -> bool:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        return subject.fetch(waiting) == [(1,)]

    writer = threading.Thread(target=update)
    subject.execute("SET synchronous_commit = local")
    subject.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    try:
        subject.execute("SELECT pg_reload_conf()")
        writer.start()
        wait_for(is_unseen, "a commit that waits")
        subject.wait_for_records(TABLE, lambda found: told_name(found, 1) == names[-1], "what it told")
        yield
    finally:
        stop.set()
        subject.execute("ALTER SYSTEM RESET synchronous_standby_names")
        subject.execute("SELECT pg_reload_conf()")
        writer.join()


def told_name(records: list[Record], key: int) -> str | None:
    rows = [record.value["after"] for record in records if (record.key or {}).get("id") == key]
    return rows[-1]["name"] if rows else None


def test_it_fails_with_the_reason_and_the_stream_goes_on(make: Make) -> None:
    subject = make()
    subject.run_sql("CREATE TABLE other (id bigint PRIMARY KEY, name text)")
    subject.add_table("public.other")
    subject.publish_plan(2)
    with subject.connector() as connector:
        connector.says("stream_started")
        assert "no resource" in refusal(subject, "public.nothing")
        assert "Did you mean" in refusal(subject, "public.persn")
        assert "no view 'school'" in refusal(subject, view="school")
        for change, reason in {
            "DROP CONSTRAINT person_pkey, ADD PRIMARY KEY (id, name)": "had the primary key (id bigint)",
            "DROP CONSTRAINT person_pkey": "has no primary key",
        }.items():
            start(subject, rows_per_s=20)
            has_begun(subject)
            subject.db.execute(f"ALTER TABLE person {change}".encode())
            assert reason in ends(subject, "failed").reason
        assert subject.result("snapshot", "status", subject.name).returncode == 1
        subject.run_sql("ALTER TABLE person ADD PRIMARY KEY (id)")
        start(subject, rows_per_s=20)
        has_begun(subject)
        subject.run_sql("DROP TABLE person")
        assert TABLE in ends(subject, "failed").reason
        subject.run_sql("INSERT INTO other VALUES (1, 'a')")
        subject.wait_for_records("public.other", lambda found: len(found) == 1, "the other table's change")


def hint(subject: PostgresSubject, words: str) -> bool:
    return words in str(subject.heartbeat().get("figures", {}).get("snapshot_hint", ""))


def start(subject: PostgresSubject, rows_per_s: int = 0) -> None:
    snapshots(subject).start(TABLE, rows_per_s=rows_per_s)


def snapshots(subject: PostgresSubject) -> Snapshots:
    return Snapshots(subject.stack.settings, subject.name)


def status(subject: PostgresSubject) -> SnapshotStatus:
    found = snapshots(subject).status()
    assert found is not None
    return found


def ends(subject: PostgresSubject, state: str) -> SnapshotStatus:
    """Wait until the snapshot is in a state, and return its status."""

    def look() -> SnapshotStatus | None:
        found = status(subject)
        assert state == "failed" or found.state != "failed", found
        return found if found.state == state else None

    return wait_for(look, f"state {state}", 120)


def has_begun(subject: PostgresSubject) -> None:
    wait_for(lambda: status(subject).rows > 0, "the first chunk")


def refusal(subject: PostgresSubject, table: str = TABLE, view: str = "") -> str:
    with pytest.raises(PlanError) as refused:
        snapshots(subject).start(table, view)
    return str(refused.value)


def up_to_a_last_row(subject: PostgresSubject) -> list[Record]:
    """Insert a last row and return everything up to it."""
    subject.run_sql(f"INSERT INTO person VALUES ({LAST}, 'last', 1)")  # noqa: S608
    return subject.wait_for_records(TABLE, is_there(LAST), "the last row")


def is_there(key: int) -> Callable[[list[Record]], bool]:
    return lambda found: any((record.key or {}).get("id") == key for record in found)


def told_last(records: list[Record], key: int) -> bool:
    return [r.header.op for r in records if (r.key or {}).get("id") == key][-1:] == [Op.UPDATE]


def stale_reads(records: Iterable[Record]) -> list[int]:
    """Return keys of rows read that are not as the records before had told: each `r` shows the newest."""
    places: dict[int, int] = {}
    names: dict[int, str | None] = {}
    gone: set[int] = set()
    stale = []
    for record in records:
        if record.key is None:
            here = [key for key, partition in places.items() if partition == record.partition]
            gone |= {key for key in here if key in names}
            continue
        key, after = record.key["id"], record.value["after"]
        places[key] = record.partition
        if record.header.op is Op.READ and (key in gone or names.get(key, after["name"]) != after["name"]):
            stale.append(key)
        if after is None:
            gone.add(key)
        else:
            gone.discard(key)
            names[key] = after["name"]
    return stale


def without_reads(stories: dict[int, list[story.Told]]) -> dict[int, list[story.Told]]:
    kept = {key: [what for what in told if what[0] != "r"] for key, told in stories.items()}
    return {key: told for key, told in kept.items() if told}


def told(*writers: story.Writer) -> dict[int, list[story.Told]]:
    return {key: what for writer in writers for key, what in writer.told.items()}
