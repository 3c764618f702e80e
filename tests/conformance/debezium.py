"""PostgreSQL through Debezium: its engine in the connector, or a Debezium beside it that writes topics."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import ClassVar

from confluent_kafka import Consumer, TopicPartition
from psycopg.conninfo import conninfo_to_dict

from exchange.cluster import Acl
from exchange.plan import PlannedEngine, PlannedResource, PlannedSystem, raw_topic
from tests.conformance.databases import PostgresSubject
from tests.conformance.subject import Change
from tests.debezium import debezium_on

ENGINE_LACKS = {
    "one position": "Debezium's records of a transaction have a position each",
    "snapshot once": "Debezium begins an interrupted snapshot again, and the views are emptied for that",
}


class DebeziumEngineSubject(PostgresSubject):
    """PostgreSQL through Debezium's connector for it, whose types and texts are its own."""

    lacks: ClassVar = ENGINE_LACKS
    types = PostgresSubject.types.replace(", ma mood[]", "")
    row = PostgresSubject.row.replace(", '{ok,bad}'", "")
    expected: ClassVar = {name: value for name, value in PostgresSubject.expected.items() if name != "ma"} | {
        "iv": "P0Y0M1DT2H0M0S"
    }
    large = 1_000
    most_ahead: ClassVar = 3_000
    """Changes that writers may be ahead of Kafka: each life of a slow connector takes some hundred, and what
    is written faster than that is only read at the very end, for hours."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._counting = threading.Lock()
        self._committed = self._captured = 0
        self._looked_s = 0.0

    def commit(self, changes: Sequence[Change], writer: int = 0, *, undo: bool = False) -> None:
        super().commit(changes, writer, undo=undo)
        with self._counting:
            self._committed += 0 if undo else len(changes)

    def confirm(self, writer: int) -> bool:
        with self._counting:
            if (
                self._committed - self._captured >= self.most_ahead
                and time.monotonic() > self._looked_s + 0.2
            ):
                self._captured, self._looked_s = self._in_kafka(), time.monotonic()
            return self._committed - self._captured < self.most_ahead

    def _in_kafka(self) -> int:
        """Return how many records the first table's raw topic has, markers of transactions among them."""
        topic = raw_topic(self.name, self.tables[0])
        own = {"group.id": "admin.looks", "log_level": 0}
        consumer = Consumer(self.stack.settings.kafka_client("admin") | own)
        try:
            ends = consumer.list_topics(topic, 30).topics[topic].partitions
            return sum(consumer.get_watermark_offsets(TopicPartition(topic, at), 30)[1] for at in ends)
        finally:
            consumer.close()

    def publish(self, of: str = "") -> None:
        for table in self.tables:
            self.run_sql(f"ALTER TABLE {table} REPLICA IDENTITY FULL")
        self.make_kafka_objects()
        self.publish_plan(1)

    def planned_system(self) -> PlannedSystem:
        parts = conninfo_to_dict(self.dsn)
        password = f"{self.secret}_PASSWORD"
        self.stack.settings.secrets.put(password, str(parts.get("password", "")))
        names = {"host": "hostname", "port": "port", "user": "user", "dbname": "dbname"}
        properties = {f"database.{theirs}": str(parts[ours]) for ours, theirs in names.items()}
        engine = PlannedEngine(
            connector_class="io.debezium.connector.postgresql.PostgresConnector",
            properties=properties
            | {"max.batch.size": "200", "max.queue.size": "400", "poll.interval.ms": "500"},
            secrets={"database.password": password},
        )
        return PlannedSystem(name=self.name, kind="debezium", before="complete", engine=engine)


class DebeziumTopicsSubject(DebeziumEngineSubject):
    """Its tables are first read by Debezium, before the bus begins."""

    lacks: ClassVar = {
        "one position": ENGINE_LACKS["one position"],
        "snapshot": "Debezium reads the tables; what it read are records of its topic like all others",
    }
    large = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._debezium = ExitStack()

    def publish(self, of: str = "") -> None:
        (self._table,) = self.tables
        running = self._debezium.enter_context(debezium_on(self.stack, self.name, self.dsn, self.tables))
        running.follows()
        self._topic = running.topic("json", self._table)
        who = f"connector-{self.name}"
        super().publish(of)
        self.stack.admin.ensure_acls(
            Acl(who, "topic", self._topic, "literal", right) for right in ("read", "describe_configs")
        )

    @property
    def slot(self) -> str:
        return f"{self.name}_debezium"

    def planned_system(self) -> PlannedSystem:
        return PlannedSystem(name=self.name, kind="debezium", before="complete")

    def close(self) -> None:
        self._debezium.close()
        super().close()

    def _resource(self, table: str) -> PlannedResource:
        return super()._resource(table).model_copy(update={"topic": self._topic})
