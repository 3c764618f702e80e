"""The sweep of requests on a timer, and the outbox into Kafka: without cron, and behind every answer.

Grants end on their day, what broke off is finished, and each decision of the API is in Kafka in seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from exchange import log
from exchange.cluster import ADMIN
from exchange.errors import ExchangeError
from exchange.governance.corrections import announce
from exchange.governance.desk import Desk
from exchange.governance.force import sweep
from exchange.governance.objection_desk import corrected
from exchange.governance.relay import relay
from exchange.governance.store import Store, exists
from monitor.api.models import PartHealth
from monitor.identity import Identity, now

_LOOK_S: Final = 0.5
_AGAIN_S: Final = 10.0
"""After a failure, such as of a relay that a command's took over from."""

_log = log.get(__name__)


class Sweeping:
    """Sweeps as long as the monitor runs; `state` is what the last one came to."""

    def __init__(self, identity: Identity, turn: AbstractContextManager[Any], stop: threading.Event) -> None:
        """turn: held while access in Kafka is made what the grants say."""
        self._identity = identity
        self._turn = turn
        self._stop = stop
        self._wake = threading.Event()
        self._is_wanted = False
        self._announced: frozenset[int] = frozenset()
        self.state = PartHealth(ok=True, text="nothing to sweep: there are no requests")

    def soon(self, sweep: bool) -> None:
        """Have what was decided brought into Kafka, behind the answer; and a sweep where access failed."""
        self._is_wanted = self._is_wanted or sweep
        self._wake.set()

    def session(self, ready: Callable[[], None]) -> None:
        """Sweep every `sweep_every_s` seconds until stopped; a failure is shown, and the next one tries."""
        ready()
        next_s = time.monotonic()
        while not self._stop.is_set():
            is_woken = self._wake.wait(_LOOK_S)
            self._wake.clear()
            is_due = self._is_wanted or time.monotonic() >= next_s
            self._is_wanted = False
            if not (is_woken or is_due) or not exists(self._identity.settings):
                continue
            self._note(self._done(is_due=is_due))
            if is_due:
                next_s = time.monotonic() + self._identity.settings.sweep_every_s
            if not self.state.ok:
                next_s = min(next_s, time.monotonic() + _AGAIN_S)

    def _done(self, *, is_due: bool) -> PartHealth:
        try:
            store = self._identity.store()
            with store.change() as change:
                if not change.decisions(0, 1):  # there are users, and no request yet
                    return self.state
            client = self._identity.settings.kafka_client(ADMIN)
            try:
                return self._swept() if is_due else self.state
            finally:
                relay(store, client)
                self._announce(store, client)
        except ExchangeError as error:
            return PartHealth(ok=False, text=str(error))

    def _announce(self, store: Store, client: dict[str, Any]) -> None:
        """Bring markers of corrections into Kafka; it is read for what is there only where some are new."""
        known = frozenset(one.id for one in corrected(store))
        if not known <= self._announced:
            announce(store, client)
            self._announced = known

    def _swept(self) -> PartHealth:
        identity = self._identity
        topology, contracts = identity.declared.current()
        with self._turn:
            found = sweep(identity.settings, topology, Desk(identity.store(), topology, contracts), now())
        if found.expired:
            _log.info("grants_expired", count=len(found.expired))
        return PartHealth(ok=True, text="; ".join(found.notes) or "ok")

    def _note(self, state: PartHealth) -> None:
        if self.state.ok and not state.ok:
            _log.warning("sweep_failed", state=state.text)
        self.state = state
