"""The published plan: what workers and connectors run, as one document in the topic `_exchange.plan`.

`exchange apply` builds it from topology.yaml and the contracts, registers its schemas, publishes it. Workers
take a new one at a transaction boundary. A worker without a plan does not move data.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from exchange.alerting.rules import Alerting
from exchange.model import Model
from exchange.view import ViewSpec

PLAN_TOPIC = "_exchange.plan"
PLAN_BYTES = 16 * 1024**2
"""Most that a plan may have: it holds every contract, and of 500 resources these pass Kafka's own 1 MiB."""
ACCOUNTS_TOPIC = "_exchange.accounts"
POSITIONS_TOPIC = "_exchange.positions"
RECEIPTS_TOPIC = "_exchange.receipts"
"""Which pushed requests and files are in Kafka; see connectors/receipts.py."""
PARKED_TOPIC = "_exchange.parked"
"""What receivers of webhooks refused for good; see connectors/parked.py."""
SNAPSHOTS_TOPIC = "_exchange.snapshots"
"""Which snapshot each running connector is asked for; see exchange/snapshot_orders.py."""
PAUSES_TOPIC = "_exchange.pauses"
"""Which connectors are to write nothing for a while; see exchange/pauses.py."""
RESNAPSHOTS_TOPIC = "_exchange.resnapshots"
"""Which connectors are to read tables anew; see exchange/resnapshots.py."""
REVOCATIONS_TOPIC = "_exchange.revocations"
"""Which grants do not hold though topology.yaml has them; see exchange/revocations.py."""
MADE_TOPIC = "_exchange.made"
"""What `exchange apply` has made, and may delete; see exchange/apply/ledger.py."""
DECISIONS_TOPIC = "_exchange.decisions"
"""What was decided on requests and what was refused, for good; see exchange/governance/relay.py."""
CORRECTIONS_TOPIC = "_exchange.corrections"
"""Which delivered change was wrong and which later one mends it; see exchange/corrections.py."""

ProtectBy = Literal["alarm", "drop_slot"]
Converter = Literal["json", "avro"]
Before = Literal["none", "complete"]
Begin = Literal["complete", "oldest"]
DEFAULT_PROTECT_WAL_BYTES = 10 * 1024**3
"""Ten times PostgreSQL's own default of max_wal_size, past which its log is not meant to grow."""


class PlannedEngine(Model):
    """Debezium's engine in the connector itself: what it is set to; secrets by their names alone."""

    connector_class: str
    properties: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, str] = Field(
        default_factory=dict, description="Property → name of the secret that holds its value."
    )


class PlannedSystem(Model):
    """One source system: how its connector reaches it; the address itself stays a secret.

    What a kind has no use for is empty.
    """

    name: str
    kind: Literal["postgres", "mysql", "mariadb", "debezium", "http", "files"] = "postgres"
    connection_env: str = Field(
        default="", description="Name of the secret that holds the connection string."
    )
    publication: str = Field(
        default="", description="PostgreSQL's, made by `exchange apply`; see publication_name()."
    )
    slot: str = Field(default="", description="PostgreSQL's, made by the connector; see slot_name().")
    protect_wal_bytes: int = Field(
        default=DEFAULT_PROTECT_WAL_BYTES, description="Log that the server may keep for the slot."
    )
    protect_by: ProtectBy = Field(default="alarm", description="What is done past protect_wal_bytes.")
    listen: str = Field(default="", description="http: host:port to serve on.")
    keys_env: str = Field(default="", description="http: name of the secret with the hashes of its API keys.")
    converter: Converter = Field(default="json", description="debezium: what writes its topics.")
    registry: str = Field(default="", description="debezium: URL of its schema registry; empty: the bus's.")
    registry_env: str = Field(default="", description="debezium: secret with the registry's user:password.")
    before: Before = Field(default="none", description="debezium: what its before-images are worth.")
    begin: Begin = Field(default="complete", description="debezium: from where its topics are read.")
    engine: PlannedEngine | None = Field(
        default=None, description="debezium: the engine that the connector runs; None: topics are read."
    )


class PlannedView(Model):
    """One view topic and the registered schemas of its records."""

    name: str = Field(description="Last part of the view's name: `school` of population.person.school.")
    topic: str
    spec: ViewSpec
    key_schema_id: int
    value_schema_id: int


class PlannedResource(Model):
    """One resource: where its changes come from and what becomes of them."""

    name: str = Field(description="<domain>.<resource>")
    system: str
    table: str = Field(description="<schema>.<table> in the source.")
    folder: str = Field(default="", description="files: where they are dropped.")
    topic: str = Field(default="", description="debezium: topic that holds the table's changes.")
    department: str
    raw_topic: str
    quarantine_topic: str
    partitions: int = Field(ge=1, description="Of the raw topic and of every view topic.")
    sealed: bool = Field(default=False, description="Raw records are boxes; see exchange/boxes.py.")
    contract: dict[str, JsonValue] = Field(description="The .avsc document.")
    steward_public_key: str = Field(description="X25519, base64; refused records are sealed for it.")
    views: tuple[PlannedView, ...]


class PlannedDelivery(Model):
    """One subscriber's own store, and the views that are delivered there; see connectors/deliver.py.

    What a kind has no use for is empty.
    """

    subscriber: str
    kind: Literal["postgres", "clickhouse", "files", "webhook"]
    connection_env: str = Field(default="", description="Name of the secret that holds the address.")
    namespace: str = Field(default="", description="PostgreSQL's schema, ClickHouse's database.")
    folder: str = Field(default="", description="files: where they are written.")
    format: str = Field(default="", description="files: csv or parquet.")
    url: str = Field(default="", description="webhook: where requests go.")
    signature: str = Field(default="", description="webhook: hmac or ed25519.")
    keys_env: str = Field(default="", description="webhook: name of the secret with the signing keys.")
    batch_records: int = Field(default=1, description="webhook: records of one request at most.")
    park_after_s: int = Field(default=0, description="webhook: refused for so long is parked; 0: never.")
    ca_file: str = Field(default="", description="webhook: CA of the receiver's certificate.")
    views: tuple[str, ...] = Field(description="<domain>.<resource>.<view>, granted and asked for.")


class PlannedPull(Model):
    """A subscriber that may pull over HTTP; which views it may read, Kafka alone says."""

    subscriber: str
    keys_env: str = Field(description="Name of the secret with the hashes of its API keys.")


class PublishedPlan(Model):
    """Everything a worker needs besides keys; `version` counts up with every change of content."""

    version: int = Field(ge=1)
    systems: tuple[PlannedSystem, ...]
    resources: tuple[PlannedResource, ...]
    deliveries: tuple[PlannedDelivery, ...] = ()
    pulls: tuple[PlannedPull, ...] = ()
    revoked: tuple[str, ...] = Field(
        default=(), description="Grants that were revoked when it was made, <subscriber>|<view> each."
    )
    alerts: Alerting = Alerting()

    def by_raw_topic(self) -> dict[str, PlannedResource]:
        """Return the resources by the topic their changes arrive on."""
        return {resource.raw_topic: resource for resource in self.resources}


def publication_name(system: str) -> str:
    """Return the default name of a system's publication; PostgreSQL names hold no dash unquoted."""
    return f"exchange_{system}".replace("-", "_")


def slot_name(system: str) -> str:
    """Return the default name of a system's replication slot: lower-case letters, digits and underscores."""
    return f"exchange_{system}".replace("-", "_")


def raw_topic(system: str, table: str) -> str:
    """Return the topic of a table's captured changes; `table` is <schema>.<table>."""
    return f"raw.{system}.{table}"


def view_topic(resource: str, view: str) -> str:
    """Return the topic subscribers read for a view."""
    return f"share.{resource}.{view}"


def table_name(view: str) -> str:
    """Return the table that holds a delivered view; topics that would give one name are refused."""
    return view.replace(".", "_")


def delivery_group(subscriber: str, view: str) -> str:
    """Return the consumer group that keeps how far a view is delivered into its subscriber's store."""
    return f"{subscriber}.deliver.{view}"


def pull_group(subscriber: str) -> str:
    """Return the consumer group that tells how far a subscriber that pulls says it is, in all its views."""
    return f"{subscriber}.pull"


def quarantine_topic(resource: str) -> str:
    """Return the topic of a resource's refused records."""
    return f"quarantine.{resource}"
