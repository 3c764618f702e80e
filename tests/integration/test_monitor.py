"""Accounts from Kafka through ClickHouse to the API, on the real parts."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from exchange.account import Account, content_hash
from exchange.change import Position, Reason
from exchange.cluster import TopicSpec
from exchange.errors import ConfigError, PartError
from exchange.local.home import any_free
from exchange.plan import ACCOUNTS_TOPIC
from monitor import kafka
from monitor.clickhouse import client as clickhouse_client
from monitor.clickhouse.client import ClickHouse, read_queries
from monitor.clickhouse.retention import Retention
from monitor.clickhouse.rollups import Rollups
from monitor.figures import window_steps
from monitor.ingest import PARTITION
from monitor.rows import COLUMNS, Row, account_row, token
from monitor.suspects import steps_of
from tests.stack import Stack, wait_for

CHANGES = 20


@dataclass
class Pair:
    """The two accounts of one batch, as a faultless bus writes them."""

    capture: Account
    process: Account


def pair(topic: str, first: int = 0, changes: int = CHANGES) -> Pair:
    now_ms = time.time_ns() // 1_000_000
    figures = {"resource": "test.accounts", "topic": topic, "minute": now_ms // 60_000, "made_at_ms": now_ms}
    capture = Account("capture", writer="cdc-test", **figures)  # type: ignore[arg-type]
    process = Account("process", writer="stream-test", partition=0, plan_version=1, **figures)  # type: ignore[arg-type]
    process.first_offset, process.last_offset = first, first + changes - 1
    for index in range(first, first + changes):
        position = Position(7, 1000, index)
        place, content = position.hash64(), content_hash(position, b"key", b"value")
        for account in (capture, process):
            account.came_in(place, content)
            account.took(50)
        if index % 10 == 9:
            process.was_refused(Reason.LENGTH, "name", place)
            continue
        process.was_delivered(view(topic, "one"), place, [content])
        process.was_filtered(view(topic, "two"), place)
    return Pair(capture, process)


def view(topic: str, name: str) -> str:
    return f"share.{topic.removeprefix('raw.')}.{name}"


@pytest.fixture(scope="module")
def producer(stack: Stack) -> Producer:
    return Producer({**stack.settings.kafka_client("admin"), "acks": "all", "linger.ms": 1})


def write(producer: Producer, *accounts: Account) -> None:
    for account in accounts:
        producer.produce(ACCOUNTS_TOPIC, account.encode())
    assert producer.flush(20) == 0


def api(stack: Stack, path: str) -> Any:
    answer = httpx.get(stack.settings.endpoints().api + path, trust_env=False, timeout=20)
    answer.raise_for_status()
    return answer.json()


def topic_balance(base: Any, topic: str) -> Any:
    return next((found for found in base["topics"] if found["topic"] == topic), None)


def settled(stack: Stack, topic: str, processed: int = CHANGES) -> tuple[Any, list[Any]]:
    """Return the topic's balance and problems once all its accounts are in."""

    def look() -> tuple[Any, list[Any]] | None:
        answer = api(stack, "/api/accounts/balance")
        found = topic_balance(answer, topic)
        if found is None or found["processed"] < processed:
            return None
        return found, [problem for problem in answer["problems"] if problem["topic"] == topic]

    return wait_for(look, f"accounts of {topic} in the balance")


def test_good_accounts_balance(stack: Stack, producer: Producer) -> None:
    good = pair("raw.good.public.t")
    write(producer, good.capture, good.process)

    found, problems = settled(stack, "raw.good.public.t")

    assert found["balanced"]
    assert not problems
    assert (found["captured"], found["processed"], found["refused_process"]) == (20, 20, 2)
    assert [(seen["delivered"], seen["filtered"]) for seen in found["views"]] == [(18, 0), (0, 18)]


def test_missing_delivery_names_stage_view_and_minute(stack: Stack, producer: Producer) -> None:
    topic = "raw.missing.public.t"
    bad = pair(topic)
    figures = bad.process.views[view(topic, "one")]
    figures.delivered -= 1
    figures.delivered_sum = (figures.delivered_sum - Position(7, 1000, 0).hash64()) % 2**64
    write(producer, bad.capture, bad.process)

    found, [problem] = settled(stack, topic)

    assert not found["balanced"]
    assert (problem["stage"], problem["kind"], problem["changes"]) == ("deliver", "missing", 1)
    assert problem["view_topic"] == view(topic, "one")
    assert problem["minute_ms"] == bad.process.minute * 60_000


def test_doubled_delivery_is_named(stack: Stack, producer: Producer) -> None:
    topic = "raw.doubled.public.t"
    bad = pair(topic)
    bad.process.was_delivered(view(topic, "one"), Position(7, 1000, 0).hash64(), [5])
    write(producer, bad.capture, bad.process)

    _, [problem] = settled(stack, topic)

    assert (problem["stage"], problem["kind"], problem["view_topic"]) == (
        "deliver",
        "doubled",
        view(topic, "one"),
    )


def test_batch_processed_twice_is_named(stack: Stack, producer: Producer) -> None:
    topic = "raw.twice.public.t"
    bad = pair(topic)
    write(producer, bad.capture, bad.process, bad.process)

    _, [problem] = settled(stack, topic, 2 * CHANGES)

    assert (problem["stage"], problem["kind"], problem["changes"]) == ("process", "doubled", CHANGES)


def test_altered_content_is_named(stack: Stack, producer: Producer) -> None:
    topic = "raw.altered.public.t"
    bad = pair(topic)
    bad.process.content_sum ^= 1 << 63
    write(producer, bad.capture, bad.process)

    _, [problem] = settled(stack, topic)

    assert (problem["stage"], problem["kind"]) == ("process", "altered")


def test_skipped_record_is_late_after_a_minute(stack: Stack, producer: Producer) -> None:
    topic = "raw.skipped.public.t"
    bad = pair(topic)
    bad.capture.came_in(99, 99)
    for account in (bad.capture, bad.process):
        account.made_at_ms -= 90_000
    write(producer, bad.capture, bad.process)

    _, [problem] = settled(stack, topic)

    assert (problem["stage"], problem["kind"], problem["changes"]) == ("process", "late", 1)


def test_routes_show_rate_delay_and_refusals(stack: Stack, producer: Producer) -> None:
    topic = "raw.routed.public.t"
    good = pair(topic)
    write(producer, good.capture, good.process)
    settled(stack, topic)

    def routed() -> Any:
        routes = api(stack, "/api/routes?window_s=300")["routes"]
        return next(
            (one for one in routes if one["view_topic"] == view(topic, "one") and one["refused"]), None
        )

    # refusals are the last that is rolled up; and what takes long to ask for is answered as it last was
    route = wait_for(routed, "the route to be shown with what was refused")
    assert (route["delivered"], route["filtered"], route["refused"]) == (18, 0, {"length": 2})
    assert route["rate_per_s"] == pytest.approx(18 / 60)
    assert 45 <= route["delay_ms"]["p50"] <= route["delay_ms"]["p99"] < 20_000
    [refusal] = api(stack, f"/api/refusals?topic={topic}")["refusals"]
    assert (refusal["stage"], refusal["reason"], refusal["field"], refusal["changes"]) == (
        "process", "length", "name", 2,
    )  # fmt: skip


def test_account_is_dated_when_it_came_though_it_waits_for_others(stack: Stack, producer: Producer) -> None:
    came, waited = [], []

    class Feeding(Consumer):
        """Has the next account written only when it is waited for."""

        def poll(self, timeout: float = -1) -> Message | None:
            waited.append(time.time_ns() // 1_000_000)
            write(producer, pair(f"raw.dated{len(waited)}.public.t").capture)
            message = super().poll(20)
            came.append(time.time_ns() // 1_000_000)
            return message

    consumer = Feeding(kafka.reader(stack.settings.kafka_client("monitor")))
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(ACCOUNTS_TOPIC, PARTITION), timeout=20)
        consumer.assign([TopicPartition(ACCOUNTS_TOPIC, PARTITION, end)])
        arrived = kafka.gathered(consumer, 3, 20, 20)
    finally:
        consumer.close()
    assert len(arrived) == 3
    for number, (at_ms, _) in enumerate(arrived):
        assert came[number] <= at_ms <= [*waited, time.time_ns() // 1_000_000][number + 1]


def test_redriven_change_counts_once_more_at_both_ends(stack: Stack, producer: Producer) -> None:
    topic = "raw.redriven.public.t"
    good = pair(topic)
    again = pair(topic, first=9, changes=1)
    mended = Position(7, 1000, 9).hash64()
    again.capture.stage = "redrive"
    again.process.refused.clear()
    again.process.refused_sum = 0
    again.process.was_delivered(view(topic, "one"), mended, [1])
    again.process.was_filtered(view(topic, "two"), mended)
    write(producer, good.capture, good.process, again.capture, again.process)

    found, problems = settled(stack, topic, CHANGES + 1)

    assert not problems
    assert (found["captured"], found["in_flight"]) == (CHANGES + 1, 0)


def test_status_is_complete(stack: Stack) -> None:
    def look() -> Any:
        answer = api(stack, "/api/status")
        return answer if all(part["ok"] for part in answer["parts"].values()) else None

    status = wait_for(look, "all parts of the monitor work")

    assert status["balance"] is not None
    assert status["routes"] is not None
    assert status["subscribers"] is not None
    assert status["accounts"]["next_offset"] <= status["accounts"]["end_offset"] + 1000


@contextmanager
def own_monitor(stack: Stack, directory: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A second monitor on the same Kafka, with a ClickHouse of its own."""
    environment = {
        **os.environ,
        "EXCHANGE_HOME": str(stack.home),
        "EXCHANGE_CLICKHOUSE_URL": f"chdb:{directory / 'clickhouse'}",
    }
    command = "from exchange.commands.monitor import monitor; monitor({})"
    with (directory / "monitor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", command.format(port)], env=environment, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


def ingested(port: int) -> Any:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/status", trust_env=False, timeout=20)
    except httpx.TransportError:
        return None
    return answer.json()["accounts"] if answer.status_code == 200 else None


@pytest.mark.slow_faults
def test_every_account_is_stored_once_across_kills(stack: Stack, producer: Producer, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)  # noqa: T201  to repeat a failed run
    chance, port, topic = random.Random(seed), any_free(()), "raw.killed.public.t"
    stop, written = threading.Event(), [0]

    def feed() -> None:
        while not stop.wait(0.005):
            one = pair(topic, first=written[0] * CHANGES)
            write(producer, one.capture, one.process)
            written[0] += 1

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        for _ in range(4):
            with own_monitor(stack, tmp_path, port) as process:
                wait_for(lambda: (ingested(port) or {}).get("ingested"), "progress of the ingest", 60)
                stop.wait(chance.random() * 0.5)
                process.kill()
                process.wait(60)
    finally:
        stop.set()
        feeder.join()

    with own_monitor(stack, tmp_path, port):

        def all_in() -> Any:
            answer = httpx.get(f"http://127.0.0.1:{port}/api/accounts/balance", trust_env=False, timeout=20)
            found = topic_balance(answer.json(), topic) if answer.status_code == 200 else None
            return found if found and found["processed"] >= written[0] * CHANGES else None

        wait_for(lambda: ingested(port), "the last monitor's answer", 60)
        found = wait_for(all_in, "all accounts in ClickHouse", 60)

    assert found["balanced"]
    assert found["captured"] == found["processed"] == written[0] * CHANGES


def test_second_monitor_on_the_same_clickhouse_says_who_has_it(stack: Stack) -> None:
    path = stack.settings.endpoints().clickhouse
    with pytest.raises(PartError, match=r"in use by process \d+"):
        ClickHouse(path).open()


def test_port_in_use_is_a_clear_error(stack: Stack, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with own_monitor(stack, tmp_path, taken.getsockname()[1]) as process:
            assert process.wait(60) == 1

    assert "cannot be used (Address already in use)" in (tmp_path / "monitor.log").read_text()


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """An embedded engine in the test's own process, which can have but one."""
    with ClickHouse(f"chdb:{tmp_path_factory.mktemp('chdb') / 'store'}") as opened:
        yield opened


def rolled_up(clickhouse: ClickHouse, rows: list[Row]) -> None:
    rollups = Rollups(clickhouse, 0)
    rollups.touch(rows)
    rollups.settle()


def minutes_computed(rollups: Rollups) -> bool:
    rollups.settle()
    return rollups.minutes_are_done


def rows_stored(clickhouse: ClickHouse, topic: str, step_s: int = 60) -> int:
    rows = clickhouse.query("totals", step_s=step_s, since_s=0, by_minute_s=2**40)
    return sum(row["captured"] // CHANGES for row in rows if row["topic"] == topic)


def test_repeated_insert_is_stored_once_and_another_is_not_dropped(clickhouse: ClickHouse) -> None:
    one = account_row(0, 1, pair("raw.token.public.t").capture, 1)
    other = account_row(0, 2, pair("raw.token.public.t", first=CHANGES).capture, 1)
    for rows in ([one], [one], [other], [one]):
        clickhouse.insert("accounts", COLUMNS, rows, token("accounts", ACCOUNTS_TOPIC, rows))
    rolled_up(clickhouse, [one, other])

    assert rows_stored(clickhouse, "raw.token.public.t") == 2


def twice(clickhouse: ClickHouse, topic: str) -> list[Row]:
    """Store one account under two tokens, as two monitors on one database would."""
    rows = [account_row(0, 70, pair(topic).capture, 1)]
    for name in ("one monitor", "another"):
        clickhouse.insert("accounts", COLUMNS, rows, f"{topic} by {name}")
    return rows


def test_account_that_is_stored_twice_counts_once_in_every_step(clickhouse: ClickHouse) -> None:
    topic = "raw.twice-stored.public.t"
    rolled_up(clickhouse, twice(clickhouse, topic))

    for step_s in (60, 3_600, 86_400):
        assert rows_stored(clickhouse, topic, step_s) == 1
    rolled_up(clickhouse, [account_row(0, 70, pair(topic).capture, 1)])
    assert rows_stored(clickhouse, topic, 86_400) == 1


def test_long_window_shows_what_is_rolled_up_to_minutes_only(clickhouse: ClickHouse) -> None:
    topic = "raw.long-window.public.t"
    rows = [account_row(0, at, pair(topic, first=at * CHANGES).capture, 1) for at in (80, 81)]
    rollups = Rollups(clickhouse, 0)
    for row in rows:
        clickhouse.insert("accounts", COLUMNS, [row], token("accounts", ACCOUNTS_TOPIC, [row]))
        rollups.touch([row])
        wait_for(lambda: minutes_computed(rollups), "minutes rolled up")

    assert rows_stored(clickhouse, topic, 3_600) == 1  # hours are not computed again within a minute
    steps = window_steps(time.time_ns() // 1_000_000, 90 * 86_400)
    [total] = [row for row in clickhouse.query("totals", **steps) if row["topic"] == topic]
    assert total["captured"] == 2 * CHANGES


def test_rollup_that_does_not_look_at_places_counts_twice(
    clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault planted, so that the test before can be trusted."""
    topic, name = "raw.twice-counted.public.t", "sources_of_minutes"
    careless = clickhouse._queries[name].replace("LIMIT 1 BY account_partition, account_offset", "")
    monkeypatch.setitem(clickhouse._queries, name, careless)
    rolled_up(clickhouse, twice(clickhouse, topic))

    assert rows_stored(clickhouse, topic) == 2


def test_tables_of_a_newer_version_are_refused_and_left_alone(clickhouse: ClickHouse) -> None:
    connection = clickhouse._connected()

    def plant() -> None:
        connection.command("INSERT INTO ddl_applied (name, sha256) VALUES ('9999_later.sql', '')")

    clickhouse._run(plant)
    with pytest.raises(ConfigError, match=r"newer version of this program \(9999_later.sql\)"):
        clickhouse._run(lambda: clickhouse_client.migrate(connection))
    clickhouse.command("DELETE FROM ddl_applied WHERE name = '9999_later.sql'")
    clickhouse._run(lambda: clickhouse_client.migrate(connection))


def test_retention_is_what_the_settings_say_and_set_once(clickhouse: ClickHouse) -> None:
    connection = clickhouse._connected()

    def ttl(table: str) -> str:
        return str(clickhouse._run(lambda: connection.command(f"SHOW CREATE TABLE {table}")))

    clickhouse._run(lambda: Retention(accounts_days=40, hours_days=400).apply(connection))
    assert "TTL stored_at + toIntervalDay(40)" in ttl("accounts")
    assert "toIntervalDay(400) WHERE step_s = 3600" in ttl("rollup_views")
    clickhouse._run(lambda: Retention().apply(connection))
    assert "TTL stored_at + toIntervalDay(90)" in ttl("accounts")


def test_place_to_go_on_is_after_the_last_account(clickhouse: ClickHouse) -> None:
    rows = [account_row(0, 4711, pair("raw.place.public.t").capture, 1)]
    clickhouse.insert("accounts", COLUMNS, rows, token("accounts", ACCOUNTS_TOPIC, rows))

    assert clickhouse.query("next_account", partition=0)[0]["next_offset"] == 4712


def test_every_named_query_runs(clickhouse: ClickHouse) -> None:
    given = {
        "partition": 0, "since_ms": 0, "recent_ms": 0, "since_s": 0, "step_s": 60, "topic": "", "limit": 5,
        "offset": 0,
        "growth": 1.1, "positions_ms": 0, "view_topic": "", "trend_ms": 0, "alive_ms": 0, "begin": 0,
        "minutes": [1], "topics": [""], "settled_topics": [""], "settled": [0], "stretch": 10, "first": 0,
        "until": 9, "starts": [60], "until_s": 60, "bucket": 1, "by_minute_s": 0,
        "until_ms": 0, "most": 1,
    }  # fmt: skip
    for name, sql in read_queries().items():
        clickhouse.query(name, **{key: value for key, value in given.items() if f"{{{key}:" in sql})


def test_view_of_the_plan_that_an_account_lacks_is_missing(clickhouse: ClickHouse) -> None:
    topic = "raw.planned.public.t"
    account = pair(topic).process
    del account.views[view(topic, "two")]
    rows = [account_row(0, 3, account, 1)]
    clickhouse.insert("accounts", COLUMNS, rows, token("accounts", ACCOUNTS_TOPIC, rows))
    planned = [(1, "test.accounts", topic, view(topic, name)) for name in ("one", "two")]
    clickhouse.insert("plan_views", ("plan_version", "resource", "topic", "view_topic"), planned)
    rolled_up(clickhouse, rows)

    starts = steps_of(set(), 3600, 60, int(time.time()))
    [uneven] = [row for row in clickhouse.query("uneven_views", starts=starts) if row["topic"] == topic]

    assert (uneven["view_topic"], uneven["expected"], uneven["accounted"]) == (view(topic, "two"), 18, 0)


def test_asynchronous_inserts_are_refused(clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clickhouse_client, "SETTINGS", {**clickhouse_client.SETTINGS, "async_insert": 1})
    path = clickhouse._endpoint
    second = ClickHouse(path)
    second._lock_file = -1  # the lock is ours already

    with pytest.raises(ConfigError, match="async_insert must be 0"):
        second.open()
    second._lock_file = None
    second.close()


def test_table_without_deduplication_window_is_refused(clickhouse: ClickHouse) -> None:
    connection = clickhouse._connected()

    def plant() -> None:
        connection.command("CREATE DATABASE planted")
        connection.command("CREATE TABLE planted.accounts (a Int64) ENGINE = MergeTree ORDER BY a")

    clickhouse._run(plant)

    with pytest.raises(ConfigError, match="deduplication_window"):
        clickhouse._run(lambda: clickhouse_client.refuse_unsafe_tables(connection, "planted"))


def test_subscribers_position_is_shown_with_its_lag(stack: Stack) -> None:
    topic, group = "share.test.positions.v", "test-subscriber.reader"
    stack.admin.ensure_topics([TopicSpec(topic, 1)])
    producer = Producer({**stack.settings.kafka_client("admin"), "acks": "all"})
    for _ in range(5):
        producer.produce(topic, b"record")
    assert producer.flush(20) == 0
    reader = Consumer({**stack.settings.kafka_client("admin"), "group.id": group})
    reader.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
    reader.close()

    def look() -> Any:
        found = api(stack, "/api/subscribers")
        return next((position for position in found if position["group"] == group), None)

    position = wait_for(look, "the group's position")

    assert (position["subscriber"], position["topic"], position["partition"]) == ("test-subscriber", topic, 0)
    assert (position["next_offset"], position["end_offset"], position["lag_records"]) == (2, 5, 3)
    assert position["lag_s"] < 60
    labels = f'{{consumergroup="{group}",partition="0",topic="{topic}"}}'
    text = httpx.get(stack.settings.endpoints().api + "/metrics", trust_env=False, timeout=20).text
    assert f"kafka_consumergroup_lag{labels} 3.0" in text
    assert f"kafka_consumergroup_lag_seconds{labels}" in text
    assert 'exchange_monitor_part_up{part="clickhouse"} 1.0' in text
    later = wait_for(lambda: (found := look()) and found["lag_s"] > position["lag_s"] and found, "it ages")
    assert later["lag_records"] == 3


def test_a_route_has_its_figures_over_time(stack: Stack, producer: Producer) -> None:
    topic = "raw.series.public.t"
    good = pair(topic)
    write(producer, good.capture, good.process)
    settled(stack, topic)

    for span in ("15min", "day", "month"):

        def look(span: str = span) -> Any:
            asked = f"/api/route?topic={topic}&view_topic={view(topic, 'one')}&span={span}"
            found = api(stack, asked)
            stages = [found["stages"], found["route"]["stages"]]
            return found if found["flow"] and [len(one) for one in stages] == [2, 2] else None

        found = wait_for(look, f"figures by the step of {span}")
        assert [point["delivered"] for point in found["flow"]] == [18]
        assert {point["stage"]: point["changes"] for point in found["stages"]} == {
            "capture": 20,
            "process": 20,
        }
        assert [stage["stage"] for stage in found["route"]["stages"]] == ["capture", "process"]
