"""Which snapshots and pauses are wanted, and how far connectors are: read from Kafka while somebody looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import JsonValue

from exchange.compacted import CompactedTopic
from exchange.errors import ExchangeError, PartError
from exchange.pauses import PAUSES, Pause
from exchange.plan import PAUSES_TOPIC, POSITIONS_TOPIC, RESNAPSHOTS_TOPIC, SNAPSHOTS_TOPIC
from exchange.position import SourcePosition, shown, writer_id
from exchange.resnapshots import RESNAPSHOTS, Resnapshot
from exchange.snapshot_orders import SNAPSHOT_ORDERS
from exchange.snapshots import SnapshotStatus, status_of

_FRESH_S: Final = 1.0
_IDLE_S: Final = 60.0
_SMALL_QUEUE: Final = {"queued.min.messages": 1000, "queued.max.messages.kbytes": 1024}
"""Between two looks little is fetched ahead; after a long time without one both topics are read anew."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one system is. problem: why position or an order cannot be told; else empty."""

    position: SourcePosition | None
    snapshot: SnapshotStatus | None
    pause: Pause | None = None
    anew: Resnapshot | None = None
    problem: str = ""


class Board:
    """The topics, kept up to date from one look to the next, whoever looks."""

    def __init__(self, client: dict[str, Any]) -> None:
        """`client`: librdkafka properties of a principal that may read them."""
        self._client = client | _SMALL_QUEUE
        self._lock = threading.Lock()
        self._topics: dict[str, CompactedTopic] = {}
        self._found: dict[str, dict[bytes, bytes]] = {}
        self._looked_at = 0.0

    def look(self, systems: list[str], beats: tuple[Mapping[str, JsonValue], ...]) -> dict[str, Progress]:
        """Return how far some systems are. beats: all heartbeats.

        Raises: TransientError when Kafka does not answer, PartError when it refuses.
        """
        with self._lock:
            self._refresh()
            by_writer = {str(beat["writer"]): beat for beat in beats}
            return {
                system: _progress(system, self._found, by_writer.get(writer_id(system), {}))
                for system in systems
            }

    def close(self) -> None:
        """Close its readers. May be called twice."""
        with self._lock:
            self._close()

    def _refresh(self) -> None:
        """Take in what is new; begin anew after a failure, and where nobody has looked for long."""
        idle_s = time.monotonic() - self._looked_at
        if self._topics and idle_s < _FRESH_S:
            return
        if idle_s > _IDLE_S:
            self._close()
        try:
            for topic in (SNAPSHOTS_TOPIC, PAUSES_TOPIC, RESNAPSHOTS_TOPIC, POSITIONS_TOPIC):
                self._take(topic)
        except ExchangeError:
            self._close()
            raise
        self._looked_at = time.monotonic()

    def _take(self, topic: str) -> None:
        if topic not in self._topics:
            self._topics[topic] = CompactedTopic(self._client, topic)
            self._found[topic] = self._topics[topic].read()
            return
        for key, value in self._topics[topic].poll().items():
            if value is None:
                self._found[topic].pop(key, None)
            else:
                self._found[topic][key] = value

    def _close(self) -> None:
        for topic in self._topics.values():
            topic.close()
        self._topics.clear()


def _progress(
    system: str, topics: Mapping[str, Mapping[bytes, bytes]], beat: Mapping[str, JsonValue]
) -> Progress:
    """Return how far one is. topics: name → key → value."""
    found, key = Progress(None, None), system.encode()
    try:
        if pause := topics[PAUSES_TOPIC].get(key):
            found = replace(found, pause=PAUSES.parsed(key, pause))
        if anew := topics[RESNAPSHOTS_TOPIC].get(key):
            found = replace(found, anew=RESNAPSHOTS.parsed(key, anew))
        if position := topics[POSITIONS_TOPIC].get(writer_id(system).encode()):
            found = replace(found, position=shown(position))
        if order := topics[SNAPSHOTS_TOPIC].get(key):
            at = None if found.position is None else found.position.incremental
            given = status_of(system, SNAPSHOT_ORDERS.parsed(key, order), at, beat)
            found = replace(found, snapshot=given)
    except PartError as error:
        return replace(found, problem=str(error))
    except ValueError:
        return replace(found, problem=f"the position of {system} was not written by this version")
    return found
