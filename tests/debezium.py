"""A Debezium beside the stack: it writes a database's changes to topics, as Kafka Connect would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from exchange.cluster import Acl, TopicSpec
from exchange.plan import PlannedResource, PlannedSystem
from tests.integration.capture import System
from tests.stack import Stack, wait_for

REPO = Path(__file__).parents[1]


@dataclass
class Debezium:
    """A running one. `prefix`: its topic.prefix, also the database's name."""

    stack: Stack
    prefix: str
    db: psycopg.Connection[Any]
    log: Path
    process: subprocess.Popen[bytes]

    def topic(self, converter: str, table: str) -> str:
        return f"{converter}.{self.prefix}.{table}"

    def follows(self) -> None:
        """Wait until it streams."""
        sql = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"

        def look() -> bool:
            assert self.process.poll() is None, self.log.read_text(errors="replace")[-3000:]
            return bool(self.db.execute(sql.encode()).fetchall())

        wait_for(look, f"Debezium's stream; see {self.log}", 400)


def properties(stack: Stack, database: str, **more: str) -> dict[str, str]:
    """Return the properties of Debezium's PostgreSQL connector."""
    host, _, port = (stack.settings.endpoints().postgres or "").rpartition(":")
    return {
        "name": database,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": host,
        "database.port": port,
        "database.user": "postgres",
        "database.password": stack.settings.secrets.get("EXCHANGE_POSTGRES_PASSWORD").get_secret_value(),
        "database.dbname": database,
        "topic.prefix": database,
        "plugin.name": "pgoutput",
        "slot.name": f"{database}_debezium",
        "publication.name": f"{database}_debezium",
        "publication.autocreate.mode": "filtered",
        "snapshot.mode": "initial",
    } | {name.replace("_", "."): value for name, value in more.items()}


@contextmanager
def running_debezium(
    stack: Stack, prefix: str, ddl: Sequence[str], tables: Sequence[str]
) -> Iterator[Debezium]:
    """Make a database and its topics of one partition, and start; tables: <schema>.<table>."""
    dsn = stack.create_database(prefix)
    with psycopg.connect(dsn, autocommit=True) as db:
        for statement in ddl:
            db.execute(statement.encode())
    with debezium_on(stack, prefix, dsn, tables) as running:
        yield running


@contextmanager
def debezium_on(stack: Stack, prefix: str, dsn: str, tables: Sequence[str]) -> Iterator[Debezium]:
    """Make the topics for a database of the name `prefix`, and start."""
    topics = [f"{prefix}.{table}" for table in tables]
    stack.admin.ensure_topics(
        TopicSpec(f"{converter}.{topic}", 1) for converter in ("json", "avro") for topic in topics
    )
    settings = stack.settings
    given = {
        "properties": properties(
            stack,
            prefix,
            offset_storage="org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
            offset_flush_interval_ms="0",
            table_include_list=",".join(tables),
            provide_transaction_metadata="true",
            skipped_operations="none",
            interval_handling_mode="string",
            poll_interval_ms="20",
        ),
        "kafka": settings.kafka_client("admin"),
        "registry": {
            "url": settings.endpoints().registry,
            "user": "exchange",
            "password": settings.secrets.get("EXCHANGE_REGISTRY_PASSWORD").get_secret_value(),
        },
        "topics": topics,
    }
    with tempfile.TemporaryDirectory(prefix="exchange-debezium-") as scratch:
        log = stack.home / "logs" / f"debezium-{prefix}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.debezium_writer"],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                cwd=scratch,
                env=os.environ | {"PYTHONPATH": str(REPO)},
            )
        db = psycopg.connect(dsn, autocommit=True)
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(given).encode())
            process.stdin.close()
            yield Debezium(stack, prefix, db, log, process)
        finally:
            process.kill()
            process.wait()
            db.close()


@dataclass
class Adopted(System):
    """A system of the bus on one of Debezium's topics. `topic`: that topic."""

    topic: str = ""
    options: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.make_steward()

    def publish(self, of: str = "") -> None:
        self.make_kafka_objects()
        who = f"connector-{self.name}"
        rights = ("read", "describe_configs")
        self.stack.admin.ensure_acls(Acl(who, "topic", self.topic, "literal", right) for right in rights)
        self.publish_plan(1)

    def planned_system(self) -> PlannedSystem:
        return PlannedSystem(name=self.name, kind="debezium", **(self.options or {}))

    def close(self) -> None:
        self.registry.close()

    def _resource(self, table: str) -> PlannedResource:
        return System._resource(self, table).model_copy(update={"topic": self.topic})


VALUE: dict[str, Any] = {
    "type": "struct",
    "optional": True,
    "name": "v.Value",
    "fields": [
        {"type": "int64", "optional": False, "field": "id"},
        {"type": "string", "optional": True, "field": "name"},
    ],
}
KEY = VALUE | {"fields": VALUE["fields"][:1], "optional": False, "name": "v.Key"}


def event(op: str, number: int, typed: tuple[str, str] | None = None) -> bytes:
    """Return a change event as a JsonConverter writes it, of a table with two columns."""
    value = VALUE
    if typed is not None:
        column = {"type": typed[0], "name": typed[1], "optional": True, "field": "name"}
        value = VALUE | {"fields": [VALUE["fields"][0], column]}
    source = {
        "type": "struct",
        "optional": False,
        "field": "source",
        "fields": [{"type": "int64", "optional": False, "field": "ts_ms"}],
    }
    fields = [value | {"field": "before"}, value | {"field": "after"}, source]
    fields.append({"type": "string", "optional": False, "field": "op"})
    schema = {"type": "struct", "fields": fields, "optional": False, "name": "v.Envelope"}
    after = None if op in "dt" else {"id": number, "name": "CANARY" if typed is None else 1}
    payload = {"before": None, "after": after, "source": {"ts_ms": 1_700_000_000_000}, "op": op}
    return framed(schema, payload)


def event_key(number: int) -> bytes:
    return framed(KEY, {"id": number})


def framed(schema: Any, payload: Any) -> bytes:
    return json.dumps({"schema": schema, "payload": payload}, separators=(",", ":")).encode()
