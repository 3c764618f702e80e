"""What ClickHouse holds of the accounts against what Kafka has, after somebody meddled with the former."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from confluent_kafka import Producer

from exchange.account import Account
from exchange.cluster import TopicSpec
from monitor.clickhouse.client import ClickHouse
from monitor.ingest import Ingest
from monitor.reconcile import Reconciled
from monitor.rows import COLUMNS, account_row
from monitor.suspects import steps_of
from tests.integration.test_monitor import CHANGES, pair
from tests.stack import Stack, wait_for

SHARES_STACK = True
PAIRS = 30


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """The process's one embedded engine; each test has a database of its own in it."""
    with ClickHouse(f"chdb:{tmp_path_factory.mktemp('chdb') / 'store'}") as opened:
        yield opened


class Bench:
    """One test's accounts topic and tables, and an ingest that follows the one into the other."""

    def __init__(self, stack: Stack, engine: ClickHouse) -> None:
        name = uuid.uuid4().hex[:8]
        self.topic, self.raw = f"_exchange.accounts-{name}", f"raw.{name}.public.t"
        self.client = stack.settings.kafka_client("admin")
        stack.admin.ensure_topics([TopicSpec(self.topic, 1)])
        self.clickhouse = ClickHouse(engine._endpoint, database=f"reconcile_{name}")
        self.clickhouse._lock_file = -1  # the lock is the engine's already
        self.clickhouse.open()
        self.clickhouse._lock_file = None

    def write(self, pairs: int) -> None:
        """Write accounts, a transaction each, whose markers leave holes in the offsets."""
        producer = Producer(self.client | {"transactional.id": f"stream-{self.topic}"})
        producer.init_transactions(30)
        for number in range(pairs):
            one = pair(self.raw, first=number * CHANGES)
            producer.begin_transaction()
            for account in (one.capture, one.process):
                producer.produce(self.topic, account.encode())
            producer.commit_transaction(30)

    @contextmanager
    def ingest(self) -> Iterator[Ingest]:
        """Follow the topic, comparing all the time."""
        stop = threading.Event()
        ingest = Ingest(self.client, self.clickhouse, stop, self.topic, reconcile_every_s=0.05)
        thread = threading.Thread(target=ingest.session, args=(lambda: None,))
        thread.start()
        try:
            yield ingest
        finally:
            stop.set()
            thread.join()

    def offsets(self) -> list[int]:
        """Return all stored offsets, repetitions too."""
        rows = self.clickhouse.query("stored_in_stretch", partition=0, first=0, until=10**9)
        return [row["account_offset"] for row in rows for _ in range(row["copies"])]

    def delete(self, gone: list[int]) -> None:
        self.clickhouse.command(
            "DELETE FROM accounts WHERE account_offset IN {gone:Array(UInt64)}", gone=gone
        )

    def processed(self) -> int:
        rows = self.clickhouse.query("totals", step_s=60, since_s=0, by_minute_s=0)
        return sum(row["processed"] for row in rows)

    def uneven(self) -> list[Any]:
        starts = steps_of(set(), 3600, 60, int(time.time()))
        return [self.clickhouse.query(name, starts=starts) for name in ("uneven_minutes", "uneven_views")]

    def compared(self, ingest: Ingest, holds: Callable[[Reconciled], bool]) -> Reconciled:
        """Wait for a round that began from now on and whose result holds."""
        since_ms = time.time_ns() // 1_000_000

        def look() -> Reconciled | None:
            found = ingest.reconciler.found
            return found if (found.at_ms or 0) > since_ms and holds(found) else None

        return wait_for(look, "a whole comparison")

    def mended(self, ingest: Ingest, at_least: int) -> int:
        return self.compared(ingest, lambda found: found.mended >= at_least).mended


@pytest.fixture
def bench(stack: Stack, engine: ClickHouse) -> Iterator[Bench]:
    made = Bench(stack, engine)
    made.write(PAIRS)
    yield made
    made.clickhouse.close()


def all_in(bench: Bench, ingest: Ingest) -> list[int]:
    wait_for(lambda: ingest.progress.accounts == 2 * PAIRS, "all accounts stored")
    bench.compared(ingest, lambda found: found.until_offset == ingest.progress.next_offset)
    wait_for(lambda: bench.processed() == PAIRS * CHANGES, "all accounts rolled up")
    return bench.offsets()


def test_what_is_known_goes_as_far_as_is_rolled_up_and_goes_on_at_rest(bench: Bench) -> None:
    with bench.ingest() as ingest:
        all_in(bench, ingest)
        with patch.object(ingest._rollups, "settle", lambda: None):  # a machine with no time for it
            wait_for(lambda: ingest._rollups.minutes_are_done, "what was touched before")
            bench.write(1)
            wait_for(lambda: ingest.progress.accounts == 2 * PAIRS + 2, "the new accounts stored")
            stored_ms, held_ms = time.time_ns() // 1_000_000, ingest.progress.settled_ms
            wait_for(lambda: ingest._read_to_ms > stored_ms, "reading that has come to the end again")
            assert ingest.progress.settled_ms == held_ms < stored_ms
        wait_for(lambda: ingest.progress.settled_ms > stored_ms, "the new accounts rolled up")
        assert ingest._rollups.minutes_are_done
        rested_ms = time.time_ns() // 1_000_000
        wait_for(lambda: ingest.progress.settled_ms > rested_ms, "time that goes on without accounts")


def test_deleted_accounts_are_stored_again_and_others_left_alone(bench: Bench) -> None:
    with bench.ingest() as ingest:
        before = all_in(bench, ingest)
        assert len(before) == len(set(before)) == 2 * PAIRS
        assert ingest.reconciler.found.mended == 0
        mended = 0
        for gone in (before[:7], before[20:29], before[-5:]):
            bench.delete(gone)
            mended += len(gone)
            assert bench.mended(ingest, mended) == mended
        assert bench.offsets() == before
        wait_for(lambda: bench.processed() == PAIRS * CHANGES, "the minutes rolled up anew")
        assert bench.uneven() == [[], []]


def test_a_deletion_before_the_start_is_mended_after_it(bench: Bench) -> None:
    with bench.ingest() as ingest:
        before = all_in(bench, ingest)
    bench.delete(before[3:9])

    with bench.ingest() as ingest:
        bench.compared(ingest, lambda found: found.mended == 6)

    assert bench.offsets() == before


def test_an_account_that_is_there_twice_is_there_once_and_counted_once(bench: Bench) -> None:
    with bench.ingest() as ingest:
        before = all_in(bench, ingest)
        again = "INSERT INTO accounts SELECT * FROM accounts WHERE account_offset IN {twice:Array(UInt64)}"
        bench.clickhouse.command(again, twice=before[10:16])
        bench.compared(ingest, lambda found: found.mended >= 6)

        assert bench.offsets() == before
        assert bench.processed() == PAIRS * CHANGES
        assert bench.uneven() == [[], []]


def test_an_account_that_kafka_never_had_is_told_and_kept(bench: Bench) -> None:
    with bench.ingest() as ingest:
        before = all_in(bench, ingest)
        hole = next(offset for offset in range(before[-1]) if offset not in set(before))
        now_ms = time.time_ns() // 1_000_000
        made_up = Account("process", writer="nobody", resource="", topic=bench.raw, minute=now_ms // 60_000)
        row = account_row(0, hole, made_up, now_ms)
        bench.clickhouse.insert("accounts", COLUMNS, [row], "made-up")
        found = bench.compared(ingest, lambda found: found.strange > 0)

    assert (found.strange, found.mended) == (1, 0)
    assert hole in bench.offsets()


def test_a_reconciler_that_mends_under_an_old_token_would_lose_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault planted: ClickHouse takes what is stored again for a repetition and drops it."""
    insert = ClickHouse.insert

    def reuse(self: ClickHouse, table: str, columns: Any, rows: Any, token: str = "") -> None:
        insert(self, table, columns, rows, "always-the-same" if table == "accounts" else token)

    with bench.ingest() as ingest:
        before = all_in(bench, ingest)
        monkeypatch.setattr(ClickHouse, "insert", reuse)
        for _ in range(2):
            gone = before[4:8]
            bench.delete(gone)
            bench.compared(ingest, lambda found: found.mended >= 4)
        assert bench.offsets() != before
        monkeypatch.undo()
        wait_for(lambda: bench.offsets() == before, "the round that has tokens of its own")


def test_rollups_that_were_cut_off_are_made_up_for_at_the_next_start(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash after accounts are stored and before they are rolled up, as seen by the next start."""
    with monkeypatch.context() as planted:
        planted.setattr("monitor.clickhouse.rollups.Rollups.settle", lambda _self: None)
        with bench.ingest() as ingest:
            wait_for(lambda: ingest.progress.accounts == 2 * PAIRS, "all accounts stored")
        assert bench.processed() == 0

    with bench.ingest():
        wait_for(lambda: bench.processed() == PAIRS * CHANGES, "all accounts rolled up")
        assert bench.uneven() == [[], []]
