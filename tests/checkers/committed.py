"""What is readable at read_committed, read as the administrator and without a group's offsets."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

_SILENCE_S = 10.0


class CommittedReader:
    """Reads topics, each record once, in offset order per partition: from their beginning, or from now on.

    Survives restarts of the broker. A consumer with partitions of its own choice sometimes never reads on
    after one (confluentinc/librdkafka#5153), so one that has been silent for ten seconds is replaced.
    """

    def __init__(
        self,
        client: dict[str, Any],
        topics: Iterable[str],
        *,
        isolation: str = "read_committed",
        from_now: bool = False,
    ) -> None:
        self._config = client | {
            "group.id": "checker-without-group",
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }
        self._consumer = Consumer(self._config)
        self._silent_s = 0.0
        self._reached: dict[tuple[str, int], int] = {}
        self._places = [
            TopicPartition(topic, partition, 0)
            for topic in topics
            for partition in self._consumer.list_topics(topic, timeout=30).topics[topic].partitions
        ]
        if from_now:
            for place in self._places:
                place.offset = self._consumer.get_watermark_offsets(place, timeout=30)[1]
        self._next = {(place.topic, place.partition): place.offset for place in self._places}
        self._consumer.assign(self._places)

    def read(self, wait_s: float = 0.2) -> list[Message]:
        """Return what can be read now; waits for up to `wait_s` when there is nothing."""
        if self._silent_s > _SILENCE_S:
            self._begin_anew()
        began = time.monotonic()
        messages = self._consumer.consume(2_000, wait_s)
        self._silent_s = 0.0 if messages else self._silent_s + time.monotonic() - began
        return [message for message in messages if self._is_record(message)]

    def read_to_end(self, timeout_s: float = 30) -> list[Message]:
        """Return everything up to the ends of the partitions as they are now.

        Raises: TimeoutError when an end isn't reached, as behind a transaction left open.
        """
        ends = self._ends()
        found: list[Message] = []
        deadline = time.monotonic() + timeout_s
        while behind := [place for place, end in ends.items() if self._reached.get(place, 0) < end]:
            if time.monotonic() > deadline:
                msg = f"not at the end after {timeout_s} s: {behind}"
                raise TimeoutError(msg)
            found += self.read()
        return found + self.read(0)

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _ends(self) -> dict[tuple[str, int], int]:
        """Return the partitions' ends; at read_committed Kafka names the beginning of an open transaction.

        One stays open for a moment after its writer has heard that it is committed.
        """
        asking = Consumer(self._config | {"isolation.level": "read_uncommitted"})
        try:
            return {
                (place.topic, place.partition): asking.get_watermark_offsets(place, timeout=30)[1]
                for place in self._places
            }
        finally:
            asking.close()

    def _begin_anew(self) -> None:
        """Go on with another consumer, after the last record that was read."""
        self._consumer.close()
        self._consumer = Consumer(self._config)
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in self._next.items()])
        self._silent_s = 0.0

    def _is_record(self, message: Message) -> bool:
        """Ends reached are noted; errors that pass (broker gone, coming back) are waited out, others not."""
        error = message.error()
        if error is None:
            self._next[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            self._reached[message.topic() or "", message.partition() or 0] = message.offset() or 0
        elif error.code() not in _PASSING and not error.retriable():
            raise KafkaException(error)
        return False


_PASSING = {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE}
