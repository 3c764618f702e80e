"""Alerts as two parts of the monitor: one looks and stores every few seconds, one tells; each by itself.

A slow receiver holds up nothing but its notices; a store that does not answer is a part that does not work.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from typing import Final

from exchange import log
from exchange.alerting.alert import Alert, State
from exchange.alerting.rules import Alerting, MailChannel
from exchange.alerting.store import AlertStore, Notice, Page
from exchange.errors import ConfigError, ExchangeError, PartError
from exchange.files import yaml_source
from exchange.governance import clock
from exchange.governance.request import State as RequestState
from exchange.governance.store import Store, exists
from exchange.settings import Settings
from exchange.topology import check, today
from exchange.topology.model import Governance
from monitor.alerts import mail, webhook
from monitor.alerts.seen import Overdue, Seen
from monitor.alerts.watch import Watch

EVERY_S: Final = 5.0
_NOTIFY_EVERY_S: Final = 1.0
_OVERDUE_EVERY_S: Final = 60.0
_PLAN_WITHIN_S: Final = 60.0
"""The plan says which alerts are not wanted: so long a start waits for it before it judges without."""
_WAITING: Final = (RequestState.SUBMITTED, RequestState.AT_AUTHORITY)

_log = log.get(__name__)


class Desk:
    """Watches, keeps and tells. look: what there is to see now; rules: those of the newest plan."""

    def __init__(
        self,
        settings: Settings,
        look: Callable[[tuple[Overdue, ...] | None], Seen],
        rules: Callable[[], Alerting],
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._look = look
        self._rules = rules
        self._stop = stop
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._overdue: tuple[Overdue, ...] | None = None
        self._overdue_at = -_OVERDUE_EVERY_S

    def session(self, ready: Callable[[], None]) -> None:
        """Look every few seconds until stopped. Raises: PartError while the store does not answer."""
        watch, began = Watch(), time.monotonic()
        self._forget_old()
        ready()
        while not self._stop.wait(EVERY_S):
            active = self.active()
            seen = self._look(self._requests())
            if seen.plan is None and time.monotonic() - began < _PLAN_WITHIN_S:
                continue
            verdict = watch.look(seen, active)
            if verdict.fires or verdict.over or active:
                channels = self._rules().channels
                after = self._alerts().keep(verdict.fires, verdict.over, channels, seen.now_ms)
                _say(active, after)
            ready()

    def notices(self, ready: Callable[[], None]) -> None:
        """Send what is due until stopped. Raises: PartError while the store does not answer."""
        ready()
        while not self._stop.wait(_NOTIFY_EVERY_S):
            channels = self._rules().channels
            if not channels or not self._has_store():
                continue
            for notice in self._alerts().due(channels, _now_ms()):
                if not self._stop.is_set():
                    self._send(notice)
            ready()

    def active(self) -> tuple[Alert, ...]:
        """Return what is not over, firing ones first."""
        if not self._has_store():
            return ()
        order = list(State)
        found = self._alerts().active()
        return tuple(sorted(found, key=lambda alert: (order.index(alert.state), alert.severity, alert.id)))

    def page(self, states: tuple[State, ...], before: int | None, limit: int) -> Page:
        """Return alerts in some states, or all, newest first."""
        return self._alerts().page(states, before, limit) if self._has_store() else Page((), None)

    def close(self) -> None:
        """Close the store."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _send(self, notice: Notice) -> None:
        """Send one notice; one that is not taken is put off."""
        store, channel = self._alerts(), self._rules().channels.get(notice.channel)
        if channel is None:
            return
        try:
            if isinstance(channel, MailChannel):
                mail.send(channel, notice, self._settings.secrets)
            else:
                webhook.send(channel, notice, self._settings.secrets)
        except ExchangeError as error:
            _log.warning("alert_not_sent", where=notice.channel, reason=str(error))
            store.failed(notice, _now_ms())
        else:
            store.sent(notice, _now_ms())

    def _requests(self) -> tuple[Overdue, ...] | None:
        """Return the requests that are overdue, looked at once a minute."""
        if time.monotonic() - self._overdue_at >= _OVERDUE_EVERY_S:
            self._overdue_at = time.monotonic()
            self._overdue = self._read_requests() if self._has_store() else ()
        return self._overdue

    def _read_requests(self) -> tuple[Overdue, ...]:
        now, rules = dt.datetime.now().astimezone(), _deadlines(self._settings)
        with self._opened().change() as change:
            waiting = change.requests(_WAITING)
        late = (clock.Notice.OVERDUE, clock.Notice.ESCALATED)
        found = []
        for request in waiting:
            due = clock.deadline(request, rules)
            if due is not None and clock.notice(request, now, rules) in late:
                end = dt.datetime.combine(due.day, dt.time.max, clock.ZONE)
                found.append(
                    Overdue(request.id, request.view, request.state.value, int(end.timestamp() * 1000))
                )
        return tuple(found)

    def _has_store(self) -> bool:
        return self._store is not None or exists(self._settings)

    def _opened(self) -> Store:
        with self._lock:
            if self._store is None:
                self._store = _open(self._settings)
            return self._store

    def _alerts(self) -> AlertStore:
        return AlertStore(self._opened())

    def _forget_old(self) -> None:
        if self._has_store():
            self._alerts().forget_old(_now_ms())


def _open(settings: Settings) -> Store:
    """Open the store. Raises: PartError also for a wrong address: accounts are kept all the same."""
    try:
        return Store.of(settings)
    except ConfigError as error:
        raise PartError(str(error)) from None


def _deadlines(settings: Settings) -> Governance:
    """Return the deadlines of the topology where the monitor has the file, else the usual ones."""
    try:
        return check(yaml_source.read(settings.topology), None, today()).topology.governance
    except ExchangeError:
        return Governance()


def _say(before: tuple[Alert, ...], after: list[Alert]) -> None:
    known, still = {alert.id for alert in before}, {alert.id for alert in after}
    for alert in after:
        if alert.id not in known:
            _log.warning("alert_fires", where=alert.where, stage=alert.stage, reason=alert.what.en)
    for alert in before:
        if alert.id not in still:
            _log.info("alert_over", where=alert.where, stage=alert.stage)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
