"""PostgreSQL through Debezium: its engine in the connector, or a Debezium beside it that writes topics."""

from __future__ import annotations

from contextlib import ExitStack
from typing import ClassVar

from psycopg.conninfo import conninfo_to_dict

from exchange.cluster import Acl
from exchange.plan import PlannedEngine, PlannedResource, PlannedSystem
from tests.conformance.databases import PostgresSubject
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
