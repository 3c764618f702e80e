"""What the monitor's Kafka clients have in common."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from exchange.errors import PartError, TransientError
from exchange.librdkafka import AUTHENTICATION

TIMEOUT_S: Final = 10.0
GROUP: Final = "exchange-monitor"
"""Consumers need a group id; positions are kept in ClickHouse, nothing is ever committed to the group."""

_DENIED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        AUTHENTICATION,
    }
)
LEADERLESS: Final = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
"""Why one partition cannot tell anything just now while the others can."""


def quiet(client: dict[str, Any]) -> dict[str, Any]:
    """Return client properties without librdkafka's own log: calls report their errors themselves."""
    return {**client, "error_cb": _ignore, "log_level": 0}


def reader(client: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a consumer that reads committed records from an offset it is given.

    A missing offset is an error and never a jump to the end or the start.
    """
    return {
        **quiet(client),
        "group.id": GROUP,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 100,
    }


class Arrived(NamedTuple):
    """A record and when it came, which is when everybody else could read it too."""

    at_ms: int
    message: Message


def gathered(consumer: Consumer, most: int, wait_s: float, gather_s: float) -> list[Arrived]:
    """Return what `arriving` yields."""
    return list(arriving(consumer, most, wait_s, gather_s))


def arriving(consumer: Consumer, most: int, wait_s: float, gather_s: float) -> Iterator[Arrived]:
    """Yield at most `most` records: one that comes in `wait_s`, if any, and what follows in `gather_s`."""
    until_s = 0.0
    for _ in range(most):
        message = consumer.poll(wait_s)
        if message is None:
            return
        yield Arrived(time.time_ns() // 1_000_000, message)
        until_s = until_s or time.monotonic() + gather_s
        wait_s = max(0.0, until_s - time.monotonic())


def offsets(
    admin: AdminClient,
    wanted: Iterable[tuple[str, int]],
    spec: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
) -> dict[tuple[str, int], int]:
    """Return where partitions begin or end; one that has no leader just now is left out.

    Raises: KafkaException.
    """
    asked = {TopicPartition(topic, partition): spec for topic, partition in sorted(wanted)}
    if not asked:
        return {}
    found: dict[tuple[str, int], int] = {}
    answers = admin.list_offsets(asked, isolation_level=isolation, request_timeout=TIMEOUT_S)
    for at, answer in answers.items():
        try:
            found[at.topic, at.partition] = answer.result().offset
        except KafkaException as error:
            if cause_of(error).code() not in LEADERLESS:
                raise
    return found


def trouble(what: str, cause: KafkaError) -> TransientError | PartError:
    """Return the error to raise for a failed call: PartError where another try cannot help."""
    if is_denied(cause):
        remedy = "check the principal's password and its rights (`exchange apply`)"
        return PartError(f"Kafka: {what}: {cause.name()}; {remedy}")
    return TransientError(f"Kafka: {what}: {cause.name()}")


def is_denied(cause: KafkaError) -> bool:
    """Return whether a call failed because the principal may not make it."""
    return cause.code() in _DENIED


def cause_of(error: KafkaException) -> KafkaError:
    """Return the error code that an exception carries."""
    cause: KafkaError = error.args[0]
    return cause


def as_bytes(part: str | bytes | None) -> bytes | None:
    """Return a key or value as bytes; the client's type hints allow str, which it never returns."""
    return part.encode() if isinstance(part, str) else part


def _ignore(_error: KafkaError) -> None:
    """Nothing: the failed call tells."""
