"""What every kind of sink promises, on its real target and real Kafka, as processes that are killed."""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Callable, Iterator

import psycopg
import pytest

from exchange.apply.revoke import Wish, revoke
from tests.conformance import struck_sink
from tests.conformance.feed import EMPTY, FULL, PARTITIONS, TYPES, Writer
from tests.conformance.sink_harness import SINK_SUBJECTS, STRUCK, PostgresSinkSubject, SinkSubject
from tests.stack import Stack, wait_for

SEEDS = int(os.environ.get("EXCHANGE_FAULT_SEEDS", "1"))
Make = Callable[..., SinkSubject]


long = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(name, marks=() if name == "postgres" else pytest.mark.slow_faults)
        for name in SINK_SUBJECTS
    ],
)
"""What takes long is done for every kind by `make test-faults`, by `make test` for the one to copy."""


@pytest.fixture(params=SINK_SUBJECTS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def make(stack: Stack, kind: str, request: pytest.FixtureRequest) -> Iterator[Make]:
    """Return a maker of deliveries, each with its own views and target."""
    made: list[SinkSubject] = []

    def build(*views: str) -> SinkSubject:
        number = abs(hash(request.node.nodeid)) % 10**8
        subject = SINK_SUBJECTS[kind](stack, f"d{number}n{len(made)}", views or ("person",))
        made.append(subject)
        return subject

    yield build
    for subject in made:
        subject.close()


def test_every_type_null_and_operation_arrives(make: Make) -> None:
    subject = make()
    feed = subject.feed
    with subject.deliverer() as deliverer:
        deliverer.says("delivery_started", 300)
        with feed.transaction():
            for key in range(20):
                feed.put(key, FULL if key % 2 else EMPTY)
        subject.wait_for_state()
        with feed.transaction():
            feed.put(1, EMPTY | {"name": "新"})
            feed.put(2, FULL)
            feed.delete(3)
            feed.put(3, FULL | {"name": "again"})
            feed.delete(4)
        subject.wait_for_state()
        with feed.transaction():
            feed.put(5, FULL | {"name": "gone by the truncate"})
            feed.truncate()
            feed.put(6, FULL | {"name": "after it"})
        subject.wait_for_state()
        wait_for(lambda: subject.heartbeat().get("figures", {}).get("lag_records") == 0, "no lag shown", 120)
        changes = len(feed.positions)
        wait_for(lambda: subject.shown()[:3] == (subject.name, changes, 0), "the monitor's figures", 120)
        # a marker of the last transaction in each partition
        wait_for(lambda: (subject.shown()[3] or 0) <= PARTITIONS, "no lag in the monitor's figures", 120)
        assert deliverer.stop() == 0
    assert_accounted(subject)
    assert subject.parked() == []


@long
@pytest.mark.parametrize("seed", range(SEEDS))
def test_killed_at_each_point_of_a_batch_nothing_is_lost_or_doubled(make: Make, seed: int) -> None:
    subject = make()
    dice = random.Random(seed)
    with Writer(subject.feed, seed) as writer:
        for point in struck_sink.POINTS:
            with subject.deliverer(STRUCK, point, str(dice.randrange(1, 4)), subject.kind) as deliverer:
                assert deliverer.ends(300) == -signal.SIGKILL, deliverer.text()
        for _ in range(2):
            with subject.deliverer() as deliverer:
                subject.wait_for_kept(dice.randrange(1, 200))
                deliverer.kill()
        writer.stop()
    with subject.deliverer() as deliverer:
        subject.wait_for_state()
        wait_for(lambda: accounted(subject) >= len(subject.feed.positions), "the last account", 300)
        assert deliverer.stop() == 0
    if subject.tells_story:
        assert subject.story() == subject.feed.story
    assert_accounted(subject)


@long
def test_the_judge_finds_places_that_went_before_their_rows(make: Make) -> None:
    """Control: the same comparison, a delivery that keeps its places first and is killed just then."""
    subject = make()
    writer = Writer(subject.feed, 3)
    with subject.deliverer(STRUCK, "places-first", "1", subject.kind) as deliverer:
        deliverer.says("delivery_started", 300)
        writer.transaction()
        assert deliverer.ends(300) == -signal.SIGKILL
    lost = set(subject.feed.state)
    with subject.deliverer() as deliverer, subject.feed.transaction():
        subject.feed.put(100_000, FULL)
    with subject.deliverer():
        wait_for(lambda: 100_000 in (subject.state() or {}), "the last row", 300)
        assert lost - set(subject.state() or {})


@long
def test_while_the_target_is_away_it_waits_and_then_goes_on(make: Make) -> None:
    subject = make()
    if not subject.can_be_away:
        pytest.skip("an engine in the process itself is never away")
    feed = subject.feed
    with subject.deliverer() as deliverer:
        deliverer.says("delivery_started", 300)
        with feed.transaction():
            feed.put(1, FULL)
        subject.wait_for_state()
        with subject.away():
            with feed.transaction():
                feed.put(2, FULL)
            wait_for(lambda: subject.heartbeat().get("state") in ("waiting", "halted"), "its state", 120)
            assert subject.heartbeat()["figures"]["lag_records"] > 0
        subject.wait_for_state()
        assert deliverer.stop() == 0
    assert_accounted(subject)


@long
def test_of_two_deliverers_one_ends_and_the_other_goes_on(make: Make) -> None:
    """The first ends; the second where the first had to begin anew just then, and so came later."""
    subject = make()
    writer = Writer(subject.feed, 5)
    with subject.deliverer() as first:
        first.says("delivery_started", 300)
        writer.transaction()
        subject.wait_for_state()
        with subject.deliverer() as second:

            def write_until_one_ended() -> bool:
                writer.transaction()
                return first.has_ended() or second.has_ended()

            try:
                wait_for(write_until_one_ended, "the end of one of them", 300)
            except AssertionError:
                pytest.fail(f"first: {first.text()[-1500:]}\nsecond: {second.text()[-1500:]}")
            over, other = (first, second) if first.has_ended() else (second, first)
            assert over.ends(300) == 1
            assert "taken over" in over.text() or "only one may run" in over.text()
            subject.wait_for_state()
            assert other.stop() == 0
    if subject.tells_story:
        assert subject.story() == subject.feed.story
    assert_accounted(subject)


@long
def test_a_grant_that_ends_stops_its_view_and_no_other(make: Make) -> None:
    subject = make("person", "other")
    with subject.deliverer() as deliverer:
        for feed in subject.feeds.values():
            with feed.transaction():
                feed.put(1, FULL)
        for view in subject.views:
            subject.wait_for_state(view)
        admin = subject.stack.admin
        gone = {acl for acl in admin.acls() if acl.name == subject.feed.topic}
        assert gone
        admin.remove_acls(gone)
        deliverer.says("delivery_denied")
        for feed in subject.feeds.values():
            with feed.transaction():
                feed.put(2, FULL)
        subject.wait_for_state("other")
        wait_for(lambda: "no grant" in str(subject.heartbeat().get("halted")), "the reason", 120)
        subject.publish(without="person")
        deliverer.says("delivery_ended")
        assert deliverer.stop() == 0
    assert set(subject.state("person") or {}) == {1}


@long
def test_a_revoked_view_is_delivered_no_more_before_any_new_plan(make: Make) -> None:
    subject = make("person", "other")
    with subject.deliverer() as deliverer:
        for feed in subject.feeds.values():
            with feed.transaction():
                feed.put(1, FULL)
        for view in subject.views:
            subject.wait_for_state(view)
        revoke(subject.stack.settings, Wish(subject.name, subject.views["person"], "test", "trial"))
        deliverer.says("delivery_ended")
        for feed in subject.feeds.values():
            with feed.transaction():
                feed.put(2, FULL)
        subject.wait_for_state("other")
        assert deliverer.stop() == 0
    assert set(subject.state("person") or {}) == {1}


@long
def test_what_cannot_be_decoded_is_parked_and_the_rest_goes_on(make: Make) -> None:
    subject = make()
    feed = subject.feed
    with subject.deliverer() as deliverer:
        deliverer.says("delivery_started", 300)
        with feed.transaction():
            feed.put(1, FULL)
            feed.raw(0, b"\x00\x00\x00\x00\x01junk", b"random bytes")
            feed.raw(1, None, b"no header", header=False)
            feed.put(2, FULL)
        subject.wait_for_state()
        wait_for(lambda: len(subject.parked()) == 2, "two parked", 120)
        wait_for(lambda: subject.heartbeat().get("figures", {}).get("parked") == 2, "them shown", 120)
        assert deliverer.stop() == 0
    assert {partition for partition, _ in subject.parked()} == {0, 1}
    assert_accounted(subject, refused=1, foreign=1)


@long
def test_records_that_kafka_removed_before_they_were_delivered_halt_the_view(make: Make) -> None:
    subject = make("person", "other")
    feed = subject.feed
    with subject.deliverer() as deliverer:
        deliverer.says("delivery_started", 300)
        with feed.transaction():
            for key in range(30):
                feed.put(key, FULL)
        subject.wait_for_state()
        assert deliverer.stop() == 0
    with feed.transaction():
        for key in range(30, 90):
            feed.put(key, FULL)
    subject.drop_records("person")
    with subject.deliverer() as deliverer:
        deliverer.says("delivery_halted")
        with subject.feeds["other"].transaction():
            subject.feeds["other"].put(1, FULL)
        subject.wait_for_state("other")
        assert "resnapshot" in deliverer.text()
        assert deliverer.stop() == 1
    assert max(subject.state() or {}) < 30


@pytest.fixture
def postgres(stack: Stack, request: pytest.FixtureRequest) -> Iterator[PostgresSinkSubject]:
    subject = PostgresSinkSubject(stack, f"p{abs(hash(request.node.nodeid)) % 10**8}")
    yield subject
    subject.close()


def test_postgres_written_once_more_by_the_process_before_us_is_opened_anew(
    postgres: PostgresSinkSubject,
) -> None:
    """It has been fenced in Kafka and does not know yet: the one that came later must not end for it."""
    writer = Writer(postgres.feed, 5)
    with postgres.deliverer() as first:
        first.says("delivery_started", 300)
        writer.transaction()
        postgres.wait_for_state()
        with postgres.deliverer(STRUCK, "behind", "0", postgres.kind) as second:
            second.says("has opened", 300)

            def write_until_it_ended() -> bool:
                writer.transaction()
                return first.has_ended()

            wait_for(write_until_it_ended, "the end of the first", 300)
            second.says("has written view")
            postgres.wait_for_state()
            assert second.stop() == 0
    assert_accounted(postgres)


def test_postgres_parks_what_the_table_cannot_hold(postgres: PostgresSinkSubject) -> None:
    """Texts with NUL, and what the subscriber's own constraint refuses, among the good rows of one batch."""
    feed = postgres.feed
    with postgres.deliverer() as deliverer:
        deliverer.says("delivery_started", 300)
        with feed.transaction():
            feed.put(1, FULL | {"small": 1})
        postgres.wait_for_state()
        postgres.fetch("ALTER TABLE {} ADD CHECK (small > 0)", postgres.table())
        with feed.transaction():
            for key in range(2, 60):
                feed.put(key, FULL | {"small": key})
            feed.put(30, FULL | {"small": -1})
            feed.put(31, FULL | {"small": 1, "name": "a\x00b"})
            feed.put(32, FULL | {"small": 1, "tags": ["\x00"]})
            feed.put(33, FULL | {"small": 33, "name": "\\u0000 is no NUL"})
        feed.state |= {key: {"id": key, **FULL, "small": key} for key in (30, 31, 32)}
        postgres.wait_for_state()
        wait_for(lambda: len(postgres.parked()) == 3, "three parked", 120)
        assert deliverer.stop() == 0
    reasons = {row["reason"] for row in postgres.fetch("SELECT reason FROM {}", "views._exchange_parked")}
    assert reasons == {
        "PostgreSQL refuses it with SQLSTATE 23514",
        "a text with the character NUL, which PostgreSQL cannot hold",
    }
    assert_accounted(postgres, refused=3)


def test_postgres_follows_a_view_that_grows_and_halts_when_it_shrinks(postgres: PostgresSinkSubject) -> None:
    feed, small = postgres.feed, {name: TYPES[name] for name in ("name", "small")}
    postgres.types["person"] = small
    postgres.publish()
    with postgres.deliverer() as deliverer:
        deliverer.says("delivery_started", 300)
        with feed.transaction():
            feed.put(1, {"name": "before", "small": 1})
        postgres.wait_for_state()
        postgres.types["person"] = TYPES
        postgres.publish()
        with feed.transaction():
            feed.put(2, FULL)
        feed.state[1] = EMPTY | feed.state[1]
        postgres.wait_for_state()
        postgres.types["person"] = {name: TYPES[name] for name in TYPES if name != "raw"}
        postgres.publish()
        with feed.transaction():
            feed.put(3, FULL)
        deliverer.says("delivery_halted")
        advice = re.search(r"ALTER TABLE .* DROP COLUMN .raw.;", deliverer.text())
        assert advice
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            connection.execute(advice[0].encode())
        for row in feed.state.values():
            row.pop("raw")
        postgres.wait_for_state()
        assert deliverer.stop() == 0
    assert_accounted(postgres)


def test_postgres_is_filled_again_when_it_was_made_anew(postgres: PostgresSinkSubject) -> None:
    """The target is the truth about what it has, whatever Kafka's group says."""
    feed = postgres.feed
    with postgres.deliverer() as deliverer:
        deliverer.says("delivery_started", 300)
        with feed.transaction():
            for key in range(100):
                feed.put(key, FULL)
        postgres.wait_for_state()
        assert deliverer.stop() == 0
    postgres.fetch("DROP SCHEMA {} CASCADE", "views")
    with postgres.deliverer() as deliverer:
        postgres.wait_for_state()
        assert deliverer.stop() == 0


def accounted(subject: SinkSubject) -> int:
    return sum(account.changes for account in subject.accounts())


def assert_accounted(subject: SinkSubject, *, refused: int = 0, foreign: int = 0) -> None:
    """Every change is in the accounts once."""
    accounts = subject.accounts()
    positions = sum(position.hash64() for position in subject.feed.positions) % 2**64
    assert sum(account.changes for account in accounts) == len(subject.feed.positions)
    assert sum(account.position_sum for account in accounts) % 2**64 == positions
    assert sum(sum(account.refused.values()) for account in accounts) == refused
    assert sum(account.foreign for account in accounts) == foreign
    assert {account.partition for account in accounts} <= set(range(PARTITIONS))
