"""Topics that a Debezium on Kafka Connect writes, as a `Source`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from confluent_kafka import Message

from connectors.source import Batch, Captured
from connectors.sources.debezium.converters import Converters
from connectors.sources.debezium.place import TopicPlace, gap, read_places, write_mark
from connectors.sources.debezium.record import Records
from connectors.sources.debezium.shapes import Place
from connectors.sources.debezium.topics import Topics
from exchange import log
from exchange.change import Op, stream_id
from exchange.errors import SourceError
from exchange.position import SourcePosition
from exchange.tablemark import ANEW, TableMark

_log = log.get(__name__)

_MOST_RECORDS: Final = 5_000
"""A record with its schema may have 5 kB or more; librdkafka holds 64 MB besides."""
_IDLE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Given:
    """What the topology says of the system.

    topics: by table, <schema>.<table>; whole_before: before-images can be relied on; from_oldest: begin with
    what the topics still have, where their beginning is gone.
    """

    system: str
    topics: Mapping[str, str]
    whole_before: bool
    from_oldest: bool


class DebeziumSource:
    """The `Source` protocol on topics. See connectors/source.py for the calling order."""

    # Known from open() on.
    _position: SourcePosition
    _places: dict[str, TopicPlace]
    _records: dict[str, Records]
    _to_empty: set[str]

    def __init__(self, given: Given, client: dict[str, Any], converters: Converters) -> None:
        """client: librdkafka properties of one who may read and describe the topics."""
        self._given = given
        self._converters = converters
        self._topics = Topics(given.system, client, given.topics)

    def open(self, stored: SourcePosition | None) -> None:
        """Compare the topics with what was read of them, and go on there."""
        cluster, now = self._topics.cluster(), self._topics.look()
        if stored is None or stored.resume == 0:
            stored = self._first_position(cluster, stored)
        self._places = read_places(stored, cluster, now)
        for table in now.keys() - self._places.keys():
            self._refuse_lost_beginning(table, now[table].topic, now[table].spans)
            firsts = tuple(first for first, _ in now[table].spans)
            self._places[table] = TopicPlace(now[table].topic, now[table].identity, firsts)
        self._to_empty = {mark.name for mark in map(TableMark.parse, stored.tables) if mark.state == ANEW}
        self._position = replace(stored, **self._told())
        stream = stream_id(self._given.system, cluster, stored.timeline)
        self._records = {
            table: Records(
                self._given.system,
                table,
                stream,
                self._converters.pair(),
                whole_before=self._given.whole_before,
            )
            for table in self._given.topics
        }
        self._topics.start(self._places[table] for table in self._given.topics)
        _log.info("stream_started", system=self._given.system, topics=len(self._given.topics))

    def read(self) -> Batch:
        """Return the next records of all topics; those of one partition are in its order."""
        messages = self._topics.read(_MOST_RECORDS, _IDLE_S)
        if not messages:
            return Batch([], self._position)
        changes: list[Captured] = []
        for table, message in messages:
            changes += self._captured(table, message)
        self._refuse_other_topics()
        self._advance(messages)
        self._position = replace(self._position, **self._told())
        if changes:
            last = changes[-1].position
            self._position = replace(self._position, commit=last.commit, index=last.index)
        return Batch(changes, self._position, more=len(messages) == _MOST_RECORDS)

    def acknowledge(self, position: SourcePosition) -> None:
        """Do nothing: Kafka keeps the topics by their own retention, not by ours."""

    def close(self) -> None:
        """Close the consumer, and the connections to a registry."""
        self._topics.close()
        self._converters.close()

    def _first_position(self, cluster: str, before: SourcePosition | None) -> SourcePosition:
        """Return the position of a new history: its number tells its positions from those of any other."""
        timeline = time.time_ns() // 1_000_000
        emptied: tuple[str, ...] = ()
        if before is not None:
            timeline = max(timeline, before.timeline + 1)
            emptied = tuple(str(TableMark(table, state=ANEW)) for table in self._given.topics)
        return SourcePosition(self._given.system, cluster, timeline, "", 1, tables=emptied)

    def _refuse_lost_beginning(self, table: str, topic: str, spans: tuple[tuple[int, int], ...]) -> None:
        """Without its first records a topic no longer tells every row: the snapshot stood there.

        Raises: SourceError unless the topology says that this is known.
        """
        if self._given.from_oldest or all(first == 0 for first, _ in spans):
            return
        msg = (
            f"source {self._given.system}: table {table}: the beginning of topic {topic} is gone by its "
            "retention, and with it rows that did not change since. Have Debezium take a new snapshot into a "
            "new topic and name that; or, after an ad-hoc snapshot into this one, say `begin: oldest`"
        )
        raise SourceError(msg)

    def _captured(self, table: str, message: Message) -> list[Captured]:
        """Return what a record gives: nothing for a tombstone, a record more where the table is emptied."""
        value = message.value()
        if value is None:
            return []
        place = Place(str(message.topic()), message.partition() or 0, message.offset() or 0)
        key = message.key()
        records = self._records[table]
        change = records.captured(place, None if key is None else bytes(key), bytes(value))
        if change.op is Op.TRUNCATE and len(self._places[table].offsets) > 1:
            msg = (
                f"source {self._given.system}: table {table} was truncated (topic {place.topic}"
                f"[{place.partition}] offset {place.offset}), and a topic of several partitions does not "
                "tell before or after which changes. Have Debezium write it to a new topic of one partition"
            )
            raise SourceError(msg)
        if table in self._to_empty and (emptying := records.emptying()) is not None:
            self._to_empty.discard(table)
            return [emptying, change]
        return [change]

    def _refuse_other_topics(self) -> None:
        """Look after a read that the topics are still the same: then the records are of these."""
        if not self._topics.still(self._places[table] for table in self._given.topics):
            raise gap(
                self._given.system, "a topic was made anew or has got more partitions while it was read"
            )

    def _advance(self, messages: list[tuple[str, Message]]) -> None:
        reached: dict[str, dict[int, int]] = {}
        for table, message in messages:
            reached.setdefault(table, {})[message.partition() or 0] = (message.offset() or 0) + 1
        for table, ends in reached.items():
            place = self._places[table]
            offsets = tuple(ends.get(number, offset) for number, offset in enumerate(place.offsets))
            self._places[table] = replace(place, offsets=offsets)

    def _told(self) -> dict[str, Any]:
        """Return what of the position follows from the places."""
        tables = tuple(
            str(TableMark(table, state=ANEW if table in self._to_empty else "")) for table in self._places
        )
        read = sum(sum(place.offsets) for place in self._places.values())
        return {"mark": write_mark(self._places), "tables": tables, "resume": read + 1}
