"""The sweep of requests on a timer: grants end on their day, and what broke off is finished, without cron."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from exchange import log
from exchange.cluster import ADMIN
from exchange.errors import ExchangeError
from exchange.governance.desk import Desk
from exchange.governance.force import sweep
from exchange.governance.store import exists
from monitor.api.models import PartHealth
from monitor.identity import Identity, now

_FIRST_S: Final = 1.0

_log = log.get(__name__)


class Sweeping:
    """Sweeps as long as the monitor runs; `state` is what the last one came to."""

    def __init__(self, identity: Identity, turn: threading.Lock, stop: threading.Event) -> None:
        """turn: held while Kafka's access and the outbox are brought up to date."""
        self._identity = identity
        self._turn = turn
        self._stop = stop
        self.state = PartHealth(ok=True, text="nothing to sweep: there are no requests")

    def session(self, ready: Callable[[], None]) -> None:
        """Sweep every `sweep_every_s` seconds until stopped; a failure is shown, and the next one tries."""
        ready()
        wait_s = _FIRST_S
        while not self._stop.wait(wait_s):
            wait_s = self._identity.settings.sweep_every_s
            if exists(self._identity.settings):
                self.state = self._swept()

    def _swept(self) -> PartHealth:
        settings = self._identity.settings
        try:
            settings.kafka_client(ADMIN)
            topology, contracts = self._identity.declared.current()
            store = self._identity.store()
            with self._turn:
                found = sweep(settings, topology, store, Desk(store, topology, contracts), now())
        except ExchangeError as error:
            if self.state.ok:
                _log.warning("sweep_failed", state=str(error))
            return PartHealth(ok=False, text=str(error))
        if found.expired:
            _log.info("grants_expired", count=len(found.expired))
        if found.not_in_force:
            return PartHealth(ok=True, text="; ".join(f"not in force: {one}" for one in found.not_in_force))
        return PartHealth(ok=True, text="ok")
