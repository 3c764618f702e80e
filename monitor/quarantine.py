"""Where some refused records lie: from the quarantine topics to ClickHouse, without what was refused.

1. Kafka tells which quarantine topics there are, their ids, and where each partition begins.
2. A partition is read from the place that ClickHouse holds for that id, else from its beginning.
3. Of a batch the newest record of each slot is stored, its payload left out; then the place behind the batch.

A crash between the two stores records again, where each has the key it had and counts once. Nothing is
counted or balanced by these examples, and accounts do not wait for them.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from exchange import log
from exchange.admin import admin_client
from exchange.errors import TransientError
from exchange.keys import QuarantineRecord
from exchange.librdkafka import PARTITION_EOF
from monitor import kafka
from monitor.clickhouse.client import ClickHouse
from monitor.lag import Partition

COLUMNS: Final = (
    "topic", "stage", "reason", "field", "slot", "at_ms", "topic_id", "quarantine_topic",
    "quarantine_partition", "quarantine_offset", "partition", "offset", "plan_version",
)  # fmt: skip
PLACES: Final = (
    "quarantine_topic", "quarantine_partition", "topic_id", "first_offset", "next_offset", "at_ms",
)  # fmt: skip
SLOTS: Final = 64
"""Records kept of each rule and month; where two share one, the newer is kept."""
_DAY_MS: Final = 86_400_000
_AT_MS: Final = COLUMNS.index("at_ms")
_BEGINNING: Final = "quarantine."
_WHAT: Final = "quarantine topics"
_READER: Final = {"fetch.wait.max.ms": 5_000, "queued.max.messages.kbytes": 8_192}
"""Little is refused, and it comes at once all the same; payloads are fetched too, and not to be heaped up."""
_MAX_BATCH: Final = 1000
_POLL_S: Final = 0.5
_GATHER_S: Final = 0.5
_LOOK_EVERY_S: Final = 10.0

Row = tuple[Any, ...]

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """How far a partition is read: the topic's id, the first offset that Kafka has, the next one to read."""

    topic_id: str
    first_offset: int
    next_offset: int


class Examples:
    """Follows all quarantine topics until `stop` is set; one instance per ClickHouse database."""

    def __init__(
        self,
        client: dict[str, Any],
        clickhouse: ClickHouse,
        stop: threading.Event,
        beginning: str = _BEGINNING,
    ) -> None:
        """beginning: of the names of the topics that are followed."""
        self._client = client
        self._clickhouse = clickhouse
        self._stop = stop
        self._beginning = beginning
        self._places: dict[Partition, Place] = {}

    def session(self, ready: Callable[[], None]) -> None:
        """Store what is refused until stopped; `ready` is called whenever records could be read.

        Raises: TransientError while Kafka or ClickHouse does not answer, or when a topic was made anew: start
        another session then; PartError when Kafka denies it.
        """
        admin, consumer = admin_client(self._client), Consumer(kafka.reader(self._client) | _READER)
        self._places = {}
        looked_s = float("-inf")
        try:
            while not self._stop.is_set():
                if time.monotonic() - looked_s > _LOOK_EVERY_S:
                    self._look(admin, consumer)
                    looked_s = time.monotonic()
                self._step(consumer)
                ready()
        except KafkaException as error:
            raise kafka.trouble(_WHAT, kafka.cause_of(error)) from None
        finally:
            consumer.close()

    def _look(self, admin: AdminClient, consumer: Consumer) -> None:
        """Begin with partitions that are new, and keep where the others begin by now."""
        found = _partitions(admin, self._beginning)
        if anew := sorted(at[0] for at, place in self._places.items() if found.get(at) != place.topic_id):
            msg = f"{anew[0]}: the topic was deleted or made anew; it is looked at again"
            raise TransientError(msg)
        firsts = kafka.offsets(admin, found, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        new = found.keys() - self._places.keys()
        ends = kafka.offsets(admin, new, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        begun = self._begun(found, firsts, ends)
        moved = {
            at: replace(place, first_offset=firsts[at])
            for at, place in self._places.items()
            if firsts.get(at, place.first_offset) != place.first_offset
        }
        self._keep(begun | moved)
        if begun:
            consumer.incremental_assign(
                [TopicPartition(*at, place.next_offset) for at, place in begun.items()]
            )

    def _begun(
        self, found: Mapping[Partition, str], firsts: Mapping[Partition, int], ends: Mapping[Partition, int]
    ) -> dict[Partition, Place]:
        """Return where to begin with the partitions that are not read yet and whose ends are known."""
        if not ends:
            return {}
        rows = self._clickhouse.query("quarantine_next")
        known = {(row["quarantine_topic"], row["quarantine_partition"]): row for row in rows}
        begun = {}
        for at in ends.keys() & firsts.keys():
            row = known.get(at)
            same = row is not None and row["topic_id"] == found[at]
            read_to = row["next_offset"] if row is not None and same else firsts[at]
            start = read_to if firsts[at] <= read_to <= ends[at] else firsts[at]
            begun[at] = Place(found[at], firsts[at], start)
        return begun

    def _step(self, consumer: Consumer) -> None:
        """Store a batch, then rest for as long as it kept the processor, which the accounts want too."""
        began_s = time.thread_time()
        read_to: dict[Partition, int] = {}
        rows: dict[Row, Row] = {}
        for _, message in kafka.arriving(consumer, _MAX_BATCH, _POLL_S, _GATHER_S):
            error = message.error()
            if error is None:
                at = (str(message.topic()), int(message.partition() or 0))
                read_to[at] = int(message.offset() or 0) + 1
                if (row := _row(message, self._places[at].topic_id)) is not None:
                    key = (*row[:_AT_MS], row[_AT_MS] // _DAY_MS)
                    rows[key] = max(rows.get(key, row), row, key=_at_ms)
            elif error.code() != PARTITION_EOF:
                raise kafka.trouble(_WHAT, error)
        if rows:
            self._clickhouse.insert("quarantine_examples", COLUMNS, list(rows.values()))
        self._keep({at: replace(self._places[at], next_offset=offset) for at, offset in read_to.items()})
        self._stop.wait(time.thread_time() - began_s)

    def _keep(self, places: Mapping[Partition, Place]) -> None:
        if not places:
            return
        now_ms = time.time_ns() // 1_000_000
        rows = [
            (*at, place.topic_id, place.first_offset, place.next_offset, now_ms)
            for at, place in places.items()
        ]
        self._clickhouse.insert("quarantine_places", PLACES, rows)
        self._places |= places


def _row(message: Message, topic_id: str) -> Row | None:
    """Return the row of a refused record; None of what is no such record."""
    topic, partition, offset = str(message.topic()), int(message.partition() or 0), int(message.offset() or 0)
    try:
        record = QuarantineRecord.decode(kafka.as_bytes(message.value()) or b"")
    except ValueError:
        _log.error("quarantine_record_unreadable", topic=topic, partition=partition, offset=offset)
        return None
    slot = zlib.crc32(f"{partition}:{offset}".encode()) % SLOTS
    return (
        record.topic, record.stage, record.reason.value, record.field, slot, record.at_ms, topic_id, topic,
        partition, offset, record.partition, record.offset, record.plan_version,
    )  # fmt: skip


def _at_ms(row: Row) -> int:
    return int(row[_AT_MS])


def _partitions(admin: AdminClient, beginning: str) -> dict[Partition, str]:
    """Return partition → id of its topic, of all topics whose names begin so."""
    names = [name for name in admin.list_topics(timeout=kafka.TIMEOUT_S).topics if name.startswith(beginning)]
    if not names:
        return {}
    told = admin.describe_topics(TopicCollection(names), request_timeout=kafka.TIMEOUT_S)
    topics = {name: answer.result() for name, answer in told.items()}
    return {(name, one.id): str(topic.topic_id) for name, topic in topics.items() for one in topic.partitions}
