"""The demonstration from beginning to end, in the order a department, an operator and a subscriber would go.

1. the parts come up (Kafka, Redis, PostgreSQL, monitor);
2. stewards' keys, the departments' databases, tables and first rows, where they are missing;
3. `topology.yaml` is applied;
4. worker and connectors start as processes of their own, supervised; the first snapshot passes;
5. clerks change rows; figures are asked of the monitor's API and shown;
6. the clerks stop; what is on its way is waited for;
7. connectors and worker stop, then the parts.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

from rich.console import Console
from rich.live import Live

from exchange import local, topology
from exchange.apply.work import apply
from exchange.contract import Contract
from exchange.counting import counted
from exchange.demo import databases
from exchange.demo.data import TABLES
from exchange.demo.figures import Json, MonitorApi, Totals, outcome
from exchange.demo.look import LOOK_EVERY_S, WEEK_S, Lines, Look
from exchange.demo.samples import Samples
from exchange.demo.screen import View
from exchange.demo.traffic import Traffic
from exchange.errors import ConfigError
from exchange.files.contracts import load_contracts
from exchange.local.home import Home
from exchange.quarantine.keyfiles import write_pair
from exchange.settings import Settings
from exchange.subscriber.client_config import client_config, render
from exchange.topology import Grant, Topology

_SNAPSHOT_S: Final = 60.0
_END: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Progress = Callable[[str], None]


class Demo:
    """One run; `result` is the JSON object it ends with."""

    def __init__(self, settings: Settings, *, rate: float, seconds: float | None, live: bool) -> None:
        """Take the changes a second, how long to go on (None: until Ctrl-C), and whether to draw."""
        self.result: Json = {}
        self._settings = settings
        self._rate = rate
        self._seconds = seconds
        self._live = live
        self._drain_s = 20.0 if seconds is None else 60.0
        self._interrupts = 0
        self._stopping = threading.Event()
        self._began = time.monotonic()

    def run(self) -> None:
        """Do all seven steps; step 7 in any case. Raises: ExchangeError when a step cannot be done."""
        declared, contracts = _declared(self._settings)
        with _alone(self._settings.root):
            self._run(declared, contracts)

    def _run(self, declared: Topology, contracts: dict[str, Contract]) -> None:
        ran_before = all(part.state in ("running", "external") for part in local.status(self._settings))
        try:
            local.up(self._settings, self._say)
            self._set_up(declared, contracts)
            with (
                MonitorApi(self._settings) as monitor,
                self._signals(),
            ):
                self._exchange(declared, contracts, monitor)
        finally:
            with _unhurried():
                if ran_before:
                    self._say("the parts ran before and go on; `exchange down` stops them")
                else:
                    self._say("stopping the parts")
                    local.down(self._settings)

    def _set_up(self, declared: Topology, contracts: dict[str, Contract]) -> None:
        keys = self._settings.root / "keys"
        for department in declared.source_departments():
            if not (keys / f"{department}.pub").exists():
                write_pair(department, keys)
                self._say(f"{department}: a key pair for its steward")
        secrets = {name: system.connection_env for name, system in declared.databases().items()}
        databases.prepare(self._settings, secrets, self._say)
        self._say("applying topology.yaml: topics, users, access rules, publications, schemas")
        applied = apply(self._settings, declared, contracts)
        if applied is not None:
            objects = counted(len(applied.lines), "object")
            self._say(f"plan {applied.plan_version} is in force, {objects} as declared")

    def _exchange(self, declared: Topology, contracts: dict[str, Contract], monitor: MonitorApi) -> None:
        start = monitor.totals()
        children = {"stream": ["stream"]} | {
            f"connect-{name}": ["connect", name] for name in declared.systems
        }
        traffic = Traffic(self._settings, TABLES, self._rate)
        shown = _shown(declared)
        commands = self._commands(declared, shown, monitor.url)
        view = View(start, time.monotonic(), contracts[_resource()], commands)
        with local.Supervisor(self._settings, children) as supervisor, self._screen(view) as show:
            look = Look(monitor, view, supervisor, tuple(children), traffic)
            self._await_snapshot(look, show, len(declared.systems))
            with self._samples(shown, traffic) as samples:
                look.samples = samples
                look.began = began = time.monotonic()
                traffic.start()
                self._watch(look, show, until=None if self._seconds is None else began + self._seconds)
                view.phase = "停止 stopping: the clerks stop, what is on its way is waited for …"
                traffic.stop()
                self._drain(look, show, declared, traffic)
            look.longest_window_s = WEEK_S
            end = look.take()
        self.result = outcome(start, end, time.monotonic() - view.began)

    def _await_snapshot(self, look: Look, show: Callable[[], None], systems: int) -> None:
        """Wait until all are at work and what is there has passed: starting up is not a record's delay."""
        look.view.phase = "首次快照 the connectors read what is there …"
        self._say("worker and connectors start; the first rows pass")
        deadline = time.monotonic() + _SNAPSHOT_S
        started_ms = int(time.time() * 1000)
        while not self._stopping.is_set() and time.monotonic() < deadline:
            figures = look.take()
            show()
            if figures.totals.settled and _all_work(figures.workers, started_ms, systems):
                return
            self._stopping.wait(LOOK_EVERY_S)
        if not self._stopping.is_set():
            self._say("the first rows have not all passed yet; see the processes' state")

    def _watch(self, look: Look, show: Callable[[], None], until: float | None) -> None:
        look.view.phase = "Ctrl-C: stop in order 有序停止"
        while not self._stopping.is_set() and (until is None or time.monotonic() < until):
            look.take()
            show()
            rest = LOOK_EVERY_S if until is None else min(LOOK_EVERY_S, max(0.0, until - time.monotonic()))
            self._stopping.wait(rest)

    def _drain(self, look: Look, show: Callable[[], None], declared: Topology, traffic: Traffic) -> None:
        """Wait until the sources' logs are read to the last commit, and the accounts settle."""
        slots = {name: declared.slot(name) for name in declared.systems}
        deadline = time.monotonic() + self._drain_s
        before: Totals | None = None
        while self._interrupts < 2 and time.monotonic() < deadline:
            read = databases.all_read(self._settings, slots, traffic.committed_after())
            totals = look.take().totals
            show()
            if read and totals.balanced and before is not None and totals.captured == before.captured:
                return
            before = totals if read else None
            time.sleep(LOOK_EVERY_S)
        self._say("the accounts have not settled; the rest is delivered at the next start")

    @contextmanager
    def _samples(self, shown: Grant | None, traffic: Traffic) -> Iterator[Samples | None]:
        """Follow the view whose record is shown before and after masking, as who is granted it."""
        if shown is None:
            yield None
            return
        samples = Samples(self._settings, traffic, shown.subscriber, shown.view, TABLES[0].system)
        samples.start()
        try:
            yield samples
        finally:
            samples.stopping.set()
            samples.join()

    @contextmanager
    def _screen(self, view: View) -> Iterator[Callable[[], None]]:
        """Yield what shows the view: a live screen, or a line every five seconds."""
        if not self._live:
            yield Lines(view, self._say)
            return
        for command in view.commands:
            self._say(command)
        with Live(view, console=Console(), auto_refresh=False, vertical_overflow="crop") as live:
            yield live.refresh

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """First Ctrl-C, SIGTERM or closed terminal: stop in order; the second: wait for nothing more."""

        def note(_signal: int, _frame: FrameType | None) -> None:
            self._interrupts += 1
            self._stopping.set()

        before = {number: signal.signal(number, note) for number in _END}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _commands(self, declared: Topology, shown: Grant | None, api: str) -> tuple[str, ...]:
        """Write a client file for each subscriber; return the lines that say where to go on."""
        directory = self._settings.root / "clients"
        for subscriber in declared.subscribers:
            topics = tuple(f"share.{view}" for view in declared.granted_views(subscriber, topology.today()))
            config = render(client_config(self._settings, subscriber, topics), "librdkafka")
            _write_private(directory / f"{subscriber}.properties", config)
        lines = [f"控制台 console: {api}/console/"]
        lines += [f"接口 API: {api}/api/status  /api/routes  /api/accounts/balance  /openapi.json"]
        if shown is not None:
            registry = self._settings.endpoints().registry
            file = _short_path(directory / f"{shown.subscriber}.properties")
            home = (
                f"EXCHANGE_HOME={_short_path(self._settings.root)} " if "EXCHANGE_HOME" in os.environ else ""
            )
            exchange = _short_path(Path(sys.executable).with_name("exchange"))
            lines += [
                "订阅 read a topic (kcat with Avro, librdkafka 2.6.1 or newer; the password is in the file):",
                f"  kcat -F {file} -C -t share.{shown.view} -o -5 -e -s avro -r {registry}",
                f"  {home}{exchange} consume {shown.subscriber} {shown.view} --follow",
            ]
        return tuple(lines)

    def _say(self, text: str) -> None:
        """Tell how far the run is; a terminal that was closed is no reason to leave things running."""
        with suppress(OSError):
            sys.stderr.write(f"{time.monotonic() - self._began:7.1f} s  {text}\n")
            sys.stderr.flush()


def _declared(settings: Settings) -> tuple[Topology, dict[str, Contract]]:
    contracts = load_contracts(settings.contracts)
    return topology.load(settings.topology, contracts), contracts


def _resource() -> str:
    """Return the resource whose record is shown before and after masking."""
    return f"{TABLES[0].system}.{TABLES[0].name}"


def _shown(declared: Topology) -> Grant | None:
    """Return a grant of the view of that resource which masks most and leaves out no row."""
    candidates = [
        grant
        for grant in declared.grants
        if (spec := declared.views[grant.view]).resource == _resource()
        and not spec.rows
        and grant.holds_on(topology.today())
    ]
    return max(candidates, key=lambda grant: _masked_fields(declared, grant), default=None)


def _masked_fields(declared: Topology, grant: Grant) -> int:
    masks = declared.views[grant.view].fields.values()
    return sum(mask.kind not in ("clear", "omit") for mask in masks)


def _short_path(path: Path) -> str:
    """Return a path as one would type it here, for the shell."""
    inside = path.is_relative_to(Path.cwd())
    return shlex.quote(str(path.relative_to(Path.cwd()) if inside else path))


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the home's demonstration lock. Raises: ConfigError when another one runs there."""
    Home(root).make()
    with (root / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"a demonstration runs in {root} already; set EXCHANGE_HOME to run another beside it"
            raise ConfigError(msg) from None
        yield


def _all_work(heartbeats: tuple[Json, ...], since_ms: int, systems: int) -> bool:
    """Return whether the worker has its partitions and every connector follows its source's log."""
    states = [beat.get("state") for beat in heartbeats if beat.get("at_ms", 0) >= since_ms]
    return "running" in states and states.count("streaming") >= systems


def _write_private(file: Path, content: str) -> None:
    home = Home(file.parent)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.write(file.name, content)


@contextmanager
def _unhurried() -> Iterator[None]:
    """Let the stopping of the parts not be cut off by an impatient Ctrl-C."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _END}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
