"""Each new plan to an OpenLineage address, as a part of the monitor that holds up no other."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from typing import Final

from exchange import log
from exchange.errors import ExchangeError
from exchange.lineage.events import events
from exchange.lineage.send import send
from exchange.plan import PublishedPlan
from exchange.settings import Settings

_EVERY_S: Final = 1.0
_RETRY_S: Final = 30.0

_log = log.get(__name__)


class Lineage:
    """Sends the newest plan once; at the start, again what was sent before, which is the same runs."""

    def __init__(
        self,
        settings: Settings,
        url: str,
        newest: Callable[[], PublishedPlan | None],
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._url = url
        self._newest = newest
        self._stop = stop
        self._sent = 0

    def session(self, ready: Callable[[], None]) -> None:
        """Send until stopped; an address that does not take it is tried again, and fails nothing."""
        ready()
        while not self._stop.wait(_EVERY_S):
            plan = self._newest()
            if plan is None or plan.version == self._sent:
                continue
            try:
                self._send(plan)
            except ExchangeError as error:
                _log.warning("lineage_not_sent", plan_version=plan.version, reason=str(error))
                self._stop.wait(_RETRY_S)

    def _send(self, plan: PublishedPlan) -> None:
        told = events(plan, self._settings.endpoints().kafka, dt.datetime.now(dt.UTC))
        count = send(self._settings, self._url, told)
        self._sent = plan.version
        _log.info("lineage_sent", plan_version=plan.version, records=count)
