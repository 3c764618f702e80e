"""How far subscribers are: the committed positions of their consumer groups, from Kafka to ClickHouse."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from monitor import kafka
from monitor.clickhouse.client import ClickHouse

_EVERY_S: Final = 5.0
_SHARED: Final = "share."
_OWN_GROUPS: Final = "exchange-"
_WHAT: Final = "positions of consumer groups"
_COLUMNS: Final = (
    "subscriber", "group_id", "topic", "partition", "next_offset", "end_offset", "at_ms",
)  # fmt: skip


class Subscribers:
    """Asks Kafka every few seconds; a subscriber's groups are named `<subscriber>.…`."""

    def __init__(self, client: dict[str, Any], clickhouse: ClickHouse, stop: threading.Event) -> None:
        self._client = client
        self._clickhouse = clickhouse
        self._stop = stop

    def session(self, ready: Callable[[], None]) -> None:
        """Store positions until stopped; `ready` is called whenever a round is done.

        Raises: TransientError while Kafka or ClickHouse does not answer.
        """
        admin = AdminClient(kafka.quiet(self._client))
        while not self._stop.is_set():
            try:
                rows = self._positions(admin)
            except KafkaException as error:
                raise kafka.trouble(_WHAT, kafka.cause_of(error)) from None
            if rows:
                self._clickhouse.insert("subscriber_positions", _COLUMNS, rows)
            ready()
            self._stop.wait(_EVERY_S)

    def _positions(self, admin: AdminClient) -> list[tuple[Any, ...]]:
        committed = {group: _committed(admin, group) for group in _groups(admin)}
        ends = _ends(admin, {at for positions in committed.values() for at in positions})
        now_ms = time.time_ns() // 1_000_000
        return [
            (
                group.partition(".")[0],
                group,
                topic,
                partition,
                offset,
                ends.get((topic, partition), -1),
                now_ms,
            )
            for group, positions in committed.items()
            for (topic, partition), offset in positions.items()
        ]


def _groups(admin: AdminClient) -> list[str]:
    listing = admin.list_consumer_groups(request_timeout=kafka.TIMEOUT_S).result()
    names = [group.group_id for group in listing.valid]
    return [name for name in names if "." in name and not name.startswith(_OWN_GROUPS)]


def _committed(admin: AdminClient, group: str) -> dict[tuple[str, int], int]:
    asked = admin.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group)], request_timeout=kafka.TIMEOUT_S
    )
    partitions: Iterable[TopicPartition] = asked[group].result().topic_partitions
    return {
        (at.topic, at.partition): at.offset
        for at in partitions
        if at.topic.startswith(_SHARED) and at.error is None and at.offset >= 0
    }


def _ends(admin: AdminClient, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
    if not wanted:
        return {}
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(topic, partition): latest for topic, partition in sorted(wanted)}
    answers = admin.list_offsets(
        asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=kafka.TIMEOUT_S
    )
    return {(at.topic, at.partition): answer.result().offset for at, answer in answers.items()}
