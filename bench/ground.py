"""Parts of a benchmark's own, in a temporary home, and the bus declared on them; nothing of the user's.

Everything that is started here is stopped here, by its own process, whatever happens.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any, Final

import psycopg
from confluent_kafka import OFFSET_END, ConsumerGroupTopicPartitions, TopicPartition

from bench import person
from bench.progress import say
from exchange import local, topology
from exchange.apply.access import STREAM_GROUP
from exchange.apply.work import apply
from exchange.cluster import ADMIN, Cluster, TopicSpec
from exchange.files.contracts import load_contracts
from exchange.local import process, stack
from exchange.local.home import Home
from exchange.local.process import Running
from exchange.plan import raw_topic, view_topic
from exchange.quarantine.keyfiles import write_pair
from exchange.settings import POSTGRES_PASSWORD, Settings

SYSTEM: Final = "bench"
DATABASE: Final = "bench"
DSN_SECRET: Final = "BENCH_DSN"  # noqa: S105 - a secret's name
PARTITIONS: Final = 4
_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Segments small and quickly gone: what is measured lies in the page cache and must not fill the disk.
TOPIC_CONFIG: Final = {
    "segment.bytes": str(64 * 1024 * 1024),
    "file.delete.delay.ms": "1000",
    "retention.ms": "-1",
}


@dataclass(frozen=True)
class Table:
    """One captured table of the benchmark's source, and how many views show it."""

    name: str
    views: int = 1

    @property
    def resource(self) -> str:
        """Name of its resource."""
        return f"bench.{self.name}"

    @property
    def raw(self) -> str:
        """Topic of its captured changes."""
        return raw_topic(SYSTEM, f"public.{self.name}")

    def view(self, number: int) -> str:
        """Return the topic of a view by its number."""
        return view_topic(self.resource, f"v{number}")


@dataclass(frozen=True)
class Ground:
    """Running parts in a home of their own."""

    settings: Settings
    declared: set[Table] = field(default_factory=set)

    @cached_property
    def cluster(self) -> Cluster:
        """Kafka as its administrator."""
        return Cluster(self.settings)

    @property
    def client(self) -> dict[str, Any]:
        """The administrator's Kafka properties."""
        return self.settings.kafka_client(ADMIN)

    @property
    def home(self) -> Path:
        """The temporary home."""
        return self.settings.root

    @cached_property
    def dsn(self) -> str:
        """The superuser's connection string for the source database."""
        return _dsn(self.settings, DATABASE)

    def declare(self, tables: Sequence[Table], subscribers: int = 1) -> None:
        """Make the source's tables and apply a topology with their views; each subscriber reads one view.

        Where all of them were declared before, that stands.
        """
        if self.declared.issuperset(tables):
            return
        self.declared.update(tables)
        _make_source(self.settings, tables)
        declared = self.home / "topology.yaml"
        declared.write_text(json.dumps(_topology(tables, subscribers)), encoding="utf-8")
        contracts = load_contracts(self.settings.contracts)
        apply(self.settings, topology.load(declared, contracts), contracts)
        data = [table.raw for table in tables]
        data += [table.view(number) for table in tables for number in range(table.views)]
        self.make_topics(data)

    def make_topics(self, topics: Iterable[str]) -> None:
        """Make the topics that are missing, and bound what those of a benchmark keep on disk."""
        self.cluster.ensure_topics(TopicSpec(topic, PARTITIONS, TOPIC_CONFIG) for topic in topics)

    def forget(self, topics: Iterable[str]) -> None:
        """Delete all records of topics; their offsets go on."""
        ends = [
            TopicPartition(topic, partition, OFFSET_END)
            for topic in topics
            for partition in range(PARTITIONS)
        ]
        for answer in self.cluster.client.delete_records(ends).values():
            answer.result(30)

    def forget_committed(self, topic: str, group: str = STREAM_GROUP) -> None:
        """Delete a topic's records that a consumer group has passed."""
        asked = [ConsumerGroupTopicPartitions(group)]
        answer = self.cluster.client.list_consumer_group_offsets(asked)[group].result(30)
        passed = [at for at in answer.topic_partitions or [] if at.topic == topic and at.offset > 0]
        if passed:
            for deleted in self.cluster.client.delete_records(passed).values():
                deleted.result(30)

    @contextmanager
    def workers(self, count: int) -> Iterator[list[Running]]:
        """Run the bus's worker processes, as an operator would start them."""
        from exchange.commands.stream import stream

        if "workers" in inspect.signature(stream).parameters:
            commands = {"stream": ["stream", "--workers", str(count)]}
        else:
            commands = {f"stream-{at}": ["stream", "--worker-id", str(at)] for at in range(count)}
        with self.children(commands) as running:
            yield running

    @contextmanager
    def children(self, commands: Mapping[str, Sequence[str]]) -> Iterator[list[Running]]:
        """Run commands of `exchange` in the background, named for their logs; stop them at the end."""
        try:
            for name, words in commands.items():
                local.spawn(self.settings, name, words)
            yield [Home(self.home).state().parts[name] for name in commands]
        finally:
            for name in commands:
                stack.stop(self.settings, name)

    @contextmanager
    def program(
        self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> Iterator[list[Running]]:
        """Run a competitor's program in the background; stop it at the end. Its log is logs/<name>.log."""
        log = self.home / "logs" / f"{name}.log"
        running = process.start(
            command, log, environment=process.plain_environment() | dict(environment or {}), stop_timeout_s=5
        )
        try:
            yield [running]
        finally:
            process.stop(running)

    def private_file(self, name: str, content: str) -> Path:
        """Write a file that only we may read: clients' properties hold passwords."""
        return Home(self.home).write(name, content)


@contextmanager
def ground(parts: Sequence[str] = stack.ALL_PARTS) -> Iterator[Ground]:
    """Bring parts up in a new home; at the end, or on a signal, stop them and delete it."""
    root = Path(tempfile.mkdtemp(prefix="exchange-bench-"))
    settings = Settings(home=root, contracts=person.CONTRACTS, topology=root / "topology.yaml")
    with _ending_in_order():
        try:
            Home(root).make()
            Home(root).keep_from_usual_ports()
            local.up(settings, say, parts)
            write_pair("office", root / "keys")
            yield Ground(settings)
        finally:
            with _unhurried():
                say("stopping the parts")
                _remove(settings)


def without_settings_of_others() -> None:
    """Drop EXCHANGE_… from the environment: it may name the Kafka, home or secrets of a real bus."""
    for name in [name for name in os.environ if name.startswith("EXCHANGE_")]:
        del os.environ[name]


def _topology(tables: Sequence[Table], subscribers: int) -> dict[str, Any]:
    views = [(table, number) for table in tables for number in range(table.views)]
    label = {"zh": "压测", "en": "Benchmark"}
    return {
        "departments": {"office": {"label": label}},
        "systems": {SYSTEM: {"department": "office", "kind": "postgres", "connection_env": DSN_SECRET}},
        "resources": {
            table.resource: {
                "label": label,
                "system": SYSTEM,
                "table": f"public.{table.name}",
                "contract": person.CONTRACT,
                "catalogue_code": f"BENCH-{table.name}",
                "share": "unconditional",
                "partitions": PARTITIONS,
            }
            for table in tables
        },
        "views": {
            f"{table.resource}.v{number}": {
                "resource": table.resource,
                "label": label,
                "fields": person.view_fields(number),
            }
            for table, number in views
        },
        "subscribers": {f"s{at}": {"department": "office", "label": label} for at in range(subscribers)},
        "grants": [
            {"subscriber": f"s{at}", "view": f"{table.resource}.v{number}"}
            for at in range(subscribers)
            for table, number in [views[at % len(views)]]
        ],
    }


def _make_source(settings: Settings, tables: Sequence[Table]) -> None:
    with psycopg.connect(_dsn(settings, "postgres"), autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if known is None:
            connection.execute(f"CREATE DATABASE {DATABASE}".encode())
    dsn = _dsn(settings, DATABASE)
    settings.secrets.put(DSN_SECRET, dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table in tables:
            connection.execute(person.table_ddl(f"public.{table.name}").encode())


def _dsn(settings: Settings, database: str) -> str:
    host, _, port = (settings.endpoints().postgres or "").rpartition(":")
    password = settings.secrets.get(POSTGRES_PASSWORD).get_secret_value()
    return f"postgresql://postgres:{password}@{host}:{port}/{database}"


def _remove(settings: Settings) -> None:
    local.down(settings)
    for place in Home(settings.root).state().places.values():
        shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(settings.root, ignore_errors=True)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Turn SIGTERM and a closed terminal into what Ctrl-C is: an exception on which everything is stopped."""
    interrupted = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    with _handling(interrupt):
        try:
            yield
        except SystemError:  # what an exception raised inside a call of librdkafka's becomes
            if interrupted:
                raise KeyboardInterrupt from None
            raise


@contextmanager
def _unhurried() -> Iterator[None]:
    """Let the stopping of the parts not be cut off by another Ctrl-C."""
    with _handling(signal.SIG_IGN):
        yield


@contextmanager
def _handling(handler: Any) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
        yield
        return
    before = {number: signal.signal(number, handler) for number in _ENDS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
