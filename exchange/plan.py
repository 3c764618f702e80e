"""The published plan: what workers and connectors run, as one document in the topic `_exchange.plan`.

`exchange apply` builds it from topology.yaml and the contracts, registers its schemas, publishes it. Workers
take a new one at a transaction boundary. A worker without a plan does not move data.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from exchange.model import Model
from exchange.view import ViewSpec

PLAN_TOPIC = "_exchange.plan"
ACCOUNTS_TOPIC = "_exchange.accounts"
POSITIONS_TOPIC = "_exchange.positions"
RECEIPTS_TOPIC = "_exchange.receipts"
"""Which pushed requests and files are in Kafka; see connectors/receipts.py."""
SNAPSHOTS_TOPIC = "_exchange.snapshots"
"""Which snapshot each running connector is asked for; see exchange/snapshot_orders.py."""

ProtectBy = Literal["alarm", "drop_slot"]
DEFAULT_PROTECT_WAL_BYTES = 10 * 1024**3
"""Ten times PostgreSQL's own default of max_wal_size, past which its log is not meant to grow."""


class PlannedSystem(Model):
    """One source system: how its connector reaches it; the address itself stays a secret.

    What a kind has no use for is empty.
    """

    name: str
    kind: Literal["postgres", "mysql", "mariadb", "http", "files"] = "postgres"
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
    department: str
    raw_topic: str
    quarantine_topic: str
    partitions: int = Field(ge=1, description="Of the raw topic and of every view topic.")
    contract: dict[str, JsonValue] = Field(description="The .avsc document.")
    steward_public_key: str = Field(description="X25519, base64; refused records are sealed for it.")
    views: tuple[PlannedView, ...]


class PublishedPlan(Model):
    """Everything a worker needs besides keys; `version` counts up with every change of content."""

    version: int = Field(ge=1)
    systems: tuple[PlannedSystem, ...]
    resources: tuple[PlannedResource, ...]

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


def quarantine_topic(resource: str) -> str:
    """Return the topic of a resource's refused records."""
    return f"quarantine.{resource}"
