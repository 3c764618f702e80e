"""Single records of a view, read again at the offsets where they are known to be."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from exchange.errors import TransientError
from exchange.librdkafka import PARTITION_EOF, quiet_logger
from exchange.subscriber.batches import failure, received_of
from exchange.subscriber.decoder import Schemas, WireDecoder, header_of
from exchange.subscriber.reader import Received

_ANSWER_S: Final = 20.0
_POLL_S: Final = 0.25
_READ_THROUGH: Final = 500
"""A gap of so many offsets is read and dropped: quicker than to ask Kafka for another place."""


class PlaceReader:
    """Reads as the subscriber, in no group, in one thread."""

    def __init__(
        self, kafka: dict[str, Any], schemas: Schemas, subscriber: str, view: str, group: str
    ) -> None:
        """Take the subscriber's librdkafka properties and a registry client; nothing connects yet."""
        self._topic = f"share.{view}"
        self._subscriber = subscriber
        self._decoder = WireDecoder(schemas)
        self._next: tuple[int, int] = (-1, -1)
        self._consumer = Consumer(
            kafka
            | {
                "group.id": group,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
            },
            logger=quiet_logger(),
        )

    def firsts(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the first offset that Kafka still has of each partition.

        Raises: DeniedError; TransientError when Kafka does not answer.
        """
        return {partition: self._span(partition)[0] for partition in partitions}

    def read(self, partition: int, offsets: Iterable[int]) -> Iterator[tuple[int, Received | None]]:
        """Yield each offset, in rising order, and its record; None where Kafka has it no more.

        Raises: DeniedError; TransientError when Kafka or the registry does not answer.
        """
        first, end = self._span(partition)
        for offset in offsets:
            message = self._find(partition, offset) if first <= offset < end else None
            found = (
                None
                if message is None
                else received_of(self._decoder, self._topic, message, header_of(message))
            )
            yield offset, found

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _find(self, partition: int, offset: int) -> Message | None:
        assigned, following = self._next
        if assigned != partition or not 0 <= offset - following <= _READ_THROUGH:
            self._consumer.assign([TopicPartition(self._topic, partition, offset)])
        self._next = (-1, -1)
        deadline = time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline:
            message = self._consumer.poll(_POLL_S)
            error = None if message is None else message.error()
            if message is None or (error is not None and error.retriable() and not error.fatal()):
                continue
            if error is not None:
                if error.code() in (PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):  # noqa: SLF001 public constant
                    return None
                raise failure(self._topic, self._subscriber, error)
            at = message.offset() or 0
            if at == offset:
                self._next = partition, offset + 1
            if at >= offset:
                return message if at == offset else None
        msg = f"{self._topic}: Kafka gave no answer within {_ANSWER_S:.0f} s"
        raise TransientError(msg)

    def _span(self, partition: int) -> tuple[int, int]:
        at = TopicPartition(self._topic, partition)
        try:
            found = self._consumer.get_watermark_offsets(at, timeout=_ANSWER_S)
        except KafkaException as error:
            raise failure(self._topic, self._subscriber, error.args[0]) from None
        if found is None:
            msg = f"{self._topic}: Kafka gave no answer within {_ANSWER_S:.0f} s"
            raise TransientError(msg)
        return found
