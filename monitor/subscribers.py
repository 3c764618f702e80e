"""How far consumer groups are, subscribers' and the workers' own, from Kafka to ClickHouse."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from exchange.admin import admin_client
from exchange.apply.access import STREAM_GROUP
from exchange.plan import ACCOUNTS_TOPIC
from monitor import kafka
from monitor.clickhouse.client import ClickHouse
from monitor.lag import Ends, Partition
from monitor.readers import Readers

_EVERY_S: Final = 5.0
_WRITE_EVERY_MS: Final = 30_000
"""A position that did not move, and where topics end, are stored so often."""
_KNOWN_MS: Final = 86_400_000
_RAW: Final = "raw."
_READ: Final = ("share.", _RAW)
_ACCOUNTS: Final = (ACCOUNTS_TOPIC, 0)
_OWN_GROUPS: Final = "exchange-"
_WHAT: Final = "positions of consumer groups"
_COLUMNS: Final = (
    "subscriber", "group_id", "topic", "partition", "next_offset", "end_offset", "lag_s", "at_ms",
)  # fmt: skip
_ENDS: Final = ("topic", "partition", "end_offset", "at_ms")

Positions = dict[str, dict[Partition, int]]


@dataclass(frozen=True, slots=True)
class Settled:
    """What a look at Kafka proves of a raw topic, once all accounts before `known_at` are stored.

    Whatever was captured by an account before `before` has been read by the workers, and what they did with
    it is in their accounts.
    """

    before: int
    known_at: int


class Subscribers:
    """Asks Kafka every few seconds; a subscriber's groups are named `<subscriber>.…`."""

    def __init__(self, client: dict[str, Any], clickhouse: ClickHouse, stop: threading.Event) -> None:
        self.settled: Mapping[str, Settled] = {}
        self.readers = Readers()
        self._client = client
        self._clickhouse = clickhouse
        self._stop = stop
        self._ends = Ends()
        self._written: dict[tuple[str, Partition], tuple[int, int]] = {}
        self._moved: dict[Partition, tuple[int, int]] = {}
        self._ends_written_ms = 0

    def session(self, ready: Callable[[], None]) -> None:
        """Store positions until stopped; `ready` is called whenever a round is done.

        Raises: TransientError while Kafka or ClickHouse does not answer.
        """
        admin = admin_client(self._client)
        for row in self._clickhouse.query("known_ends", since_ms=_now_ms() - _KNOWN_MS):
            self._ends.saw((row["topic"], row["partition"]), row["end_offset"], row["at_ms"])
        while not self._stop.is_set():
            try:
                self._look(admin)
                self.readers.look(admin)
            except KafkaException as error:
                raise kafka.trouble(_WHAT, kafka.cause_of(error)) from None
            ready()
            self._stop.wait(_EVERY_S)

    def _look(self, admin: AdminClient) -> None:
        """Look once. The order of the questions is what `Settled` rests on.

        1 where the accounts end that are readable
        2 where the raw topics end, with what is not committed yet
        3 where the workers are
        4 where the accounts end, with what is not committed yet
        """
        readable = _ends(admin, {_ACCOUNTS}, IsolationLevel.READ_COMMITTED)
        partitions = _raw_partitions(admin)
        raw = _ends(admin, partitions, IsolationLevel.READ_UNCOMMITTED)
        committed = {group: _committed(admin, group) for group in _groups(admin)}
        all_accounts = _ends(admin, {_ACCOUNTS}, IsolationLevel.READ_UNCOMMITTED)
        if _ACCOUNTS in readable and _ACCOUNTS in all_accounts:
            found = Settled(readable[_ACCOUNTS], all_accounts[_ACCOUNTS])
            read = caught_up(partitions, raw, committed.get(STREAM_GROUP, {}))
            self.settled = dict.fromkeys(read, found)
        asked = {at for positions in committed.values() for at in positions}
        self._store(committed, _ends(admin, asked, IsolationLevel.READ_COMMITTED))

    def _store(self, committed: Positions, ends: Mapping[Partition, int]) -> None:
        now_ms = _now_ms()
        self._moved |= {at: (end, now_ms) for at, end in ends.items() if self._ends.saw(at, end, now_ms)}
        rows = [
            (
                "" if group == STREAM_GROUP else group.partition(".")[0],
                group,
                *at,
                offset,
                ends.get(at, -1),
                self._ends.lag_s(at, offset, now_ms) if at in ends else None,
                now_ms,
            )
            for group, positions in committed.items()
            for at, offset in positions.items()
            if self._is_new(group, at, offset, ends.get(at, -1), now_ms)
        ]
        if rows:
            self._clickhouse.insert("group_positions", _COLUMNS, rows)
        if self._moved and now_ms - self._ends_written_ms >= _WRITE_EVERY_MS:
            self._clickhouse.insert("topic_ends", _ENDS, [(*at, *seen) for at, seen in self._moved.items()])
            self._ends_written_ms = now_ms
            self._moved = {}

    def _is_new(self, group: str, at: Partition, offset: int, end: int, now_ms: int) -> bool:
        """Return whether a position is to be stored: it is behind, it moved, or half a minute is over."""
        before, written_ms = self._written.get((group, at), (-1, 0))
        if offset == before and end - offset <= 1 and now_ms - written_ms < _WRITE_EVERY_MS:
            return False
        self._written[group, at] = (offset, now_ms)
        return True


def caught_up(
    partitions: set[Partition], ends: Mapping[Partition, int], committed: Mapping[Partition, int]
) -> set[str]:
    """Return the topics of which every partition's end is known, and committed by a group."""
    behind = {at[0] for at in partitions if at not in ends or committed.get(at, 0) < ends[at]}
    return {topic for topic, _ in partitions} - behind


def _raw_partitions(admin: AdminClient) -> set[Partition]:
    topics = admin.list_topics(timeout=kafka.TIMEOUT_S).topics
    return {(name, at) for name, topic in topics.items() if name.startswith(_RAW) for at in topic.partitions}


def _groups(admin: AdminClient) -> list[str]:
    listing = admin.list_consumer_groups(request_timeout=kafka.TIMEOUT_S).result()
    names = [group.group_id for group in listing.valid]
    return [
        name for name in names if name == STREAM_GROUP or ("." in name and not name.startswith(_OWN_GROUPS))
    ]


def _committed(admin: AdminClient, group: str) -> dict[Partition, int]:
    asked = admin.list_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(group)], request_timeout=kafka.TIMEOUT_S
    )
    partitions: Iterable[TopicPartition] = asked[group].result().topic_partitions
    return {
        (at.topic, at.partition): at.offset
        for at in partitions
        if at.topic.startswith(_READ) and at.error is None and at.offset >= 0
    }


def _ends(admin: AdminClient, wanted: set[Partition], isolation: IsolationLevel) -> dict[Partition, int]:
    return kafka.offsets(admin, wanted, OffsetSpec.latest(), isolation)  # type: ignore[no-untyped-call]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
