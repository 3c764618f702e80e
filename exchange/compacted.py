"""Reads a compacted single-partition topic of the bus: the last value of each key, as committed.

Kept apart from consumer groups: the whole topic is read each time, and nothing is ever committed.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from exchange.errors import TransientError
from exchange.librdkafka import AUTHENTICATION, PARTITION_EOF, explain, quiet_logger

_ANSWER_S: Final = 10.0
_OPEN_TRANSACTION_S: Final = 40.0
"""Longer than any writer's transaction.timeout.ms (30 s): an abandoned transaction has ended by then."""


def reader_group(principal: str) -> str:
    """Return the group that a principal names as a reader of such topics.

    It is never joined, but librdkafka asks for its coordinator, each second where it may not know it.
    """
    return f"{principal}.reader"


class CompactedTopic:
    """One reader of one topic: `read` once, then `poll` for what is new, then `close`."""

    def __init__(self, client: dict[str, Any], topic: str) -> None:
        """`client`: librdkafka properties of a principal that may read the topic."""
        self._topic = topic
        self._partition = TopicPartition(topic, 0)
        self._last_error: KafkaError | None = None
        self._client = client | {
            "group.id": reader_group(client.get("sasl.username", "exchange")),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "error_cb": self._note_error,
        }
        self._consumer = _consumer(self._client | {"isolation.level": "read_committed"})

    def read(self) -> dict[bytes, bytes]:
        """Return the last value of every key, up to the end of the topic at the time of this call.

        Records of transactions that are still open count: their end is waited for, so that nothing
        committed before this call is missed. Keys with a null value are left out.

        Raises: TransientError when Kafka does not answer, PartError when it refuses.
        """
        first, end = self._span()
        self._partition.offset = first
        self._consumer.assign([self._partition])
        found: dict[bytes, bytes | None] = {}
        deadline = time.monotonic() + _OPEN_TRANSACTION_S
        reached = first
        while reached < end:
            if time.monotonic() > deadline:
                msg = (
                    f"{self._topic}: could not be read to its end within {_OPEN_TRANSACTION_S:.0f} s; "
                    "Kafka is slow to answer, or a transaction of another connector stays open"
                )
                raise TransientError(msg)
            reached = max(reached, self._take(found, 0.5))
        return {key: value for key, value in found.items() if value is not None}

    def poll(self) -> dict[bytes, bytes | None]:
        """Return what has been committed since the last call, without waiting; None stands for deleted.

        Raises: as `read`, where nothing was found before the error.
        """
        found: dict[bytes, bytes | None] = {}
        before = -1
        try:
            while (reached := self._take(found, 0)) > before:
                before = reached
        except TransientError:
            if not found:
                raise
        return found

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, found: dict[bytes, bytes | None], timeout_s: float) -> int:
        """Take one message or event in; return the offset up to which all is known, -1 when unchanged."""
        message = self._consumer.poll(timeout_s)
        if message is None:
            return -1
        error = message.error()
        if error is None:
            key, value = message.key(), message.value()
            found[bytes(key or b"")] = None if value is None else bytes(value)
            return int(message.offset() or 0) + 1
        if error.code() == PARTITION_EOF:
            return int(message.offset() or 0)
        if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            return -1  # librdkafka looks for the group's coordinator though the group is never joined
        raise explain(self._topic, error)

    def _span(self) -> tuple[int, int]:
        """Return first and end offset; records of open transactions are before the end.

        The reader has learnt by then who leads the partition: one that is assigned a partition without a
        known leader may look for it only when librdkafka's timer of a second comes round.
        """
        consumer = _consumer(self._client | {"isolation.level": "read_uncommitted"})
        try:
            found = consumer.get_watermark_offsets(self._partition, timeout=_ANSWER_S)
            self._consumer.list_topics(self._topic, timeout=_ANSWER_S)
        except KafkaException as error:
            consumer.poll(0)  # a refused login is told through error_cb, which only poll() serves
            raise explain(self._topic, self._last_error or error.args[0]) from None
        finally:
            consumer.close()
        if found is None:
            msg = f"{self._topic}: Kafka gave no answer within {_ANSWER_S:.0f} s"
            raise TransientError(msg)
        return found

    def _note_error(self, error: KafkaError) -> None:
        if error.code() == AUTHENTICATION:
            self._last_error = error


def _consumer(properties: dict[str, Any]) -> Consumer:
    return Consumer(properties, logger=quiet_logger())
