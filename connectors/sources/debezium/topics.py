"""The topics that a Debezium writes, read at read_committed from given offsets, without a consumer group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from connectors.sources.debezium.place import TopicNow, TopicPlace, gap
from exchange.compacted import reader_group
from exchange.debezium import ANSWER_S, TheirKafka
from exchange.errors import TransientError
from exchange.librdkafka import quiet_logger

_FILL_S: Final = 0.05
"""From its first record on, a batch waits so long at most for what has not arrived yet."""
_OUT_OF_RANGE: Final = (
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - public constant with an underscore
    KafkaError.OFFSET_OUT_OF_RANGE,
)


class Topics:
    """look* → start → (read → still)* → close."""

    def __init__(self, system: str, client: dict[str, Any], topics: Mapping[str, str]) -> None:
        """client: librdkafka properties of one who may read and describe the topics; topics: by table."""
        self._system = system
        self._topics = topics
        self._tables = {topic: table for table, topic in topics.items()}
        self._kafka = TheirKafka(system, client)
        self._consumer = self._kafka.made(
            lambda properties: Consumer(properties, logger=quiet_logger()),
            self._kafka.properties
            | {
                "group.id": reader_group(client.get("sasl.username", f"exchange-{system}")),
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "check.crcs": True,
                "queued.max.messages.kbytes": 16_384,  # of each partition
            },
        )

    def cluster(self) -> str:
        """Return the id of the Kafka cluster."""
        return self._kafka.cluster()

    def look(self) -> dict[str, TopicNow]:
        """Return the topics as they are, by table.

        Raises: SourceError when one is not there or would not tell every change.
        """
        self._kafka.refuse_compaction(self._tables)
        found = {}
        for topic, (identity, partitions) in self._kafka.described(self._tables).items():
            spans = tuple(self._span(TopicPartition(topic, number)) for number in range(partitions))
            found[self._tables[topic]] = TopicNow(topic, identity, spans)
        return found

    def start(self, places: Iterable[TopicPlace]) -> None:
        """Begin to read at the places' offsets."""
        self._consumer.assign(
            [
                TopicPartition(place.topic, number, offset)
                for place in places
                for number, offset in enumerate(place.offsets)
            ]
        )

    def read(self, most: int, patience_s: float) -> list[tuple[str, Message]]:
        """Return the next records, each with its table, in the order of each partition.

        Raises: GapError when an offset is not there any more.
        """
        first = self._consumer.poll(patience_s)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(most - 1, _FILL_S)]
        found = []
        for message in messages:
            error = message.error()
            if error is None:
                found.append((self._tables[str(message.topic())], message))
            elif error.code() in _OUT_OF_RANGE:
                raise gap(self._system, f"an offset of topic {message.topic()} is not there any more")
            elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:  # the group is never joined
                raise self._kafka.explained(str(message.topic()), error)
        return found

    def still(self, places: Iterable[TopicPlace]) -> bool:
        """Tell whether the topics are still those that were read: ids never come back."""
        now = self._kafka.described(self._tables)
        return all(
            (place.identity, len(place.offsets)) == now.get(place.topic)
            for place in places
            if place.topic in self._tables
        )

    def close(self) -> None:
        """Let go of Kafka. May be called twice."""
        self._consumer.close()

    def _span(self, partition: TopicPartition) -> tuple[int, int]:
        found = self._kafka.answer(lambda: self._consumer.get_watermark_offsets(partition, ANSWER_S))
        if found is None:
            msg = f"source {self._system}: {partition.topic}: no answer within {ANSWER_S:.0f} s"
            raise TransientError(msg)
        return int(found[0]), int(found[1])
