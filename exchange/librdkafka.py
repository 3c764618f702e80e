"""What all our Kafka clients need of librdkafka: silence, its refusals, and its errors in our words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from exchange.errors import PartError, TransientError

AUTHENTICATION: Final = KafkaError._AUTHENTICATION  # noqa: SLF001 - librdkafka's own codes are spelt so
PARTITION_EOF: Final = KafkaError._PARTITION_EOF  # noqa: SLF001
TIMED_OUT: Final = KafkaError._TIMED_OUT  # noqa: SLF001
FENCED: Final = (
    KafkaError._FENCED,  # noqa: SLF001
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
)
"""A newer producer has the same transactional.id."""
DENIED: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)

_ABORT_S: Final = 10.0
_NOT_THERE: Final = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - public constants with an underscore
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
)
"""A broker that has just started answers so too, for topics that it has."""


def send(producer: Producer, note: Callable[[KafkaError | None, Any], None], **record: Any) -> None:
    """Queue a record; `note(error, message)` hears of its delivery or of its refusal.

    A topic already known to be denied or missing is refused by produce() itself, without a delivery report:
    `note` hears of that too, with no message.

    record: as produce() takes it: topic, value, key, partition, headers.
    """
    try:
        producer.produce(**record, on_delivery=note)
    except KafkaException as error:
        note(error.args[0], None)


def write(client: dict[str, Any], records: Iterable[dict[str, Any]], timeout_s: float) -> list[KafkaError]:
    """Write a few records; return why any is not in Kafka, nothing once all replicas in sync have them.

    client: librdkafka properties; records: each as produce() takes it; no answer in time is TIMED_OUT.
    """
    failed: list[KafkaError] = []

    def note(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer(client, logger=quiet_logger())
    for record in records:
        send(producer, note, **record)
    if producer.flush(timeout_s):
        failed.append(KafkaError(TIMED_OUT))
    return failed


def explain(what: str, error: KafkaError) -> TransientError | PartError:
    """Return Kafka's refusal as PartError, its absence as TransientError; by code, never with its text."""
    code = error.code()
    if code == AUTHENTICATION:
        return PartError(
            f"{what}: Kafka refuses the user's password; run `exchange apply`, or mend the secret"
        )
    if code in DENIED:
        return PartError(f"{what}: Kafka denies access ({error.name()}); run `exchange apply`")
    if code in _NOT_THERE:
        return TransientError(
            f"{what}: the topic is not there; run `exchange apply` unless Kafka is just starting"
        )
    return TransientError(f"{what}: Kafka does not answer as needed ({error.name()})")


def why_ended(producer: Producer, problem: KafkaError) -> KafkaError:
    """Return why a call is refused: itself it may say only that the client has ended, abort says by what.

    Without it a producer that was fenced between two records would not know, and fence its successor back.
    """
    if problem.code() == KafkaError._FATAL:  # noqa: SLF001 - public constant with an underscore
        try:
            producer.abort_transaction(_ABORT_S)
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            return reason
    return problem


def quiet_logger() -> logging.Logger:
    """Return a logger that drops librdkafka's own lines; what matters comes back as an error."""
    logger = logging.getLogger("exchange.librdkafka")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    return logger
