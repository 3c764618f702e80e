"""Kafka's objects made twice: the second time nothing changes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from exchange.cluster import Acl, TopicSpec
from exchange.errors import ConfigError, PartError
from exchange.librdkafka import PARTITION_EOF, write
from exchange.quotas import set_client_quotas
from exchange.settings import kafka_secret
from tests.stack import Stack

WEEK_MS = str(7 * 24 * 3600 * 1000)
DAY_MS = str(24 * 3600 * 1000)


def test_topics_are_made_once_and_mended_where_they_differ(stack: Stack) -> None:
    cluster = stack.admin
    wanted = [TopicSpec("raw.cl1.public.a", 3, {"retention.ms": WEEK_MS}), TopicSpec("raw.cl1.public.b", 1)]
    assert cluster.ensure_topics(wanted) == ["raw.cl1.public.a", "raw.cl1.public.b"]
    assert cluster.ensure_topics(wanted) == []
    shorter = TopicSpec("raw.cl1.public.a", 3, {"retention.ms": DAY_MS})
    assert cluster.ensure_topics([shorter]) == ["raw.cl1.public.a"]
    assert cluster.topic_config(["raw.cl1.public.a"])["raw.cl1.public.a"]["retention.ms"] == DAY_MS
    assert cluster.topics()["raw.cl1.public.a"] == 3


@pytest.mark.parametrize("partitions", [2, 4])
def test_another_number_of_partitions_is_refused_and_nothing_changes(stack: Stack, partitions: int) -> None:
    topic = f"raw.cl2.public.t{partitions}"
    stack.admin.ensure_topics([TopicSpec(topic, 3)])
    with pytest.raises(ConfigError, match=f"topic {topic} has 3 partitions, {partitions} are asked for"):
        stack.admin.ensure_topics([TopicSpec(topic, partitions), TopicSpec("raw.cl2.public.new", 1)])
    assert stack.admin.topics()[topic] == 3
    assert "raw.cl2.public.new" not in stack.admin.topics()


def test_a_refused_topic_is_named(stack: Stack) -> None:
    with pytest.raises(PartError, match=r"Kafka: topic raw\.cl3\.bad: .*retention"):
        stack.admin.ensure_topics([TopicSpec("raw.cl3.bad", 1, {"retention.ms": "for ever"})])


def test_a_user_is_made_once_and_again_only_when_its_secret_is_lost(stack: Stack) -> None:
    assert stack.admin.ensure_scram_user("cl4") is True
    assert stack.admin.ensure_scram_user("cl4") is False
    old = stack.settings.kafka_client("cl4")
    AdminClient(old).list_topics(timeout=30)
    (stack.home / "secrets" / kafka_secret("cl4")).unlink()
    assert stack.admin.ensure_scram_user("cl4") is True
    AdminClient(stack.settings.kafka_client("cl4")).list_topics(timeout=30)
    with pytest.raises(KafkaException):
        AdminClient(old | {"log_level": 0}).list_topics(timeout=1)


@pytest.mark.parametrize(("connection", "ends_with"), [("own", -signal.SIGABRT), ("kept", 0)])
def test_a_connection_let_go_in_its_own_thread_does_not_end_the_process(
    stack: Stack, connection: str, ends_with: int
) -> None:
    """A connection that is not kept is the planted fault: librdkafka aborts."""
    command = [sys.executable, "-m", "tests.integration.asks_and_lets_go", connection]
    properties = json.dumps(stack.settings.kafka_client("admin"))
    asked = subprocess.run(command, input=properties, capture_output=True, text=True, timeout=90, check=False)
    assert (asked.stdout.strip(), asked.returncode) == ("UNKNOWN_TOPIC_OR_PART", ends_with), asked.stderr


def test_access_rules_are_added_once_and_taken_away_once(stack: Stack) -> None:
    read = Acl("cl5", "topic", "share.cl5.", "prefixed", "read")
    group = Acl("cl5", "group", "cl5.", "prefixed", "read")
    write = Acl("cl5", "transactional_id", "cl5", "literal", "write")
    cluster_rule = Acl("cl5", "cluster", "kafka-cluster", "literal", "idempotent_write")
    rules = sorted([read, group, write, cluster_rule])
    assert stack.admin.ensure_acls([read]) == [read]
    assert stack.admin.ensure_acls(rules) == [rule for rule in rules if rule != read]
    assert stack.admin.ensure_acls(rules) == []
    assert set(rules) <= stack.admin.acls()
    assert stack.admin.remove_acls([read, write]) == sorted([read, write])
    assert stack.admin.remove_acls([read, write]) == []
    assert {rule for rule in stack.admin.acls() if rule.principal == "cl5"} == {group, cluster_rule}


def test_a_quota_slows_whom_it_is_for_and_nobody_else(stack: Stack) -> None:
    """One without a quota is the planted fault: nothing holds it back, and the checker sees that."""
    topic, greedy, other = "share.cl8.much", "cl8-greedy", "cl8-other"
    stack.admin.ensure_topics([TopicSpec(topic, 1)])
    for who in (greedy, other):
        stack.admin.ensure_scram_user(who)
        group = Acl(who, "group", f"{who}.", "prefixed", "read")
        stack.admin.ensure_acls([Acl(who, "topic", topic, "literal", "read"), group])
    client = stack.settings.kafka_client("admin")
    records = ({"topic": topic, "value": bytes(500_000), "partition": 0} for _ in range(32))
    assert write(client, records, 60) == []
    assert read_to_the_end(stack.settings.kafka_client(greedy), topic) == []
    set_client_quotas(stack.settings, {greedy: {"consumer_byte_rate": 1e6}})
    delays_ms = read_to_the_end(stack.settings.kafka_client(greedy), topic)
    assert max(delays_ms) > 500
    assert read_to_the_end(stack.settings.kafka_client(other), topic) == []


def read_to_the_end(client: dict[str, Any], topic: str) -> list[float]:
    """Read a topic fast, until its end or the first delay; return the delays that Kafka ordered, in ms."""
    delays_ms: list[float] = []
    given = {
        "group.id": f"{client['sasl.username']}.much",
        "enable.partition.eof": True,
        "fetch.message.max.bytes": 1_000_000,
        "throttle_cb": lambda event: delays_ms.append(1000 * event.throttle_time),
    }
    consumer = Consumer(client | given)
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not delays_ms:
        message = consumer.poll(0.5)
        if message is not None and (error := message.error()) is not None:
            assert error.code() == PARTITION_EOF, error.name()
            break
    consumer.close()
    return delays_ms
