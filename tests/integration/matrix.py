"""What a Kafka user may do with topics, found out by trying; nothing is changed or written by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports without saying so
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from exchange.admin import admin_client
from exchange.compacted import reader_group
from exchange.librdkafka import quiet_logger, send
from tests.stack import wait_for

OPERATIONS = ("describe", "read", "write", "alter", "alter_configs", "describe_configs", "delete")
_DENIED = KafkaError.TOPIC_AUTHORIZATION_FAILED
_HIDDEN = KafkaError._NOENT
"""What deleting of records meets where a topic that is there may not even be described."""
_IN_TEN_DAYS_MS = 10 * 24 * 3600 * 1000
"""Further ahead than a topic takes: whoever may write is told of the time, whoever may not of that."""


def tried(client: dict[str, Any], topics: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return operation → the topics on which Kafka lets a user do it. client: its librdkafka properties."""
    names = sorted(topics)
    admin = admin_client(client)
    each: dict[str, Callable[[str], dict[Any, Any]]] = {
        "alter": lambda name: admin.create_partitions([NewPartitions(name, 99)], validate_only=True),
        "alter_configs": lambda name: admin.incremental_alter_configs([_setting(name)], validate_only=True),
        "describe_configs": lambda name: admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)]),
        "delete": lambda name: admin.delete_records([TopicPartition(name, 0, 0)]),
    }
    found = {word: _allowed({name: _only(ask(name)) for name in names}) for word, ask in each.items()}
    found["describe"] = _allowed(admin.describe_topics(TopicCollection(names), request_timeout=30))
    found["write"] = _writable(client, names)
    return found | {"read": _readable(client, found["describe"])}


def expected(
    read: Iterable[str] = (), write: Iterable[str] = (), describe: Iterable[str] = ()
) -> dict[str, frozenset[str]]:
    """Return what `tried` returns for a user who may just that; who reads or writes may describe too."""
    none: frozenset[str] = frozenset()
    known = frozenset({*read, *write, *describe})
    given = {"describe": known, "read": frozenset(read), "write": frozenset(write)}
    return dict.fromkeys(OPERATIONS, none) | given


def _allowed(answers: Mapping[str, Future[Any]]) -> frozenset[str]:
    return frozenset(name for name, answer in answers.items() if _code(answer) not in (_DENIED, _HIDDEN))


def _code(answer: Future[Any]) -> int | None:
    try:
        answer.result(60)
    except KafkaException as error:
        return int(error.args[0].code())
    return None


def _only(answers: dict[Any, Any]) -> Future[Any]:
    [answer] = answers.values()
    return cast("Future[Any]", answer)


def _setting(topic: str) -> ConfigResource:
    entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    return ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])


def _writable(client: dict[str, Any], topics: list[str]) -> frozenset[str]:
    refused: dict[str, KafkaError | None] = {}
    producer = Producer(client, logger=quiet_logger())
    timestamp = int(time.time() * 1000) + _IN_TEN_DAYS_MS
    for topic in topics:

        def note(error: KafkaError | None, _message: object, topic: str = topic) -> None:
            refused[topic] = error

        send(producer, note, topic=topic, value=b"x", partition=0, timestamp=timestamp)
    assert producer.flush(60) == 0
    written = [topic for topic, error in refused.items() if error is None]
    assert not written, f"a record that was to be refused was written to {written}"
    return frozenset(topic for topic, error in refused.items() if error and error.code() != _DENIED)


def _readable(client: dict[str, Any], topics: frozenset[str]) -> frozenset[str]:
    """Return the topics that can be read: each has an end, or a record, or is denied."""
    outcome: dict[str, bool] = {}
    given = {"group.id": reader_group(client["sasl.username"]), "enable.partition.eof": True}
    consumer = Consumer(client | given, logger=quiet_logger())
    try:
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in topics])

        def all_answered() -> bool:
            message = consumer.poll(0.2) if outcome.keys() != topics else None
            if message is not None and message.topic() in topics:
                error = message.error()
                outcome[str(message.topic())] = error is None or error.code() != _DENIED
            return outcome.keys() == topics

        wait_for(all_answered, "an answer for each topic")
    finally:
        consumer.close()
    return frozenset(topic for topic, allowed in outcome.items() if allowed)
