"""Where refused records lie, from real quarantine topics to ClickHouse: each once, and no payload."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition

from exchange.change import Reason
from exchange.cluster import TopicSpec
from exchange.errors import TransientError
from exchange.keys import QuarantineRecord
from monitor import quarantine
from monitor.clickhouse.client import ClickHouse
from monitor.quality import BrokenRule, Indicators, ResourceQuality, with_examples
from monitor.quarantine import Examples
from tests.stack import Stack, wait_for

SHARES_STACK = True
PARTITIONS = 2
CANARY = b"11010119900307761X"
NOTHING = Indicators(completeness=None, validity=None, uniqueness=None, timeliness=None, consistency=None)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """The process's one embedded engine; each test has a database of its own in it."""
    with ClickHouse(f"chdb:{tmp_path_factory.mktemp('chdb') / 'store'}") as opened:
        yield opened


class Refused:
    """One test's quarantine topic and tables, and examples that follow the one into the other."""

    def __init__(self, stack: Stack, engine: ClickHouse) -> None:
        name = uuid.uuid4().hex[:8]
        self.topic, self.raw = f"quarantine.index_{name}.t", f"raw.index_{name}.public.t"
        self.stack, self.client = stack, stack.settings.kafka_client("admin")
        self.now_ms = time.time_ns() // 1_000_000
        self.make_topic()
        self.clickhouse = ClickHouse(engine._endpoint, database=f"index_{name}")
        self.clickhouse._lock_file = -1  # the lock is the engine's already
        self.clickhouse.open()
        self.clickhouse._lock_file = None

    def make_topic(self) -> None:
        self.stack.admin.ensure_topics([TopicSpec(self.topic, PARTITIONS)])

    def record(self, offset: int) -> bytes:
        return QuarantineRecord(
            resource="index.t", stage="process", topic=self.raw, partition=0, offset=offset, header=b"",
            reason=Reason.RANGE, field="age", plan_version=3, at_ms=self.now_ms + offset,
            payload_bytes=len(CANARY), sealed=CANARY,
        ).encode()  # fmt: skip

    def refuse(self, first: int, count: int, *, aborted: bool = False) -> None:
        """Write refused records in one transaction, all in partition 1."""
        producer = Producer(self.client | {"transactional.id": f"stream-{self.topic}"})
        producer.init_transactions(30)
        producer.begin_transaction()
        for offset in range(first, first + count):
            producer.produce(self.topic, self.record(offset), partition=1)
        producer.flush(30)
        producer.abort_transaction(30) if aborted else producer.commit_transaction(30)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow the topic; a session that ends with an error is begun again, as the monitor does."""
        stop = threading.Event()
        examples = Examples(self.client, self.clickhouse, stop, self.topic)

        def run() -> None:
            while not stop.is_set():
                try:
                    examples.session(lambda: None)
                except TransientError:
                    stop.wait(0.1)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def raw_offsets(self) -> list[int]:
        """Return the raw offsets of all records that are kept, each as often as it counts."""
        return [row["offset"] for row in self.examples_of(1_000_000)]

    def examples_of(self, most: int) -> list[dict[str, Any]]:
        given = {"topics": [self.raw], "since_ms": 0, "until_ms": 2**62, "most": most}
        return self.clickhouse.query("quality_examples", **given)

    def holds(self, wanted: set[int]) -> None:
        wait_for(lambda: sorted(self.raw_offsets()) == sorted(wanted), "the refused records", 60)


@pytest.fixture
def refused(stack: Stack, engine: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> Iterator[Refused]:
    """Yield a topic whose records have a slot each, so that the index holds all of them."""
    monkeypatch.setattr(quarantine, "SLOTS", 2**32)
    made = Refused(stack, engine)
    yield made
    made.clickhouse.close()


def test_what_was_committed_is_there_once_and_no_payload(refused: Refused) -> None:
    refused.refuse(0, 20)
    refused.refuse(100, 20, aborted=True)
    with refused.following():
        refused.holds(set(range(20)))
        refused.refuse(20, 5)
        refused.holds(set(range(25)))
    with refused.following():
        refused.refuse(25, 5)
        refused.holds(set(range(30)))
    rows = refused.clickhouse._run(
        lambda: refused.clickhouse._connected().query("SELECT * FROM quarantine_examples").result_rows
    )
    assert len(rows) == 30, "nothing was stored again"
    assert CANARY.decode() not in repr(rows)
    rule = BrokenRule(stage="process", reason="range", field="age", changes=30)
    given = {"topic": refused.raw, "resource": "index.t", "captured": 30, "refused": 30, "score": None}
    resource = ResourceQuality(**given, indicators=NOTHING, score_before=None, worst=(rule,))
    [shown] = with_examples(refused.clickhouse, dt.datetime.now(dt.UTC).date(), [resource])
    assert [one.offset for one in shown.worst[0].examples] == [29, 28, 27]
    assert all(one.place.startswith("1:") for one in shown.worst[0].examples)


def test_a_flood_of_refusals_leaves_a_few_with_the_newest_among_them(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "SLOTS", 8)
    with refused.following():
        for first in range(0, 2000, 400):
            refused.refuse(first, 400)
        wait_for(lambda: max(refused.raw_offsets(), default=0) == 1999, "the newest record", 60)
    assert len(refused.raw_offsets()) == 8
    assert min(refused.raw_offsets()) > 1900, "in each slot the newest is kept"


def crashing_at(
    monkeypatch: pytest.MonkeyPatch, refused: Refused, table: str, *, before: bool
) -> Callable[[], bool]:
    """Let the first insert of records' rows or places behind a record end in an error; say whether it did."""
    insert, crashed = refused.clickhouse.insert, threading.Event()

    def struck(name: str, columns: Any, rows: Any, token: str = "") -> None:
        is_behind = name == "quarantine_examples" or any(row[4] > row[3] for row in rows)
        strikes = name == table and is_behind and not crashed.is_set()
        if strikes and before:
            crashed.set()
            raise TransientError("planted")
        insert(name, columns, rows, token)
        if strikes:
            crashed.set()
            raise TransientError("planted")

    monkeypatch.setattr(refused.clickhouse, "insert", struck)
    return crashed.is_set


@pytest.mark.parametrize("table", ["quarantine_examples", "quarantine_places"])
@pytest.mark.parametrize("before", [True, False])
def test_a_crash_between_rows_and_place_neither_loses_nor_repeats(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, table: str, before: bool
) -> None:
    refused.refuse(0, 20)
    crashed = crashing_at(monkeypatch, refused, table, before=before)
    with refused.following():
        refused.holds(set(range(20)))
        refused.refuse(20, 5)
        refused.holds(set(range(25)))
    assert crashed()


def test_the_check_sees_a_place_that_is_kept_before_its_rows(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the place goes to ClickHouse first, and the rows are struck."""
    refused.refuse(0, 20)
    insert = refused.clickhouse.insert
    struck = threading.Event()

    def early(name: str, columns: Any, rows: Any, token: str = "") -> None:
        if name == "quarantine_examples" and not struck.is_set():
            places = [(*row[7:9], row[6], 0, row[9] + 1, 2**62) for row in rows]
            insert("quarantine_places", PLACES_OF_ROWS, places)
            struck.set()
            raise TransientError("planted")
        insert(name, columns, rows, token)

    monkeypatch.setattr(refused.clickhouse, "insert", early)
    with refused.following():
        wait_for(struck.is_set, "the planted crash", 60)
        refused.refuse(20, 5)
        wait_for(lambda: set(range(20, 25)) <= set(refused.raw_offsets()), "what came later", 60)
    assert not set(range(20)) & set(refused.raw_offsets()), "the first batch is lost, and it is seen"


PLACES_OF_ROWS = (
    "quarantine_topic", "quarantine_partition", "topic_id", "first_offset", "next_offset", "at_ms",
)  # fmt: skip


def test_places_that_kafka_no_longer_has_are_no_examples(refused: Refused) -> None:
    refused.refuse(0, 10)
    with refused.following():
        refused.holds(set(range(10)))
    gone = refused.stack.admin.client.delete_records([TopicPartition(refused.topic, 1, 6)])
    assert all(answer.result() for answer in gone.values())
    with refused.following():
        refused.holds(set(range(6, 10)))


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(refused: Refused) -> None:
    refused.refuse(0, 10)
    with refused.following():
        refused.holds(set(range(10)))
    refused.stack.admin.delete_topic(refused.topic)
    wait_for(lambda: refused.topic not in refused.stack.admin.topics(), "the topic is gone", 60)
    refused.make_topic()
    refused.refuse(50, 30)
    with refused.following():
        refused.holds(set(range(50, 80)))
