"""One answer's records, read from Kafka as the subscriber who asks. Kafka's own access rules decide.

A page is made in this order:
1. Kafka is asked for the topic and its offsets, as the subscriber: without a grant it refuses here;
2. the cursor is compared with them: what retention has removed is told, never passed over;
3. committed records are fetched anew, from the cursor's places, and taken from the partitions in turn;
4. Kafka is asked for the ends again: access that was taken away meanwhile lets nothing of the page out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from connectors.http.problem import Problem, try_later
from connectors.pull.cursor import Cursor, Place
from connectors.pull.lane import Lane
from connectors.pull.taking import AGAIN, Handed, Start, Taking, Wish
from connectors.pull.taking import ANSWER_S as _ANSWER_S
from exchange import log
from exchange.admin import admin_client
from exchange.errors import TransientError
from exchange.librdkafka import AUTHENTICATION, PARTITION_EOF, quiet_logger
from exchange.plan import pull_group
from exchange.subscriber.decoder import WireDecoder
from exchange.subscriber.seen import Seen

_SHARED: Final = "share."
_POLL_S: Final = 0.1
_MOST_POLLED: Final = 1_000
_ANEW: Final = "the view's topic was made anew since"
_REMOVED: Final = "records behind it were removed by retention before they were read"
_DENIED: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - public constants with an underscore
)

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer: each record's JSON, and the cursor behind them.

    lag_records: what is left, transaction markers too; lag_s: how long ago the last record of the page was
    committed in its source, while more are left, else 0. undecodable: partition and offset of those that were
    handed out without their content.
    """

    records: list[str]
    handed: Sequence[Handed]
    undecodable: Set[tuple[int, int]]
    next: Cursor
    more: bool
    lag_records: int
    lag_s: float | None


class Puller:
    """A connection to Kafka as one subscriber, for one page at a time."""

    def __init__(self, kafka: Mapping[str, Any], subscriber: str, decoder: WireDecoder) -> None:
        """kafka: librdkafka properties of the subscriber. Nothing connects yet."""
        self.broken = False
        self._subscriber = subscriber
        self._reading = ""
        self._used: dict[str, dict[int, int]] = {}
        self._decoder = decoder
        self._refused_login = False
        self._admin = admin_client(kafka)
        self._consumer = Consumer(
            dict(kafka)
            | {
                "group.id": pull_group(subscriber),  # never joined
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,  # so late is an end heard of, and that access was taken away
                "fetch.message.max.bytes": 262_144,  # what a page does not take is thrown away
                "queued.max.messages.kbytes": 4_096,
                "error_cb": self._on_error,
            },
            logger=quiet_logger(),
        )

    def page(self, wish: Wish, stopping: Callable[[], bool]) -> Page:
        """Return the page that is wished for; a wait ends early when `stopping` says so.

        Raises: Problem 403 without a grant, 410 where the cursor's records are gone, 503 when Kafka or the
        registry does not answer.
        """
        topic = f"{_SHARED}{wish.view}"
        try:
            topic_id, partitions = self._topic(topic)
            firsts, ends = self._spans(topic, partitions)
            begin = _begin(wish.after, topic_id, firsts, ends)
            self.broken = True
            if isinstance(wish.after, Cursor):
                self._tell_used(topic, begin)
            page = self._read(topic, begin, ends, wish, stopping)
            self.broken = False
        except KafkaException as error:
            self._refuse(error.args[0])
        except TransientError:
            raise try_later(503, "the schema registry does not answer", AGAIN) from None
        return page

    def views(self) -> frozenset[str]:
        """Return the views that Kafka lets the subscriber read.

        Raises: Problem 503 when Kafka does not answer.
        """
        try:
            found = self._consumer.list_topics(timeout=_ANSWER_S).topics
        except KafkaException as error:
            self._refuse(error.args[0])
        return frozenset(name.removeprefix(_SHARED) for name in found if name.startswith(_SHARED))

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _topic(self, topic: str) -> tuple[str, list[int]]:
        asked = self._admin.describe_topics(TopicCollection([topic]), request_timeout=_ANSWER_S)
        found = asked[topic].result()
        return str(found.topic_id), sorted(partition.id for partition in found.partitions)

    def _spans(self, topic: str, partitions: list[int]) -> tuple[dict[int, int], dict[int, int]]:
        """Return each partition's first offset, and the end of what is committed."""
        asked = [
            self._admin.list_offsets(
                {TopicPartition(topic, number): which for number in partitions},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=_ANSWER_S,
            )
            for which in (OffsetSpec.earliest(), OffsetSpec.latest())  # type: ignore[no-untyped-call]
        ]
        firsts, ends = ({at.partition: one.result().offset for at, one in each.items()} for each in asked)
        return firsts, ends

    def _read(
        self,
        topic: str,
        begin: Cursor,
        ends: Mapping[int, int],
        wish: Wish,
        stopping: Callable[[], bool],
    ) -> Page:
        lanes = {
            number: Lane(place.offset, Seen(place.marks), wish.most) for number, place in begin.places.items()
        }
        for number, lane in lanes.items():
            if lane.offset == ends[number]:
                lane.reach(lane.offset)
        self._reading = topic
        self._consumer.assign([TopicPartition(topic, number, lane.offset) for number, lane in lanes.items()])
        try:
            taking = Taking(lanes, begin.turn, self._poll, self._decoder)
            taking.run(wish, stopping)
            _, ends = self._spans(topic, list(lanes))
        finally:
            self._consumer.unassign()
        places = {number: lane.place() for number, lane in lanes.items()}
        left = [number for number, lane in lanes.items() if not lane.is_done]
        return Page(
            taking.records,
            taking.handed,
            taking.undecodable,
            Cursor(begin.topic_id, taking.turn, places),
            bool(left),
            sum(max(0, ends[number] - places[number].offset) for number in left),
            taking.lag_s() if left else 0.0,
        )

    def _tell_used(self, topic: str, cursor: Cursor) -> None:
        """Let Kafka know how far the subscriber says it is; nothing but its lag as shown rests on it."""
        used = {number: place.offset for number, place in cursor.places.items()}
        if used != self._used.get(topic):
            self._used[topic] = used
            at = [TopicPartition(topic, number, offset) for number, offset in used.items()]
            self._consumer.commit(offsets=at, asynchronous=True)

    def _poll(self, lanes: Mapping[int, Lane]) -> None:
        """Take in what Kafka's client has; waits a moment for the first.

        Raises: Problem for an error that does not pass by itself.
        """
        first = self._consumer.poll(_POLL_S)
        if first is None:
            if self._refused_login:
                self._refuse(KafkaError(AUTHENTICATION))
            return
        for message in (first, *self._consumer.consume(_MOST_POLLED, 0)):
            if message.topic() not in (self._reading, None):
                continue  # of a page before this one; Kafka's client drops such by itself
            partition, error = message.partition(), message.error()
            if error is None and partition is not None:
                lanes[partition].put(message)
            elif error is not None and error.code() == PARTITION_EOF and partition is not None:
                lanes[partition].reach(message.offset() or 0)
            elif error is not None:
                self._judge(error)

    def _judge(self, error: KafkaError) -> None:
        """Raise for what does not pass by itself."""
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - public constant
            raise _gone(_REMOVED)
        if error.code() in _DENIED or error.fatal() or not error.retriable():
            self._refuse(error)

    def _refuse(self, error: KafkaError) -> NoReturn:
        if error.code() in _DENIED:
            raise Problem(
                403,
                "Kafka denies it: there is no grant (any more), or no view of that name. /openapi.json lists "
                "the views that this key may read; grants stand in the bus's topology.yaml",
            ) from None
        self.broken = True
        _log.warning("kafka_refuses", subscriber=self._subscriber, reason=error.name())
        raise try_later(503, f"Kafka does not answer as needed ({error.name()})", AGAIN) from None

    def _on_error(self, error: KafkaError) -> None:
        self._refused_login = self._refused_login or error.code() == AUTHENTICATION


def _begin(after: Start, topic_id: str, firsts: Mapping[int, int], ends: Mapping[int, int]) -> Cursor:
    """Return the cursor to begin at, all of whose records are still there."""
    if isinstance(after, Cursor):
        if after.topic_id != topic_id or after.places.keys() != firsts.keys():
            raise _gone(_ANEW)
        if any(place.offset < firsts[number] for number, place in after.places.items()):
            raise _gone(_REMOVED)
        return after
    begin = ends if after == "latest" else firsts
    return Cursor(topic_id, min(begin), {number: Place(offset) for number, offset in begin.items()})


def _gone(why: str) -> Problem:
    return Problem(
        410,
        f"this cursor leads nowhere: {why}. Leave `after` out to begin at the first record there is; "
        "that does not bring back what was removed: where it matters, ask for a new snapshot of the source",
    )
