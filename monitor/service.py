"""The monitor process: registry, ingest and API together, each part waiting for what it stands on."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

import uvicorn
from pydantic import JsonValue

from exchange import log, selfcheck
from exchange.alerting.alert import Alert
from exchange.alerting.rules import Alerting
from exchange.errors import ConfigError, ExchangeError, PartError, TransientError
from exchange.identity.caller import Sight
from exchange.plan import PublishedPlan
from exchange.settings import REGISTRY_PASSWORD, Settings
from monitor.alerts.desk import Desk
from monitor.alerts.look import certificates, with_figures
from monitor.alerts.seen import Overdue, Seen
from monitor.api import alerts as alerts_api
from monitor.api import connectors, dealing, quarantine, report, sight
from monitor.api import corrections as corrections_api
from monitor.api import quality as quality_api
from monitor.api.app import build
from monitor.api.models import AccountsProgress, Health, PartHealth, Status
from monitor.api.requests import OnlineDesk
from monitor.clickhouse.client import ClickHouse
from monitor.clickhouse.retention import Retention
from monitor.expected import Silent, Watch
from monitor.figures import Figures
from monitor.glance import BALANCE_MINUTES, WINDOW_S, Known, overview_of, summary_of
from monitor.heartbeats import Heartbeats
from monitor.identity import Identity
from monitor.ingest import Ingest
from monitor.lineage import Lineage
from monitor.overview import Overview
from monitor.plans import Plans
from monitor.quarantine import Examples
from monitor.registry.store import Store
from monitor.snapshots import Board
from monitor.subscribers import Subscribers
from monitor.sweeping import Sweeping

PRINCIPAL: Final = "monitor"
_RETRY_S: Final = 1.0
_PARTS: Final = (
    "registry", "clickhouse", "accounts", "plans", "subscribers", "quarantine", "redis", "alerts", "notices",
)  # fmt: skip

Session = Callable[[Callable[[], None]], None]

_log = log.get(__name__)


class Service:
    """One monitor. Parts run in threads of their own and report how they are to `parts`."""

    def __init__(self, settings: Settings) -> None:
        selfcheck.check_certificate(settings)
        client = settings.kafka_client(PRINCIPAL)
        self._root = settings.root
        self._started_at_ms = _now_ms()
        self._stop = threading.Event()
        self._parts = {name: PartHealth(ok=False, text="starting") for name in _PARTS}
        self._fatal: ExchangeError | None = None
        self._threads: list[threading.Thread] = []
        self._server: uvicorn.Server | None = None
        self._clickhouse = ClickHouse(
            settings.endpoints().clickhouse, settings.secrets, retention=_retention(settings)
        )
        self._store = Store(client)
        self._ingest = Ingest(
            client, self._clickhouse, self._stop, reconcile_every_s=settings.reconcile_every_s
        )
        self._plans = Plans(client, self._clickhouse, self._stop)
        self._subscribers = Subscribers(client, self._clickhouse, self._stop)
        self._quarantine = Examples(client, self._clickhouse, self._stop)
        self._heartbeats = Heartbeats(settings)
        self._identity = Identity(settings)
        self._snapshots = Board(client)
        self._online = OnlineDesk(self._identity)
        self._sweeping = Sweeping(self._identity, self._online.turn, self._stop)
        self._online.soon = self._sweeping.soon
        self._watch = Watch(self._started_at_ms)
        self._figures = Figures(
            self._clickhouse,
            _now_ms,
            self._settled,
            lambda: self._plans.budgets_ms,
            lambda: self._ingest.reconciler.found.strange,
            lambda: self._ingest.progress.settled_ms,
        )
        self._alerts = Desk(settings, self._seen, self._rules, self._stop)
        self._lineage: Lineage | None = None
        if (url := settings.openlineage_url) is not None:
            self._lineage = Lineage(settings, url, lambda: self._plans.newest, self._stop)
            self._parts["lineage"] = PartHealth(ok=True, text="starting")
        self._registry_password = settings.secrets.get(REGISTRY_PASSWORD)

    def run(self, host: str, port: int) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises: ConfigError when the port is taken; PartError or ConfigError when a part can never work.
        """
        listening = listen(host, port)
        app = build(self, self._figures, self._store, self._registry_password, self._online)
        alerts_api.add(app, self._alerts)
        dealing.add(app, self._identity)
        quarantine.add(app, self._identity)
        connectors.add(app, self._identity, self.plan, self._workers, self._newest_alerts, self._snapshots)
        quality_api.add(app, self._clickhouse, self._identity)
        corrections_api.add(app, self._online.identity)
        report.add(app, self._clickhouse, self._identity)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, lifespan="off",
            timeout_graceful_shutdown=3, limit_concurrency=500,
        )  # fmt: skip
        self._server = _Server(config)
        for caught in (signal.SIGTERM, signal.SIGINT):
            signal.signal(caught, self._on_signal)
        self._start("registry", self._registry_session)
        self._start("clickhouse", self._clickhouse_session)
        self._start("alerts", self._alerts.session)
        self._start("notices", self._alerts.notices)
        if self._lineage is not None:
            self._start("lineage", self._lineage.session)
        self._start("requests", self._sweeping.session)
        _log.info("monitor_started", port=port, pid=os.getpid())
        try:
            self._server.run(sockets=[listening])
        finally:
            self._close()
        if self._fatal is not None:
            raise self._fatal

    def health(self) -> Health:
        """Return which parts work."""
        parts = {**self._parts, "redis": self._heartbeats.health()}
        return Health(ok=all(part.ok for part in parts.values()), parts=parts)

    def status(self) -> Status:
        """Return everything at a glance."""
        now_ms, workers = _now_ms(), self._workers()
        status = Status(
            at_ms=now_ms,
            started_at_ms=self._started_at_ms,
            memory_mib=resident_mib(),
            parts=self.health().parts,
            workers=workers,
            silent=self._silent(workers, now_ms),
            plan_version=self._plans.version,
            accounts=self.progress(),
            routes_window_s=WINDOW_S,
            balance_minutes=BALANCE_MINUTES,
            routes=None,
            balance=None,
            subscribers=None,
            alerts=self.alerts(),
            sweep=self._sweeping.state,
        )
        with contextlib.suppress(TransientError):
            return status.model_copy(update=self._summary())
        return status

    def glance(self, seen: Sight | None = None) -> Overview:
        """Return what the console shows at a glance, or what is somebody's own of it."""
        now_ms, workers = _now_ms(), self._workers()
        known = Known(now_ms, self.health().parts, workers, self._silent(workers, now_ms), self.plan())
        figures, readers = self._figures, self._subscribers.readers
        if seen is None:
            return overview_of(known, figures, readers)
        own = sight.of_known(known, seen)
        return overview_of(own, sight.OwnFlow(figures, seen), sight.OwnReaders(readers, seen))

    def plan(self) -> PublishedPlan | None:
        """Return the newest plan; None while there is none."""
        return self._plans.newest

    def readers_of(self, view_topic: str) -> tuple[str, ...] | None:
        """Return who may read a view; None while that is not known."""
        return self._subscribers.readers.of(view_topic)

    def progress(self) -> AccountsProgress:
        """Return how far the accounts are read, and what comparing them with Kafka's found."""
        progress, reconciled = self._ingest.progress, self._ingest.reconciler.found
        return AccountsProgress(
            next_offset=progress.next_offset,
            end_offset=progress.end_offset,
            ingested=progress.accounts,
            reconciled_at_ms=reconciled.at_ms,
            mended=reconciled.mended,
            unknown_to_kafka=reconciled.strange,
        )

    def alerts(self) -> tuple[Alert, ...] | None:
        """Return the alerts that are not over; None while their store does not answer."""
        try:
            return self._alerts.active()
        except PartError:
            return None

    def _newest_alerts(self, limit: int) -> tuple[Alert, ...]:
        """Return alerts, those that are over too, newest first; none while their store does not answer."""
        with contextlib.suppress(PartError):
            return self._alerts.page((), None, limit).alerts
        return ()

    def _rules(self) -> Alerting:
        newest = self._plans.newest
        return newest.alerts if newest is not None else Alerting()

    def _seen(self, overdue: tuple[Overdue, ...] | None) -> Seen:
        """Return what the rules of alerts look at now."""
        workers = self._workers() if self._heartbeats.health().ok else None
        before = Seen(
            _now_ms(), self.health().parts, self._plans.newest, workers,
            overdue=overdue, certificates=certificates(self._root),
        )  # fmt: skip
        return with_figures(before, self._figures)

    def _summary(self) -> dict[str, Any]:
        return {
            "routes": self._figures.routes(WINDOW_S).routes,
            "balance": summary_of(self._figures.balance(BALANCE_MINUTES)),
            "subscribers": self._figures.subscribers(),
        }

    def _settled(self) -> dict[str, int]:
        """Return what is settled of each raw topic, as far as the accounts are stored that tell it."""
        stored = self._ingest.progress.settled_offset
        return {
            topic: found.before
            for topic, found in self._subscribers.settled.items()
            if stored >= found.known_at
        }

    def _silent(self, workers: tuple[dict[str, JsonValue], ...], now_ms: int) -> tuple[Silent, ...]:
        """Return who is missing; while Redis is away nobody is, for nobody can be heard."""
        return self._watch.silent(self.plan(), workers, now_ms) if self._heartbeats.health().ok else ()

    def _workers(self) -> tuple[dict[str, JsonValue], ...]:
        return self._heartbeats.read()

    def _registry_session(self, ready: Callable[[], None]) -> None:
        if not self._store.loaded:
            self._store.open()
        ready()
        self._stop.wait()

    def _clickhouse_session(self, ready: Callable[[], None]) -> None:
        try:
            self._clickhouse.open()
        except PartError as error:
            self._give_up(error)
            return
        ready()
        self._start("accounts", self._ingest.session)
        self._start("plans", self._plans.session)
        self._start("subscribers", self._subscribers.session)
        self._start("quarantine", self._quarantine.session)
        self._stop.wait()

    def _start(self, part: str, session: Session) -> None:
        thread = threading.Thread(target=self._keep, args=(part, session), name=part)
        self._threads.append(thread)
        thread.start()

    def _keep(self, part: str, session: Session) -> None:
        """Run sessions of a part until stopped; wait and say why where one fails."""
        while not self._stop.is_set():
            try:
                session(lambda: self._say(part, ok=True, text="ok"))
            except ConfigError as error:
                self._give_up(error)
                return
            except ExchangeError as error:
                self._say(part, ok=False, text=str(error))
            except Exception as error:
                _log.error("part_failed", part=part, exc_info=error)
                self._say(part, ok=False, text=f"{type(error).__name__}; the monitor's log has the place")
            self._stop.wait(_RETRY_S)

    def _say(self, part: str, *, ok: bool, text: str) -> None:
        before = self._parts.get(part)
        self._parts[part] = PartHealth(ok=ok, text=text)
        if before != self._parts[part]:
            _log.info("part_ok", part=part) if ok else _log.warning("part_waits", part=part, state=text)

    def _give_up(self, error: ExchangeError) -> None:
        self._fatal = self._fatal or error
        self._end()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._end()

    def _end(self) -> None:
        self._stop.set()
        if self._server is not None:
            self._server.should_exit = True

    def _close(self) -> None:
        self._end()
        for thread in self._threads:
            thread.join()
        self._store.close()
        self._clickhouse.close()
        self._heartbeats.close()
        self._alerts.close()
        self._identity.close()
        self._snapshots.close()
        _log.info("monitor_stopped", pid=os.getpid())


class _Server(uvicorn.Server):
    """A server whose signals are handled by the process, which has more than HTTP to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams first, which would hold up the end."""
        self.config.app.state.live.close()  # type: ignore[union-attr]  # it is the application of build()
        await super().shutdown(sockets)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an IPv4 address.

    Raises: ConfigError when the port is taken or the address is not this machine's.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it; without it each answer waits 40 ms for the client's acknowledgement of its head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        msg = f"monitor: {host}:{port} cannot be used ({error.strerror}); choose another with --port"
        raise ConfigError(msg) from None
    return listening


def _retention(settings: Settings) -> Retention:
    return Retention(
        accounts_days=settings.retention_accounts_days,
        minutes_days=settings.retention_minutes_days,
        hours_days=settings.retention_hours_days,
        days_days=settings.retention_days_days,
        positions_days=settings.retention_positions_days,
        refused_days=settings.retention_refused_days,
    )


def resident_mib() -> int:
    """Return this process's resident memory."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
