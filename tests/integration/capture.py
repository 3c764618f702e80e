"""A captured system for tests: database, plan, topics and access of its own; connectors as real processes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, LiteralString

import fastavro
import psycopg
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from exchange import heartbeat
from exchange.account import Account
from exchange.change import HEADER, RecordHeader
from exchange.cluster import Acl, TopicSpec
from exchange.encoding import wire
from exchange.keys import QuarantineRecord, generate_steward_keys, read_key
from exchange.plan import (
    ACCOUNTS_TOPIC,
    PAUSES_TOPIC,
    PLAN_TOPIC,
    POSITIONS_TOPIC,
    RESNAPSHOTS_TOPIC,
    SNAPSHOTS_TOPIC,
    PlannedResource,
    PlannedSystem,
    PublishedPlan,
    publication_name,
    quarantine_topic,
    raw_topic,
    slot_name,
)
from exchange.registry import Registry
from tests.integration.nursery import Forked, nursery
from tests.stack import Stack, wait_for

PARTITIONS = 3


@dataclass(frozen=True)
class Record:
    """One record of a raw topic, decoded."""

    partition: int
    header: RecordHeader
    key: dict[str, Any] | None
    value: dict[str, Any]

    @property
    def at(self) -> tuple[int, int, int]:
        position = self.header.position
        return position.commit, position.index, position.part


@dataclass
class Running:
    """A connector process and its log."""

    process: subprocess.Popen[bytes] | Forked
    log: Path

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, what: str, timeout_s: float = 120) -> None:
        """Wait until the log holds a text; fail at once when the process has ended without it."""
        wait_for(
            lambda: what in self.text() or self.process.poll() is not None, f"{what} in {self.log}", timeout_s
        )
        assert what in self.text(), self.text()

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def ends(self, timeout_s: float = 120) -> int:
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@dataclass
class System:
    """A source system under test. `tables`: <schema>.<table>."""

    stack: Stack
    name: str
    tables: Sequence[str]
    private_key: str = field(init=False)
    _public_key: str = field(init=False)
    _schemas: dict[int, Any] = field(default_factory=dict)
    _kept: dict[str, dict[int, list[Any]]] = field(default_factory=dict)
    _records: dict[tuple[str, int, int], Record] = field(default_factory=dict)
    _count: int = 0
    planned: dict[str, Any] = field(default_factory=dict)
    """More of what the plan says of the system."""

    def __post_init__(self) -> None:
        self.make_steward()
        self.dsn = self.stack.create_database(self.name)
        self.stack.settings.secrets.put(self.secret, self.dsn)

    def make_steward(self) -> None:
        self.private_key, self._public_key = generate_steward_keys()

    @property
    def secret(self) -> str:
        return f"{self.name.upper()}_DSN"

    @property
    def slot(self) -> str:
        return slot_name(self.name)

    @cached_property
    def db(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn, autocommit=True)

    @cached_property
    def registry(self) -> Registry:
        settings = self.stack.settings
        return Registry(settings.endpoints().registry, settings.secrets.get("EXCHANGE_REGISTRY_PASSWORD"))

    def execute(self, statement: LiteralString, *params: object) -> None:
        self.db.execute(statement, params or None)

    def publish(self, of: str = "") -> None:
        """Do what `exchange apply` does for this one system."""
        self.make_kafka_objects()
        wanted = of or "TABLE " + ", ".join(self.tables)
        self.db.execute(f"CREATE PUBLICATION {publication_name(self.name)} FOR {wanted}".encode())
        self.publish_plan(1)

    def drop_slot(self) -> None:
        """Drop the slot once the server has noticed that its reader is gone."""
        sql = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND NOT active"
        wait_for(lambda: self.db.execute(sql, [self.slot]).fetchall(), "an unused slot")
        self.execute("SELECT pg_drop_replication_slot(%s)", self.slot)

    def close(self) -> None:
        """Drop slot and database, so that the server does not keep its log for them."""
        self.registry.close()
        self.db.close()
        with psycopg.connect(self.stack.postgres_dsn(), autocommit=True) as admin:
            sql = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s AND active"
            wait_for(lambda: not admin.execute(sql, [self.slot]).fetchall(), "an unused slot")
            drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
            admin.execute(drop, [self.slot])
            admin.execute(f"DROP DATABASE {self.name} WITH (FORCE)".encode())

    def run(self, *args: str) -> None:
        """Run one command of `exchange` to its end."""
        done = self.result(*args)
        assert done.returncode == 0, done.stderr

    def result(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run one command of `exchange` to its end, whatever that is."""
        environ = os.environ | {"EXCHANGE_HOME": str(self.stack.home)}
        command = [sys.executable, *COMMAND, *args]
        return subprocess.run(command, env=environ, check=False, timeout=120, capture_output=True, text=True)

    def publish_plan(self, version: int) -> None:
        resources = tuple(map(self._resource, self.tables))
        plan = PublishedPlan(version=version, systems=(self.planned_system(),), resources=resources)
        producer = Producer(self.stack.settings.kafka_client("admin"))
        producer.produce(PLAN_TOPIC, plan.model_dump_json().encode(), b"plan", 0)
        assert producer.flush(30) == 0

    def planned_system(self) -> PlannedSystem:
        return PlannedSystem(
            name=self.name,
            connection_env=self.secret,
            publication=publication_name(self.name),
            slot=self.slot,
            **self.planned,
        )

    def add_table(self, table: str) -> None:
        self.tables = [*self.tables, table]
        self.make_kafka_objects()
        self.db.execute(f"ALTER PUBLICATION {publication_name(self.name)} ADD TABLE {table}".encode())

    @contextmanager
    def connector(self, *program: str, **environment: str) -> Iterator[Running]:
        """Run `exchange connect` on this system, or one with a fault planted; killed if it still runs."""
        self._count += 1
        log = self.stack.home / "logs" / f"connect-{self.name}-{self._count}.log"
        arguments = [*(program or COMMAND), "connect", self.name]
        environ = os.environ | {"EXCHANGE_HOME": str(self.stack.home)} | environment
        with log.open("wb") as out:
            process = (
                subprocess.Popen([sys.executable, *arguments], stdout=out, stderr=out, env=environ)
                if environment  # some of it is read when the bus is imported
                else nursery().start(arguments, environ, log)
            )
        running = Running(process, log)
        try:
            yield running
        finally:
            if process.poll() is None:
                running.kill()

    def records(self, table: str) -> list[Record]:
        """Return what is readable at read_committed on a table's raw topic, partition by partition."""
        return [self._record(message) for message in self._messages(raw_topic(self.name, table))]

    def wait_for_records(
        self, table: str, enough: Callable[[list[Record]], bool], what: str, timeout_s: float = 120
    ) -> list[Record]:
        """Return all records once there are enough; those of the same transaction in other partitions too."""
        wait_for(lambda: enough(self.records(table)), what, timeout_s)
        return self.records(table)  # a partition read before the transaction ended is read on

    def refused(self, table: str) -> list[QuarantineRecord]:
        topic = quarantine_topic(self._resource(table).name)
        return [QuarantineRecord.decode(message.value()) for message in self._messages(topic)]

    def opened(self, record: QuarantineRecord) -> tuple[bytes | None, bytes | None]:
        return record.open(read_key(self.private_key, "test"))

    def accounts(self, table: str) -> list[Account]:
        topic = raw_topic(self.name, table)
        found = (Account.decode(message.value()) for message in self._messages(ACCOUNTS_TOPIC))
        return [account for account in found if account.topic == topic]

    def wait_for_positions(self, more: int, connector: Running) -> None:
        """Wait until so many more positions were committed than there are now, or its connector ended."""
        enough = len(self.positions()) + more
        try:
            wait_for(lambda: connector.has_ended() or len(self.positions()) >= enough, "positions", 300)
        except AssertionError:
            raise AssertionError(connector.text()) from None

    def heartbeat(self) -> dict[str, Any]:
        """Return what the connector said of itself last; empty when it is silent."""
        beats = heartbeat.read_all(heartbeat.connect(self.stack.settings))
        return next((beat for beat in beats if beat["writer"] == f"cdc-{self.name}"), {})

    def slot_figures(self) -> tuple[int, int]:
        """Return confirmed_flush_lsn and restart_lsn as numbers."""
        sql = (
            "SELECT (confirmed_flush_lsn - '0/0')::bigint, (restart_lsn - '0/0')::bigint "
            "FROM pg_replication_slots WHERE slot_name = %s"
        )
        (row,) = self.db.execute(sql, [self.slot]).fetchall()
        return int(row[0]), int(row[1])

    def positions(self) -> list[bytes]:
        key = f"cdc-{self.name}".encode()
        return [message.value() for message in self._messages(POSITIONS_TOPIC) if message.key() == key]

    def _resource(self, table: str) -> PlannedResource:
        resource = f"{self.name}.{table.replace('.', '_')}"
        return PlannedResource(
            name=resource,
            system=self.name,
            table=table,
            department="dept",
            raw_topic=raw_topic(self.name, table),
            quarantine_topic=quarantine_topic(resource),
            partitions=PARTITIONS,
            contract={},
            steward_public_key=self._public_key,
            views=(),
        )

    def make_kafka_objects(self) -> None:
        who = f"connector-{self.name}"
        resources = [self._resource(table) for table in self.tables]
        topics = [r.raw_topic for r in resources] + [r.quarantine_topic for r in resources]
        admin = self.stack.admin
        admin.ensure_topics(TopicSpec(topic, PARTITIONS) for topic in topics)
        admin.ensure_scram_user(who)
        rules = [(topic, "literal", "write") for topic in topics]
        rules += [(ACCOUNTS_TOPIC, "literal", "write"), (PLAN_TOPIC, "literal", "read")]
        rules += [(topic, "literal", "read") for topic in (SNAPSHOTS_TOPIC, PAUSES_TOPIC, RESNAPSHOTS_TOPIC)]
        rules.append((RESNAPSHOTS_TOPIC, "literal", "write"))
        rules += [(POSITIONS_TOPIC, "literal", operation) for operation in ("read", "write")]
        acls = [Acl(who, "topic", *rule) for rule in rules]
        acls += [
            Acl(who, "transactional_id", f"cdc-{self.name}", "prefixed", operation)
            for operation in ("write", "describe")
        ]
        acls.append(Acl(who, "cluster", "kafka-cluster", "literal", "idempotent_write"))
        admin.ensure_acls(acls)

    def _record(self, message: Any) -> Record:
        place = (message.topic(), message.partition(), message.offset())
        if place not in self._records:
            self._records[place] = self._decoded_record(message)
        return self._records[place]

    def _decoded_record(self, message: Any) -> Record:
        header = RecordHeader.unpack(dict(message.headers())[HEADER])
        assert header is not None
        key = self._decoded(message.key()) if message.key() is not None else None
        return Record(message.partition(), header, key, self._decoded(message.value()))

    def _decoded(self, framed: bytes) -> Any:
        schema_id, body = wire.unframe(framed)
        if schema_id not in self._schemas:
            self._schemas[schema_id] = fastavro.parse_schema(self.registry.schema(schema_id))
        source = io.BytesIO(body)
        decoded = fastavro.schemaless_reader(source, self._schemas[schema_id], None)
        assert not source.read(1)
        return decoded

    def _messages(self, topic: str) -> list[Any]:
        """Return all messages of a topic that are committed now, partition by partition.

        Reads on from the call before, and to the ends as they are found: a busy writer has no end of its own.
        """
        kept, consumer = self._kept.setdefault(topic, {}), self._consumer
        partitions = list(consumer.list_topics(topic, 30).topics[topic].partitions)
        ends = {number: kept[number][-1].offset() + 1 if kept.get(number) else 0 for number in partitions}
        consumer.assign([TopicPartition(topic, number, offset) for number, offset in ends.items()])
        wanted = {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), 30)[1]
            for number in partitions
        }
        unread = set(partitions)
        while unread:
            message = consumer.poll(30)
            assert message is not None, f"no answer from {topic}"
            error = message.error()
            if error is None:
                number = message.partition() or 0
                kept.setdefault(number, []).append(message)
                if (message.offset() or 0) + 1 >= wanted[number]:
                    unread.discard(number)
            elif error.code() == KafkaError._PARTITION_EOF:
                unread.discard(message.partition())
            else:
                raise AssertionError(f"{topic}: {error.name()}")
        consumer.unassign()
        return [message for number in partitions for message in kept.get(number, [])]

    @cached_property
    def _consumer(self) -> Consumer:
        """Reads for the whole test: a new one would log in anew each time."""
        return Consumer(
            self.stack.settings.kafka_client("admin")
            | {
                "group.id": "test",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
            }
        )


COMMAND = ["-m", "exchange.cli"]
