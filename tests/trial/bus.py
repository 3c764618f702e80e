"""The trial bus: its own home with the real parts, and its connector and worker as real child processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
from confluent_kafka import Consumer, Message, TopicPartition

from exchange.boxes import RAW_KEYS
from tests.checkers.boxes import opened, version_of
from tests.checkers.committed import CommittedReader
from tests.checkers.journey import ExpectedTable, ExpectedView, Journey, Problem
from tests.checkers.source_log import SourceLog
from tests.checkers.wire import Schemas
from tests.integration.nursery import Forked, nursery
from tests.stack import Stack, running_stack
from tests.trial import people

HERE = Path(__file__).parent
SYSTEM = "trial"
DATABASE = "trial"
RAW = "raw.trial.public.person"
CITY, NORTH = "share.trial.person.city", "share.trial.person.north"
QUARANTINE = "quarantine.trial.person"
PARTITIONS = 3
PUBLICATION = "exchange_trial"

COMMANDS = {"connector": ["connect", SYSTEM], "worker": ["stream"]}


@dataclass
class Child:
    """A connector or worker that the test runs, kills and starts again."""

    name: str
    arguments: list[str]
    """Python's."""
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | Forked | None = None
    exits: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Start it; it must not run."""
        assert self.process is None
        if self.arguments[0] == "-m":
            self.log.touch()
            self.process = nursery().start(self.arguments, self.environment, self.log)
            return
        with self.log.open("ab") as log:  # a script that changes what others have not imported yet
            command = [sys.executable, *self.arguments]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(self.environment)
            )

    def end(self, number: signal.Signals, timeout_s: float = 60) -> int:
        """Send a signal, wait for the end, return the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        self.process = None
        return code

    def kill(self) -> None:
        """SIGKILL; nothing of it runs any more when this returns."""
        self.end(signal.SIGKILL)

    def revive(self) -> None:
        """Start it again where it ended by itself; remembers with which code."""
        if self.process is not None and (code := self.process.poll()) is not None:
            self.exits.append(code)
            self.process = None
            self.start()

    def text(self) -> str:
        """All it has logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class TrialBus:
    """The running bus of tests/trial/topology.yaml, its source, and the judge that follows it."""

    def __init__(self, stack: Stack, files: Path) -> None:
        self.stack = stack
        self.files = files
        self.settings = stack.settings
        self.dsn = stack.create_database(DATABASE)
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(people.CREATE)
        self.settings.secrets.put("TRIAL_DSN", self.dsn)
        self.environment = os.environ | {
            "EXCHANGE_HOME": str(self.settings.root),
            "EXCHANGE_TOPOLOGY": str(files / "topology.yaml"),
            "EXCHANGE_CONTRACTS": str(files / "avro"),
        }
        self.children: dict[str, Child] = {}
        self._stand_ins: list[Child] = []
        self._readers: list[CommittedReader] = []

    @property
    def stood_still(self) -> bool:
        """Whether a worker's watchdog ever had to end it: a wait of two minutes would not show that."""
        return "no_progress" in self.child("worker").text()

    def cli(self, *args: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `exchange <args>` to its end."""
        done = nursery().run(["-m", "exchange.cli", *args], self.environment | environment)
        assert not check or done.returncode == 0, f"exchange {' '.join(args)}: {done.stderr}"
        return done

    def child(self, name: str) -> Child:
        """Return connector or worker, new where there was none."""
        made = self._child(name, ["-m", "exchange.cli", *COMMANDS[name]])
        return self.children.setdefault(name, made)

    def stand_in(self, name: str, arguments: Sequence[str]) -> Child:
        """Return a child that the test runs in place of connector or worker; `arguments` are Python's."""
        made = self._child(name, arguments)
        self._stand_ins.append(made)
        return made

    def everybody(self) -> list[Child]:
        """All children, stand-ins too."""
        return [*self.children.values(), *self._stand_ins]

    def _child(self, name: str, arguments: Sequence[str]) -> Child:
        log = self.settings.root / "logs" / f"{name}.log"
        return Child(name, list(arguments), self.environment, log)

    def start(self, *names: str) -> None:
        """Start connector and worker, or those named."""
        for name in names or COMMANDS:
            self.child(name).start()

    def stop(self, *names: str) -> dict[str, int]:
        """Ask children to end by SIGTERM; return their exit codes."""
        running = {
            name: self.child(name) for name in names or COMMANDS if self.child(name).process is not None
        }
        return {name: child.end(signal.SIGTERM) for name, child in running.items()}

    def client(self, principal: str = "admin") -> dict[str, Any]:
        """Return the Kafka properties of a principal."""
        return self.settings.kafka_client(principal)

    def watch(self, slot: str, *, from_now: bool = False) -> Watch:
        """Begin to judge, with a slot of that name on the source. The publication must exist.

        from_now: leave out what the topics already hold; the source must be quiet and all of it processed.
        """
        log = SourceLog(self.dsn, PUBLICATION, slot)
        log.create()
        table = expected_table(log.stream(SYSTEM))
        reader = CommittedReader(self.client(), table.topics, from_now=from_now)
        self._readers.append(reader)
        journey = Journey(table, Schemas(self.settings.endpoints().registry).decode)
        return Watch(self, journey, log, reader)

    def close(self) -> None:
        """Stop children and readers."""
        for child in self.everybody():
            if child.process is not None:
                child.kill()
        for reader in self._readers:
            reader.close()


@dataclass
class Watch:
    """A judge and what it reads from."""

    bus: TrialBus
    journey: Journey
    log: SourceLog
    reader: CommittedReader
    sealed_under: Counter[int] = field(default_factory=Counter)
    """Raw records by the version of their key; 0 are those that are not sealed."""

    def step(self) -> None:
        """Read what is there on both sides; revive children that ended by themselves."""
        self.journey.source(self.log.read())
        for record in self.reader.read(0.1):
            self._observe(record)
        for child in self.bus.everybody():
            child.revive()

    def until(self, done: str, look: Any, timeout_s: float = 120) -> None:
        """Follow until `look()` is true; fail with `done` when the time is over."""
        deadline = time.monotonic() + timeout_s
        while not look():
            assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {done}; {self.state()}"
            self.step()

    def settle(self, timeout_s: float = 120) -> list[Problem]:
        """Follow until everything committed has arrived, or the time is over; return what is wrong."""
        deadline = time.monotonic() + timeout_s
        self.step()
        while self.journey.outstanding and time.monotonic() < deadline:
            self.step()
        for record in self.reader.read_to_end():
            self._observe(record)
        return self.journey.problems()

    def drain(self, timeout_s: float = 120) -> list[Problem]:
        """Follow until connector and worker have passed all that was committed; return what is wrong then.

        Unlike `settle` this does not wait for what will never come.
        """
        self.until("the last change is captured", self.has_captured, timeout_s)
        self.until("the worker has passed it", self._processed, timeout_s)
        for record in self.reader.read_to_end():
            self._observe(record)
        return self.journey.problems()

    def _observe(self, record: Message) -> None:
        if record.topic() == RAW:
            self.sealed_under[version_of(record)] += 1
            record = opened(record, lambda: self.bus.settings.secrets.get(RAW_KEYS).get_secret_value())
        self.journey.observe(record)

    def has_captured(self) -> bool:
        """Whether the last change of the source is in the raw topic."""
        self.step()
        return self.journey.has_reached(RAW)

    def _processed(self) -> bool:
        """Whether the worker's committed offsets lie behind the last raw record of every partition."""
        group = Consumer(self.bus.client() | {"group.id": "exchange-stream"})
        try:
            ends = self.journey.next_offsets(RAW)
            at = group.committed([TopicPartition(RAW, partition) for partition in ends], timeout=30)
        finally:
            group.close()
        return all(place.offset >= ends[place.partition] for place in at)

    def state(self) -> str:
        """Where the journey stands, for messages of failed tests; and what the children say."""
        counts = {topic: self.journey.count(topic) for topic in self.journey.table.topics}
        tails = {name: child.text()[-1_500:] for name, child in self.bus.children.items()}
        exits = [(child.name, child.exits) for child in self.bus.everybody() if child.exits]
        return f"outstanding {self.journey.outstanding}, seen {counts}, exits {exits}, logs {tails}"


def expected_table(stream: int) -> ExpectedTable:
    """Return what must become of the trial's table."""
    return ExpectedTable(
        table=people.TABLE,
        key=("id_number",),
        partitions=PARTITIONS,
        stream=stream,
        raw_topic=RAW,
        quarantine_topic=QUARANTINE,
        views=(
            ExpectedView(CITY, shows=people.shown_to_city),
            ExpectedView(NORTH, in_scope=people.is_north, shows=people.shown_to_north),
        ),
        acceptable=people.acceptable,
        capturable=people.capturable,
    )


@contextmanager
def trial_bus() -> Iterator[TrialBus]:
    """Bring up the parts, declare the trial's bus and yield it; children are not started yet."""
    files = Path(tempfile.mkdtemp(prefix="exchange-trial-"))
    try:
        shutil.copytree(HERE / "avro", files / "avro")
        shutil.copy(HERE / "topology.yaml", files / "topology.yaml")
        environment = {
            "EXCHANGE_LOG_LEVEL": "DEBUG",
            "EXCHANGE_TOPOLOGY": str(files / "topology.yaml"),
            "EXCHANGE_CONTRACTS": str(files / "avro"),
        }
        with patch.dict(os.environ, environment), running_stack() as stack:
            bus = TrialBus(stack, files)
            try:
                bus.cli("keys", "create", "office")
                bus.cli("apply", "--yes")
                yield bus
            finally:
                bus.close()
    finally:
        shutil.rmtree(files)
