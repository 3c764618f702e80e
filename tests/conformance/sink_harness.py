"""What the conformance suite needs of a kind of sink: a target of its own, and what it holds by now."""

from __future__ import annotations

import base64
import itertools
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from datetime import time as clock
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import httpx
import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition
from psycopg import sql
from psycopg.rows import dict_row

from connectors.sinks.webhook.signing import make_key
from exchange import heartbeat
from exchange.account import Account
from exchange.cluster import Acl, TopicSpec
from exchange.compacted import reader_group
from exchange.model import Label
from exchange.plan import (
    ACCOUNTS_TOPIC,
    PARKED_TOPIC,
    PLAN_TOPIC,
    REVOCATIONS_TOPIC,
    PlannedDelivery,
    PlannedResource,
    PlannedView,
    PublishedPlan,
    delivery_group,
    table_name,
)
from exchange.quarantine.entries import Topics
from exchange.registry import Registry
from exchange.view import ViewSpec
from tests.conformance import struck_sink
from tests.conformance.feed import PARTITIONS, TYPES, Feed, key_schema, value_schema
from tests.conformance.webhook_receiver import WebhookReceiver
from tests.integration.capture import Running
from tests.stack import Stack, wait_for

STRUCK = str(Path(struck_sink.__file__))
VERSIONS = itertools.count(1)
"""Of plans: one topic holds those of all subjects, and the newest one is in force."""
State = dict[int, dict[str, Any]]
Story = dict[int, list[tuple[str, str | None]]]


def quick(kind: str) -> tuple[str, ...]:
    """Return the program that delivers without a fault, and waits for seconds where it would for a minute."""
    return STRUCK, "none", "0", kind


class SinkSubject(ABC):
    """A delivery under test: subscriber, views, plan and access of its own, and the target.

    The view `person` has every type; `other` is there to go on while the first one does not.
    """

    kind: ClassVar[str]
    tells_story: ClassVar[bool]
    """Whether the target keeps every change, not only the last state."""
    can_be_away: ClassVar[bool] = True

    def __init__(self, stack: Stack, name: str, views: Sequence[str] = ("person",)) -> None:
        self.stack = stack
        self.name = name
        self.views = {view: f"{name}.{view}.all" for view in views}
        self.types: dict[str, dict[str, Any]] = dict.fromkeys(views, TYPES)
        self.version = 0
        self.count = 0
        self.feeds = {view: Feed(self.client(), full) for view, full in self.views.items()}
        self.make_target()
        self.make_kafka_objects()
        self.publish()

    @property
    def feed(self) -> Feed:
        return self.feeds["person"]

    @property
    def secret(self) -> str:
        return f"{self.name.upper()}_TARGET"

    @cached_property
    def registry(self) -> Registry:
        settings = self.stack.settings
        return Registry(settings.endpoints().registry, settings.secrets.get("EXCHANGE_REGISTRY_PASSWORD"))

    @abstractmethod
    def make_target(self) -> None:
        """Make an empty target, and the secret that leads there."""

    @abstractmethod
    def planned(self) -> dict[str, Any]:
        """Return what the plan says of the target."""

    @abstractmethod
    def state(self, view: str = "person") -> State | None:
        """Return the rows in the target as Python has them, None while there is no table."""

    def story(self, view: str = "person") -> Story:
        """Return every change of each key in order, where the target keeps them."""
        raise NotImplementedError

    @abstractmethod
    def parked(self) -> list[tuple[int, int]]:
        """Return partition and offset of what was parked."""

    @contextmanager
    def away(self) -> Iterator[None]:
        """Have the target away while the body runs."""
        raise NotImplementedError
        yield

    @abstractmethod
    def remove(self) -> None:
        """Remove the target."""

    def client(self, principal: str = "admin") -> dict[str, Any]:
        return self.stack.settings.kafka_client(principal)

    def make_kafka_objects(self) -> None:
        admin, who = self.stack.admin, f"deliver-{self.name}"
        topics = [f"share.{view}" for view in self.views.values()]
        admin.ensure_topics(TopicSpec(topic, PARTITIONS) for topic in topics)
        admin.ensure_scram_user(self.name)
        admin.ensure_scram_user(who)
        acls = [Acl(user, "topic", topic, "literal", "read") for topic in topics for user in (self.name, who)]
        acls += [
            Acl(self.name, "group", f"{self.name}.", "prefixed", "read"),
            Acl(who, "group", delivery_group(self.name, ""), "prefixed", "read"),
            Acl(who, "group", reader_group(who), "literal", "describe"),
            Acl(who, "topic", ACCOUNTS_TOPIC, "literal", "write"),
            Acl(who, "topic", PLAN_TOPIC, "literal", "read"),
            Acl(who, "topic", REVOCATIONS_TOPIC, "literal", "read"),
            *(Acl(who, "topic", PARKED_TOPIC, "literal", operation) for operation in ("read", "write")),
            *(
                Acl(who, "transactional_id", f"{who}.", "prefixed", operation)
                for operation in ("write", "describe")
            ),
        ]
        admin.ensure_acls(acls)

    def publish(self, *, without: str = "") -> None:
        """Register the views' schemas and publish a plan, as `exchange apply` does."""
        self.version = next(VERSIONS)
        delivered = tuple(full for view, full in self.views.items() if view != without)
        delivery = PlannedDelivery(subscriber=self.name, kind=self.kind, views=delivered, **self.planned())
        plan = PublishedPlan(
            version=self.version,
            systems=(),
            resources=tuple(self._resource(view) for view in self.views),
            deliveries=(delivery,),
        )
        producer = Producer(self.client())
        producer.produce(PLAN_TOPIC, plan.model_dump_json().encode(), b"plan", 0)
        assert producer.flush(30) == 0

    def _resource(self, view: str) -> PlannedResource:
        full = self.views[view]
        resource, _, name = full.rpartition(".")
        key, value = key_schema(full), value_schema(full, self.types[view])
        topic = f"share.{full}"
        self.registry.set_compatibility(f"{topic}-value", "FULL_TRANSITIVE")
        ids = self.registry.register(f"{topic}-key", key), self.registry.register(f"{topic}-value", value)
        feed = self.feeds[view]
        feed.use(ids[0], key, ids[1], value)
        feed.plan_version = self.version
        label = Label(zh="视图", en="View")
        planned = PlannedView(
            name=name,
            topic=topic,
            spec=ViewSpec(resource=resource, label=label, fields={}),
            key_schema_id=ids[0],
            value_schema_id=ids[1],
        )
        return PlannedResource(
            name=resource,
            system="s",
            table="public.t",
            department="d",
            raw_topic=f"raw.{resource}",
            quarantine_topic=f"quarantine.{resource}",
            partitions=PARTITIONS,
            contract={},
            steward_public_key="",
            views=(planned,),
        )

    @contextmanager
    def deliverer(self, *program: str, **environment: str) -> Iterator[Running]:
        """Run `exchange deliver`, or one with a fault planted; killed if it still runs."""
        self.count += 1
        log = self.stack.home / "logs" / f"deliver-{self.name}-{self.count}.log"
        command = [sys.executable, *(program or quick(self.kind)), "deliver", self.name]
        environ = os.environ | {"EXCHANGE_HOME": str(self.stack.home)} | environment
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, env=environ)
        running = Running(process, log)
        try:
            yield running
        finally:
            if process.poll() is None:
                running.kill()

    def wait_for_state(self, view: str = "person", timeout_s: float = 300) -> None:
        """Wait until the target holds what was fed."""
        wanted = self.feeds[view].state
        try:
            wait_for(lambda: self.state(view) == wanted, "the view's rows", timeout_s)
        except AssertionError:
            assert self.state(view) == wanted

    def heartbeat(self) -> dict[str, Any]:
        beats = heartbeat.read_all(heartbeat.connect(self.stack.settings))
        return next((beat for beat in beats if beat["writer"] == f"deliver-{self.name}"), {})

    def shown(self, view: str = "person") -> tuple[str, int, int, int | None]:
        """Return what /api/routes says: subscriber, delivered, parked, lag."""
        answer = httpx.get(f"{self.stack.settings.endpoints().api}/api/routes", trust_env=False).json()
        for route in answer["routes"]:
            if route["view_topic"] == self.feeds[view].topic:
                for one in route["deliveries"]:
                    return one["subscriber"], one["delivered"], one["parked"], one["lag_records"]
        return "", 0, 0, None

    def accounts(self, view: str = "person") -> list[Account]:
        """Return the accounts of a view's delivery, once whoever was killed holds up no reader any more."""
        topics = Topics(self.client(), "test")
        everything = Topics(self.client() | {"isolation.level": "read_uncommitted"}, "test")
        first, end = everything.spans(ACCOUNTS_TOPIC)[0]
        wait_for(lambda: topics.spans(ACCOUNTS_TOPIC)[0][1] >= end, "open transactions to end", 120)
        found = (Account.decode(message.value()) for message in topics.read(ACCOUNTS_TOPIC, 0, first))  # type: ignore[arg-type]
        return [one for one in found if one.topic == self.feeds[view].topic and one.stage == "deliver"]

    def kept(self, view: str = "person") -> int:
        """Return how many offsets the group holds to be done."""
        full = self.views[view]
        consumer = Consumer(self.client() | {"group.id": delivery_group(self.name, full)})
        try:
            wanted = [TopicPartition(f"share.{full}", number) for number in range(PARTITIONS)]
            return sum(max(0, at.offset) for at in consumer.committed(wanted, timeout=30))
        finally:
            consumer.close()

    def wait_for_kept(self, more: int, view: str = "person") -> None:
        """Wait until so many more offsets are done than are now."""
        enough = self.kept(view) + more
        wait_for(lambda: self.kept(view) >= enough, f"{more} offsets more", 300)

    def drop_records(self, view: str) -> None:
        """Have Kafka remove all records of a view, as retention does."""
        topic = self.feeds[view].topic
        ends = {number: end for number, (_, end) in Topics(self.client(), "test").spans(topic).items()}
        wanted = [TopicPartition(topic, number, end) for number, end in ends.items()]
        for answer in self.stack.admin.client.delete_records(wanted).values():
            answer.result(30)

    def close(self) -> None:
        self.registry.close()
        self.remove()


class PostgresSinkSubject(SinkSubject):
    kind = "postgres"
    tells_story = False

    def make_target(self) -> None:
        self.dsn = self.stack.create_database(self.name)
        self.stack.settings.secrets.put(self.secret, self.dsn)

    def planned(self) -> dict[str, Any]:
        return {"connection_env": self.secret, "namespace": "views"}

    def fetch(self, statement: str, *names: str) -> list[dict[str, Any]]:
        """Return rows; {} stand for names."""
        with psycopg.connect(self.dsn, autocommit=True, row_factory=dict_row) as connection:
            query = sql.SQL(statement).format(*(sql.Identifier(*name.split(".", 1)) for name in names))
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def table(self, view: str = "person") -> str:
        return f"views.{table_name(self.views[view])}"

    def state(self, view: str = "person") -> State | None:
        try:
            rows = self.fetch("SELECT * FROM {}", self.table(view))
        except psycopg.errors.UndefinedTable:
            return None
        for row in rows:
            row.pop("_exchange_partition")
            row.pop("_exchange_offset")
        return {row["id"]: from_json(row) for row in rows}

    def parked(self) -> list[tuple[int, int]]:
        rows = self.fetch("SELECT partition, kafka_offset FROM {}", "views._exchange_parked")
        return [(row["partition"], row["kafka_offset"]) for row in rows]

    @contextmanager
    def away(self) -> Iterator[None]:
        with psycopg.connect(self.stack.postgres_dsn(), autocommit=True) as admin:
            name = sql.Identifier(self.name)
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self.name]
            )
            try:
                yield
            finally:
                admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))

    def remove(self) -> None:
        with psycopg.connect(self.stack.postgres_dsn(), autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name)))


class ClickhouseSinkSubject(SinkSubject):
    """On the embedded engine, which is one process's alone: the tests look at a copy of its files."""

    kind = "clickhouse"
    tells_story = True
    can_be_away = False

    def make_target(self) -> None:
        self.path = self.stack.home / f"chdb-{self.name}"
        self.stack.settings.secrets.put(self.secret, f"chdb:{self.path}")

    def planned(self) -> dict[str, Any]:
        return {"connection_env": self.secret, "namespace": "views"}

    def fetch(self, statement: str) -> list[dict[str, Any]] | None:
        """Return rows of a consistent copy; None where the copy was torn, or has no such table yet."""
        with tempfile.TemporaryDirectory(dir=self.stack.home) as place:
            try:
                shutil.copytree(self.path, Path(place) / "copy", symlinks=True)
            except (shutil.Error, FileNotFoundError):  # files came and went meanwhile
                return None
            looked = subprocess.run(
                [sys.executable, "-c", _LOOK, str(Path(place) / "copy"), statement],
                capture_output=True,
                check=False,
                timeout=120,
            )
        return pickle.loads(looked.stdout) if looked.returncode == 0 else None  # noqa: S301 - our own bytes

    def state(self, view: str = "person") -> State | None:
        rows = self.fetch(f"SELECT * FROM views.{table_name(self.views[view])}")  # noqa: S608 - our own name
        return None if rows is None else {row["id"]: self.as_fed(row) for row in rows}

    def story(self, view: str = "person") -> Story:
        query = (
            f"SELECT id, _exchange_op AS op, name FROM views.{table_name(self.views[view])}_changes FINAL "  # noqa: S608
            "WHERE op NOT IN ('t', 'parked') ORDER BY _exchange_partition, _exchange_offset"
        )
        rows = wait_for(lambda: self.fetch(query), "a copy of the changes", 300)
        told: Story = {}
        for row in rows:
            told.setdefault(row["id"], []).append((row["op"], row["name"]))
        return told

    def as_fed(self, row: dict[str, Any]) -> dict[str, Any]:
        if row.get("raw") is not None:
            row["raw"] = bytes.fromhex(row["raw"]) if isinstance(row["raw"], str) else row["raw"]
        for name in ("address", "tags"):
            row[name] = row[name] and json.loads(row[name])
        row["clock"] = row["clock"] and clock.fromisoformat(row["clock"])
        row["instant"] = row["instant"] and row["instant"].replace(tzinfo=UTC)
        return from_json(row)

    def parked(self) -> list[tuple[int, int]]:
        rows = self.fetch("SELECT DISTINCT partition, kafka_offset FROM views._exchange_parked") or []
        return [(row["partition"], row["kafka_offset"]) for row in rows]

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


_LOOK = """
import pickle, sys, clickhouse_connect
client = clickhouse_connect.get_client(interface="chdb", path=sys.argv[1])
sys.stdout.buffer.write(pickle.dumps(list(client.query(sys.argv[2]).named_results())))
"""


class FilesSinkSubject(SinkSubject):
    kind = "files"
    form: ClassVar[str] = "csv"
    tells_story = True
    can_be_away = True

    def make_target(self) -> None:
        self.folder = self.stack.home / f"files-{self.name}"
        self.folder.mkdir()

    def planned(self) -> dict[str, Any]:
        return {"folder": str(self.folder), "format": self.form}

    def rows(self, view: str) -> list[dict[str, Any]]:
        """Return all rows in the order of their places."""
        files = (self.folder / self.views[view]).glob(f"*-*/[0-9]*.{self.form}")
        rows = [row for file in files for row in self.read(file)]
        return sorted(rows, key=lambda row: (row["_partition"], row["_offset"]))

    def read(self, file: Path) -> list[dict[str, Any]]:
        text = file.read_bytes().decode()
        head, *lines = csv_rows(text)
        names = [str(name) for name in head]
        return [csv_as_fed(dict(zip(names, line, strict=True))) for line in lines]

    def state(self, view: str = "person") -> State | None:
        state: dict[int, tuple[int, dict[str, Any]]] = {}
        for row in self.rows(view):
            op, partition, _, _ = (row.pop(name) for name in ("_op", "_partition", "_offset", "_source_ms"))
            if op == "t":
                state = {key: kept for key, kept in state.items() if kept[0] != partition}
            elif op == "d":
                state.pop(row["id"], None)
            else:
                state[row["id"]] = partition, row
        return {key: row for key, (_, row) in state.items()}

    def story(self, view: str = "person") -> Story:
        told: Story = {}
        for row in self.rows(view):
            if row["_op"] != "t":
                told.setdefault(row["id"], []).append((row["_op"], row["name"]))
        return told

    def parked(self) -> list[tuple[int, int]]:
        names = [file.stem.split("-") for file in self.folder.glob("*/_parked/*.txt")]
        return [(int(partition), int(offset)) for partition, offset in names]

    @contextmanager
    def away(self) -> Iterator[None]:
        moved = self.folder.with_name(self.folder.name + "-away")
        self.folder.rename(moved)
        try:
            yield
        finally:
            moved.rename(self.folder)

    def remove(self) -> None:
        shutil.rmtree(self.folder)


class ParquetSinkSubject(FilesSinkSubject):
    form = "parquet"

    def read(self, file: Path) -> list[dict[str, Any]]:
        from pyarrow import parquet

        rows: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
        for row in rows:
            for name in ("address", "tags"):
                row[name] = row[name] and json.loads(row[name])
            row["uid"] = row["uid"] and UUID(row["uid"])
            row["instant"] = row["instant"] and row["instant"].astimezone(UTC)
            from_json(row)
        return rows


def csv_rows(text: str) -> list[list[str | None]]:
    """Return the cells of a CSV text; None for one with nothing in it, not even quotes."""
    rows: list[list[str | None]] = []
    cells: list[str | None] = []
    for mark in re.finditer(r'(?:"((?:[^"]|"")*)"|([^,\r\n"]*))(,|\r\n)', text):
        quoted, plain, end = mark.groups()
        cells.append(quoted.replace('""', '"') if quoted is not None else plain or None)
        if end == "\r\n":
            rows.append(cells)
            cells = []
    return rows


def csv_as_fed(texts: dict[str, str | None]) -> dict[str, Any]:
    makers: dict[str, Any] = {
        "_partition": int,
        "_offset": int,
        "_source_ms": int,
        "id": int,
        "flag": json.loads,
        "small": int,
        "large": int,
        "single": float,
        "double": float,
        "raw": base64.b64decode,
        "uid": UUID,
        "day": date.fromisoformat,
        "clock": clock.fromisoformat,
        "instant": datetime.fromisoformat,
        "local": datetime.fromisoformat,
        "amount": Decimal,
        "address": json.loads,
        "tags": json.loads,
    }
    row = {name: None if text is None else makers.get(name, str)(text) for name, text in texts.items()}
    return from_json(row)


def from_json(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose nested values are as they were fed: JSON holds their dates as texts."""
    address = row.get("address")
    if address and address["since"]:
        row["address"] = address | {"since": date.fromisoformat(address["since"])}
    return row


class WebhookSinkSubject(SinkSubject):
    kind = "webhook"
    tells_story = True
    park_after_s = 0

    def make_target(self) -> None:
        self.receiver = WebhookReceiver(make_key(self.stack.settings.secrets, self.secret, "hmac", only=True))

    def planned(self) -> dict[str, Any]:
        return {
            "url": self.receiver.url,
            "keys_env": self.secret,
            "signature": "hmac",
            "batch_records": 7,
            "park_after_s": self.park_after_s,
        }

    def state(self, view: str = "person") -> State | None:
        rows: State = {}
        at: dict[int, int] = {}
        for record in self.receiver.accepted(self.views[view]):
            if record["op"] == "t":
                rows = {key: row for key, row in rows.items() if at[key] != record["partition"]}
            elif record["op"] == "d":
                rows.pop(record["key"]["id"], None)
            elif record["op"] is not None:
                rows[record["key"]["id"]] = from_plain(record["after"])
                at[record["key"]["id"]] = record["partition"]
        return rows

    def story(self, view: str = "person") -> Story:
        told: Story = {}
        for record in self.receiver.accepted(self.views[view]):
            if record["op"] not in (None, "t"):
                name = record["after"] and record["after"]["name"]
                told.setdefault(record["key"]["id"], []).append((record["op"], name))
        return told

    def parked(self) -> list[tuple[int, int]]:
        return [
            (record["partition"], record["offset"])
            for view in self.views.values()
            for record in self.receiver.accepted(view)
            if "problem" in record
        ]

    @contextmanager
    def away(self) -> Iterator[None]:
        self.receiver.answer = lambda: None
        try:
            yield
        finally:
            self.receiver.answer = lambda: (200, {})

    def remove(self) -> None:
        self.receiver.close()
        assert self.receiver.forged == []


READ_PLAIN: dict[str, Callable[[Any], Any]] = {
    "raw": base64.b64decode,
    "uid": UUID,
    "day": date.fromisoformat,
    "clock": clock.fromisoformat,
    "instant": datetime.fromisoformat,
    "local": datetime.fromisoformat,
    "amount": Decimal,
    "address": lambda found: found | {"since": found["since"] and date.fromisoformat(found["since"])},
}


def from_plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it was fed: JSON holds as texts what it has no type for."""
    return {
        name: value if value is None or name not in READ_PLAIN else READ_PLAIN[name](value)
        for name, value in row.items()
    }


SINK_SUBJECTS: dict[str, type[SinkSubject]] = {
    "postgres": PostgresSinkSubject,
    "clickhouse": ClickhouseSinkSubject,
    "files": FilesSinkSubject,
    "parquet": ParquetSinkSubject,
    "webhook": WebhookSinkSubject,
}
"""Kind of sink → its harness. A new kind is one entry and its class."""
