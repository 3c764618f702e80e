"""The parked list beside a view's delivery, for one round: read, watched for orders, looked over."""

from __future__ import annotations

import time
from typing import Final, Self

from connectors.parked import Refusals, gone_places
from connectors.sink import ParkingSink
from exchange import log
from exchange.compacted import CompactedTopic
from exchange.plan import PARKED_TOPIC, delivery_group
from exchange.registry import Registry
from exchange.settings import Settings
from exchange.subscriber.places import PlaceReader

_LOOK_EVERY_S: Final = 60.0

_log = log.get(__name__)


class Parking:
    """load → (is_ordered | alarm)* → close, in the view's own thread."""

    def __init__(
        self,
        settings: Settings,
        principal: str,
        subscriber: str,
        view: str,
        sink: ParkingSink,
        registry: Registry,
    ) -> None:
        """Make ready; principal: who keeps the list, the records are read as the subscriber."""
        self.sink = sink
        self._view = view
        self._topic = CompactedTopic(settings.kafka_client(principal), PARKED_TOPIC)
        self._told_gone = 0
        self._looked_at = 0.0
        self._firsts: dict[int, int] = {}
        group = delivery_group(subscriber, view)
        self.places = PlaceReader(settings.kafka_client(subscriber), registry, subscriber, view, group)

    def load(self, refusals: Refusals) -> Self:
        """Read the list. Only once no process before us can write to it.

        Raises: TransientError, PartError; ConfigError when it cannot be told any more which keys wait.
        """
        self.sink.parked.load(self._topic.read(), refusals)
        return self

    def is_ordered(self) -> bool:
        """Tell whether a person wants what is parked to be sent again; never waits."""
        self.sink.parked.heed(self._topic.poll())
        return self.sink.parked.order is not None

    def alarm(self) -> str:
        """Return what a person must know, empty where nothing is parked; what is gone is logged by its place.

        Raises: DeniedError, TransientError.
        """
        parked = self.sink.parked
        if parked.entries and time.monotonic() - self._looked_at > _LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            self._firsts = self.places.firsts(sorted({partition for partition, _ in parked.entries}))
            gone = gone_places(parked.entries, self._firsts)
            if len(gone) > self._told_gone:
                _log.error("parked_records_gone", view=self._view, places=[f"{at[0]}:{at[1]}" for at in gone])
            self._told_gone = len(gone)
        return parked.alarm(self._firsts)

    def close(self) -> None:
        """Close the readers."""
        self._topic.close()
        self.places.close()
