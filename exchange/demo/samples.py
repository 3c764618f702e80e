"""One record before and after masking: the row that a clerk wrote, and what a subscriber reads of it.

The row is one of the demonstration's own inventions; of a real one nobody but its department would see it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Final

from exchange import log
from exchange.demo.tables import Row
from exchange.demo.traffic import Sample, Traffic
from exchange.errors import ExchangeError
from exchange.registry import Registry
from exchange.settings import Settings
from exchange.subscriber.reader import Received, Start, ViewReader

_RETRY_S: Final = 2.0

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Pair:
    """A source row, and the same change as the view shows it."""

    view: str
    row: Row
    masked: dict[str, Any]

    @property
    def empty_fields(self) -> int:
        """How many fields of the view hold nothing; a pair with fewer shows more."""
        return sum(value is None for value in self.masked.values())


class Samples(threading.Thread):
    """Follows one view as one of its subscribers and keeps the latest pair."""

    def __init__(self, settings: Settings, traffic: Traffic, subscriber: str, view: str, system: str) -> None:
        super().__init__(name="samples", daemon=True)
        self.stopping = threading.Event()
        self.latest: Pair | None = None
        self._settings = settings
        self._traffic = traffic
        self._subscriber = subscriber
        self._view = view
        self._system = system

    def run(self) -> None:
        """Read until `stopping` is set; begin again when something fails."""
        while not self.stopping.is_set():
            try:
                self._follow()
            except ExchangeError as error:
                _log.warning("samples_wait", view=self._view, exc_info=error, retry_after_s=_RETRY_S)
                self.stopping.wait(_RETRY_S)

    def _follow(self) -> None:
        endpoints = self._settings.endpoints()
        kafka = self._settings.kafka_client(self._subscriber)
        group = f"{self._subscriber}.demo"
        with (
            Registry(endpoints.registry) as registry,
            ViewReader(kafka, registry, self._subscriber, self._view, Start("latest"), group) as reader,
        ):
            for record in reader.records(follow=True, until=self.stopping.is_set):
                wanted = _written_as(record, self._traffic.samples(self._system))
                if wanted is None:
                    continue
                pair = Pair(self._view, wanted.row, (record.value or {}).get("after") or {})
                if self.latest is None or pair.empty_fields <= self.latest.empty_fields:
                    self.latest = pair


def _written_as(record: Received, samples: tuple[Sample, ...]) -> Sample | None:
    """Return the sample whose commit a record tells of."""
    if record.header is None or record.problem:
        return None
    commit = record.header.position.commit
    return next((sample for sample in samples if sample.low <= commit < sample.high), None)
