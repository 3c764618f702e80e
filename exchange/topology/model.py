"""The models of topology.yaml: what each section may hold, and the names that follow from it.

    departments ─ systems ─ resources ─ views ─ grants ─ subscribers

A model checks its own fields; exchange/topology/references.py checks what they say about one another.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field

from exchange.alerting.rules import Alerting
from exchange.model import Label, Model
from exchange.plan import (
    DEFAULT_PROTECT_WAL_BYTES,
    Before,
    Begin,
    Converter,
    ProtectBy,
    publication_name,
    quarantine_topic,
    raw_topic,
    slot_name,
    view_topic,
)
from exchange.topology.watch import AnyWatchRule
from exchange.view import ViewSpec


def _word(pattern: str, wanted: str) -> AfterValidator:
    """Return a validator that says in words what a name must look like."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            msg = f"{value[:80]!r} is not {wanted}"
            raise ValueError(msg)
        return value

    return AfterValidator(check)


def _only_dates(value: object) -> object:
    """Refuse numbers, which pydantic would take for seconds since 1970."""
    if isinstance(value, str | dt.date | None):
        return value
    msg = "a date is wanted, like 2027-12-31"
    raise ValueError(msg)


Name = Annotated[
    str,
    _word("[a-z][a-z0-9_]{0,62}", "a name: lower-case letters, digits and _, beginning with a letter"),
]
PrincipalName = Annotated[
    str,
    _word("[a-z][a-z0-9_-]{0,62}", "a name: lower-case letters, digits, _ and -, beginning with a letter"),
]
ResourceName = Annotated[
    str,
    _word(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*", "<domain>.<resource> in lower-case letters, digits and _"),
]
ViewName = Annotated[
    str,
    _word(
        r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*",
        "<domain>.<resource>.<view> in lower-case letters, digits and _",
    ),
]
TableName = Annotated[
    str,
    _word(
        r"[A-Za-z_][A-Za-z0-9_]{0,62}\.[A-Za-z_][A-Za-z0-9_]{0,62}",
        "<schema>.<table> in letters, digits and _ (other characters cannot stand in a Kafka topic)",
    ),
]
EnvName = Annotated[
    str, _word("[A-Z][A-Z0-9_]*", "the name of an environment variable in capitals, like POPULATION_DSN")
]
PostgresName = Annotated[
    str, _word("[a-z_][a-z0-9_]{0,62}", "a PostgreSQL name: lower-case letters, digits and _, up to 63")
]


ListenAddress = Annotated[
    str, _word(r"[A-Za-z0-9_.-]+:[0-9]{1,5}", "an address to listen on, like 127.0.0.1:8480")
]


SourceTopic = Annotated[
    str, _word(r"[A-Za-z0-9._-]{1,249}", "a Kafka topic: letters, digits, dots, _ and -, up to 249")
]
RegistryUrl = Annotated[
    str, _word(r"https?://[^/@\s]+(/\S*)?", "a URL without user, like https://registry:8081")
]
ReceiverUrl = Annotated[
    str,
    _word(
        r"https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[^\s@#]*)?"
        r"|http://(127\.0\.0\.1|localhost)(:[0-9]{1,5})?(/[^\s@#]*)?",
        "a URL like https://host/path, without user, password and #; http only on this machine",
    ),
]


ConnectorClass = Annotated[
    str, _word(r"io(\.[a-z0-9]+)+\.[A-Z][A-Za-z0-9]*", "a class of Debezium, like io.debezium.connector.X")
]
PropertyName = Annotated[
    str, _word(r"[a-z0-9]+([._-][a-z0-9]+)*", "a property's name, like database.hostname")
]


class Department(Model):
    """A public body: it supplies data, receives data, or both."""

    label: Label = Field(description="Name shown in the console.")


class System(Model):
    """A source database, captured through its log."""

    department: Name = Field(description="Department that owns it; its steward gets what is refused.")
    kind: Literal["postgres", "mysql", "mariadb"] = Field(description="How changes are captured.")
    connection_env: EnvName = Field(
        description="Name of the secret that holds the connection string; never the string itself."
    )
    publication: PostgresName | None = Field(
        default=None, description="PostgreSQL publication; `exchange_<system>` when not given."
    )
    slot: PostgresName | None = Field(
        default=None, description="PostgreSQL replication slot; `exchange_<system>` when not given."
    )
    protect_wal_bytes: Annotated[int, Field(ge=16 * 1024**2)] = Field(
        default=DEFAULT_PROTECT_WAL_BYTES,
        description="Bytes of log that its server may keep for the slot, before `protect_by` is done.",
    )
    protect_by: ProtectBy = Field(
        default="alarm",
        description="Past `protect_wal_bytes`: `alarm`, or also `drop_slot`, so that the server may forget "
        "its log; capture then halts until `exchange resnapshot`.",
    )


class HttpSystem(Model):
    """A department that sends its changes itself, to `POST /ingest/<resource>`."""

    department: Name = Field(description="Department that owns it; its steward gets what is refused.")
    kind: Literal["http"] = Field(description="Changes are pushed over HTTP; see docs/push.md.")
    listen: ListenAddress = Field(
        description="host:port that `exchange connect` serves it on; TLS is the reverse proxy's."
    )
    keys_env: EnvName = Field(
        description="Name of the secret that holds the hashes of its API keys; made by `exchange push-key`."
    )


class FilesSystem(Model):
    """A department that hands over files: CSV, Excel or JSON lines, dropped in a folder a resource."""

    department: Name = Field(description="Department that owns it; its steward gets what is refused.")
    kind: Literal["files"] = Field(description="Files are read from folders; see docs/files.md.")


class DebeziumEngine(Model):
    """One of Debezium's connectors, run inside the bus's own."""

    connector_class: ConnectorClass = Field(
        description="Debezium's connector, like io.debezium.connector.postgresql.PostgresConnector."
    )
    properties: dict[PropertyName, str] = Field(
        default={}, description="What it is set to, by Debezium's names. Numbers in quotes."
    )
    secrets: dict[PropertyName, EnvName] = Field(
        default={},
        description="Property → name of the secret that holds its value, like `database.password: TAX_DB`.",
    )


class DebeziumSystem(Model):
    """A source whose changes come through Debezium: from its topics, or from its engine."""

    department: Name = Field(description="Department that owns it; its steward gets what is refused.")
    kind: Literal["debezium"] = Field(description="Debezium captures it; see docs/connectors.md.")
    engine: DebeziumEngine | None = Field(
        default=None,
        description="Run Debezium's engine here; not given: the topics of a Debezium elsewhere are read, and "
        "each resource names its `topic`.",
    )
    connection_env: EnvName | None = Field(
        default=None,
        description="Name of the secret with the properties of a Kafka client (lines of `name=value`) that "
        "reads them; the bus's own Kafka when not given.",
    )
    converter: Converter = Field(
        default="json", description="What wrote keys and values: `json` (with schemas) or `avro`."
    )
    registry: RegistryUrl | None = Field(
        default=None, description="Schema registry of converter `avro`; the bus's own when not given."
    )
    registry_env: EnvName | None = Field(
        default=None, description="Name of the secret with that registry's `user:password`."
    )
    before: Before = Field(
        default="none",
        description="`complete`: every update and delete holds the whole old row, as views of some rows need "
        "it (PostgreSQL: REPLICA IDENTITY FULL); `none`: old rows are not looked at.",
    )
    begin: Begin = Field(
        default="complete",
        description="`complete`: the topics must have their beginning, where the snapshot stands; `oldest`: "
        "what they still have is taken, and rows that are no longer in them are missing.",
    )


AnySystem = Annotated[System | HttpSystem | FilesSystem | DebeziumSystem, Field(discriminator="kind")]
"""A system of any kind."""


class Resource(Model):
    """One entry of the catalogue, tied to its table and its contract."""

    label: Label = Field(description="Name shown in the console.")
    system: Name = Field(description="System that holds the table.")
    table: TableName = Field(
        description="<schema>.<table> in that system; where it has no tables, the last part of the raw topic."
    )
    folder: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="Folder that files are dropped in; for systems of kind `files`, and only there.",
    )
    topic: SourceTopic | None = Field(
        default=None,
        description="Topic that Debezium writes the changes to; for systems of kind `debezium` without "
        "`engine` alone.",
    )
    contract: ResourceName | None = Field(
        default=None,
        description="Contract in avro/<domain>/<resource>.avsc; the resource's own name when not given.",
    )
    catalogue_code: Annotated[str, Field(min_length=1)] = Field(
        description="Code in the government data catalogue."
    )
    share: Literal["unconditional", "conditional", "none"] = Field(
        description="Open to all departments, only on a legal basis and purpose, or not at all."
    )
    review: Literal["steward", "authority"] = Field(
        default="steward",
        description="Who decides last on a request where sharing is conditional: the source's steward, or "
        "the share authority after the steward.",
    )
    whitelist: tuple[Name, ...] = Field(
        default=(), description="Departments whose requests for it are granted at once, though conditional."
    )
    update_cycle: Literal["real_time", "daily", "weekly", "monthly", "quarterly", "yearly"] = Field(
        default="real_time", description="How often the catalogue promises new data."
    )
    partitions: Annotated[int, Field(ge=1, le=256)] = Field(
        default=4,
        description="Partitions of all its topics. Fixed once applied: the order per key hangs on it.",
    )
    sealed: bool = Field(
        default=False,
        description="Whether its raw records are sealed, so that Kafka's disks hold no clear value; see "
        "docs/sealing.md.",
    )


class PostgresDelivery(Model):
    """Views kept as tables of the subscriber's own PostgreSQL: one row a key, exactly once."""

    kind: Literal["postgres"] = Field(description="Tables in PostgreSQL.")
    connection_env: EnvName = Field(
        description="Name of the secret that holds the connection string; never the string itself."
    )
    namespace: PostgresName = Field(
        alias="schema", description="Schema of the tables; made when it is absent."
    )
    views: tuple[ViewName, ...] = Field(
        default=(), description="Granted views to deliver; all of them when not given."
    )


class ClickhouseDelivery(Model):
    """Views kept in the subscriber's own ClickHouse: each change, and the latest state of each key."""

    kind: Literal["clickhouse"] = Field(description="Tables in ClickHouse.")
    connection_env: EnvName = Field(
        description="Name of the secret that holds the address, like https://user:password@host:8443."
    )
    database: Name = Field(description="Database of the tables; made when it is absent.")
    views: tuple[ViewName, ...] = Field(
        default=(), description="Granted views to deliver; all of them when not given."
    )


class FilesDelivery(Model):
    """Each change of the views as a line of a file; files by hour, whole ones only."""

    kind: Literal["files"] = Field(description="Files in a folder, one subfolder a view.")
    folder: Annotated[str, Field(min_length=1)] = Field(description="Folder that the bus writes to.")
    format: Literal["csv", "parquet"] = Field(default="csv", description="What the files are.")
    views: tuple[ViewName, ...] = Field(
        default=(), description="Granted views to deliver; all of them when not given."
    )


class WebhookDelivery(Model):
    """Each change of the views in signed POST requests to the subscriber, at least once, in order per key."""

    kind: Literal["webhook"] = Field(description="HTTP requests, signed as Standard Webhooks has it.")
    url: ReceiverUrl = Field(description="Where they go; redirects are not followed.")
    signature: Literal["hmac", "ed25519"] = Field(
        default="hmac",
        description="One key that both sides know, or a private one here and a public one there.",
    )
    keys_env: EnvName = Field(
        description="Name of the secret that holds the signing keys; made by `exchange webhook-key`."
    )
    batch_records: Annotated[int, Field(ge=1, le=500)] = Field(
        default=100, description="Records of one request at most; never more than about 1 MiB."
    )
    park_after_s: Annotated[int, Field(ge=60, le=259_200)] | None = Field(
        default=None,
        description="Seconds (60 to 259200) after which a record refused again and again is parked, and "
        "later ones of its key with it; without it, the view halts there.",
    )
    ca_file: str = Field(
        default="", description="PEM file of the CA of its certificate; empty: a public one."
    )
    views: tuple[ViewName, ...] = Field(
        default=(), description="Granted views to deliver; all of them when not given."
    )


AnyDelivery = Annotated[
    PostgresDelivery | ClickhouseDelivery | FilesDelivery | WebhookDelivery, Field(discriminator="kind")
]
"""A delivery of any kind."""


class Quotas(Model):
    """What Kafka lets a subscriber take of each broker before it is slowed down."""

    consumer_byte_rate: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Bytes a second that it reads."
    )
    producer_byte_rate: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Bytes a second that it writes, into topics that are not the bus's."
    )
    request_percentage: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Percent of the time of one of the broker's threads; of several threads more than 100.",
    )


class Subscriber(Model):
    """A Kafka principal that reads views."""

    department: Name = Field(description="Department that the data goes to.")
    label: Label = Field(description="Name shown in the console.")
    delivery: AnyDelivery | None = Field(
        default=None,
        description="Store of its own that `exchange deliver` fills; without it, Kafka alone is read.",
    )
    existing: bool = Field(
        default=False,
        description="The Kafka user was there before the bus: its password, its quotas that are not named "
        "here, and its access to what is not the bus's are left as they are.",
    )
    quotas: Quotas | None = Field(
        default=None, description="Kafka's quotas of its user, which also hold for `exchange deliver`."
    )
    pull_keys_env: EnvName | None = Field(
        default=None,
        description="Name of the secret that holds the hashes of its API keys for HTTP pull, made by "
        "`exchange pull-key`; without it the subscriber cannot pull. See docs/pull.md.",
    )


ExpectedRecords = Annotated[int, Field(ge=1, le=10**12)]


class Grant(Model):
    """One subscriber may read one view, for a purpose, until a date."""

    subscriber: PrincipalName = Field(description="Who may read.")
    view: ViewName = Field(description="What may be read.")
    purpose: str = Field(
        default="", description="What the data is for; required where sharing is conditional."
    )
    legal_basis: str = Field(
        default="", description="Law, regulation or approval; required where sharing is conditional."
    )
    until: Annotated[dt.date | None, BeforeValidator(_only_dates)] = Field(
        default=None, description="Last day on which it holds; no end when not given."
    )
    expected_records_per_day: ExpectedRecords | None = Field(
        default=None,
        description="How many records of the view it is expected to take, for a rule of `watch`.",
    )

    def holds_on(self, day: dt.date) -> bool:
        """Return whether the grant is in force on a day."""
        return self.until is None or day <= self.until


Role = Literal["requester", "steward", "authority", "operations", "auditor", "administrator"]


class Person(Model):
    """Somebody who asks for views, or decides on requests, for departments."""

    label: Label = Field(description="Name shown in the console.")
    roles: dict[Role, tuple[Name, ...]] = Field(
        description="Role → departments it holds for: `requester` of the receiving department, `steward` and "
        "`authority` (the share authority) of the department that owns the source; `operations`, `auditor` "
        "and `administrator` decide nothing and see everything."
    )


class Group(Model):
    """A group of the identity provider, and what its members are here."""

    roles: dict[Role, tuple[Name, ...]] = Field(description="Role → departments, as of a person.")


class Governance(Model):
    """Within which time something is decided or mended, in working days of the Chinese calendar."""

    steward_days: Annotated[int, Field(ge=1, le=250)] = Field(
        default=10, description="Working days that a steward has."
    )
    authority_days: Annotated[int, Field(ge=1, le=250)] = Field(
        default=5, description="Working days that the share authority has."
    )
    catalogue_days: Annotated[int, Field(ge=1, le=250)] = Field(
        default=20,
        description="Working days within which an entry of the catalogue follows a change of its table or "
        "contract.",
    )
    objection_days: Annotated[int, Field(ge=1, le=250)] = Field(
        default=10, description="Working days within which a steward answers an objection to a value."
    )
    correction_days: Annotated[int, Field(ge=1, le=250)] = Field(
        default=10, description="Working days within which an answered objection is corrected or rejected."
    )
    reminder_days: Annotated[int, Field(ge=0, le=250)] = Field(
        default=2, description="Working days before a deadline from which it is reminded of."
    )
    escalation_days: Annotated[int, Field(ge=1, le=250)] = Field(
        default=5, description="Working days past a deadline from which it is escalated."
    )
    authority_from_grade: Annotated[int, Field(ge=1, le=5)] = Field(
        default=4,
        description="Grade of a field (`classification`) from which a view that shows anything of it, other "
        "than a token, needs the share authority too; 5: none does.",
    )
    holidays: tuple[Annotated[dt.date, BeforeValidator(_only_dates)], ...] = Field(
        default=(),
        description="Days off besides the calendar's; for a year that it does not know yet.",
    )
    workdays: tuple[Annotated[dt.date, BeforeValidator(_only_dates)], ...] = Field(
        default=(), description="Weekend days that are worked, besides the calendar's."
    )


class Topology(Model):
    """The bus as one file declares it."""

    departments: dict[Name, Department] = Field(description="Public bodies by their short name.")
    systems: dict[Name, AnySystem] = Field(description="Sources by their short name.")
    resources: dict[ResourceName, Resource] = Field(description="Shared tables, named `<domain>.<resource>`.")
    views: dict[ViewName, ViewSpec] = Field(
        default={}, description="What subscribers can see, named `<domain>.<resource>.<view>`."
    )
    subscribers: dict[PrincipalName, Subscriber] = Field(
        default={}, description="Readers, each with its own Kafka user of that name."
    )
    grants: tuple[Grant, ...] = Field(default=(), description="Who may read which view.")
    people: dict[PrincipalName, Person] = Field(
        default={}, description="Who asks for views and who decides; see docs/requests.md."
    )
    groups: dict[str, Group] = Field(
        default={},
        description="Groups of the identity provider: where any is declared, whoever logs in there has the "
        "roles of the groups, and none from `people`; see docs/identity.md.",
    )
    governance: Governance = Field(
        default=Governance(), description="Deadlines of requests, objections and the catalogue."
    )
    alerts: Alerting = Field(default=Alerting(), description="When to alert, and whom; see docs/alerts.md.")
    watch: dict[Name, AnyWatchRule] = Field(
        default={}, description="What of a subscriber's use is told, or stopped, by `exchange watch`."
    )

    def with_views(self, views: Mapping[str, ViewSpec]) -> Self:
        """Return it with further views; one that it declares stays as it is declared."""
        further = {name: view for name, view in views.items() if name not in self.views}
        if not further:
            return self
        copied = self.model_copy(update={"views": self.views | further})
        copied.__dict__.pop("views_by_resource", None)  # a copy takes what was cached along
        return copied

    def databases(self) -> dict[str, System]:
        """Return the systems that are databases."""
        return {name: system for name, system in self.systems.items() if isinstance(system, System)}

    def publication(self, system: str) -> str:
        """Return the publication of a database."""
        return self.databases()[system].publication or publication_name(system)

    def slot(self, system: str) -> str:
        """Return the replication slot of a database."""
        return self.databases()[system].slot or slot_name(system)

    def contract_name(self, resource: str) -> str:
        """Return the name of a resource's contract."""
        return self.resources[resource].contract or resource

    def steward_department(self, resource: str) -> str:
        """Return the department whose steward answers for a resource."""
        return self.systems[self.resources[resource].system].department

    def source_departments(self) -> tuple[str, ...]:
        """Return the departments that own a captured resource; each needs a steward key."""
        return tuple(sorted({self.steward_department(name) for name in self.resources}))

    def resources_of(self, system: str) -> dict[str, Resource]:
        """Return the resources captured from a system."""
        return {name: resource for name, resource in self.resources.items() if resource.system == system}

    @cached_property
    def views_by_resource(self) -> dict[str, dict[str, ViewSpec]]:
        """The views of all resources that have some, as `views_of` tells them of one."""
        found: dict[str, dict[str, ViewSpec]] = {}
        for name, view in self.views.items():
            found.setdefault(view.resource, {})[name.rpartition(".")[2]] = view
        return found

    def views_of(self, resource: str) -> dict[str, ViewSpec]:
        """Return the views of a resource by the last part of their names."""
        return self.views_by_resource.get(resource, {})

    def granted_views(self, subscriber: str, today: dt.date) -> tuple[str, ...]:
        """Return the views a subscriber may read on a day."""
        held = (grant for grant in self.grants if grant.subscriber == subscriber and grant.holds_on(today))
        return tuple(sorted({grant.view for grant in held}))

    def expected_records_per_day(self, subscriber: str, view: str) -> int | None:
        """Return how many records of a view a subscriber's grants expect; None where they say nothing."""
        held = (one for one in self.grants if (one.subscriber, one.view) == (subscriber, view))
        return max(
            (one.expected_records_per_day for one in held if one.expected_records_per_day), default=None
        )

    def delivered_views(self, subscriber: str, today: dt.date) -> tuple[str, ...]:
        """Return the views that are delivered to a subscriber's own store on a day."""
        delivery = self.subscribers[subscriber].delivery
        if delivery is None:
            return ()
        granted = self.granted_views(subscriber, today)
        return tuple(view for view in granted if not delivery.views or view in delivery.views)

    def quotas(self, subscriber: str) -> dict[str, float]:
        """Return the quotas that are declared for a subscriber, by Kafka's names."""
        declared = self.subscribers[subscriber].quotas
        return {} if declared is None else declared.model_dump(exclude_none=True)

    def pull_keys(self) -> dict[str, str]:
        """Return the subscribers that may pull over HTTP, each with the name of its keys' secret."""
        named = ((name, subscriber.pull_keys_env) for name, subscriber in self.subscribers.items())
        return {name: secret for name, secret in named if secret is not None}

    def data_topics(self) -> dict[str, str]:
        """Return every data topic and the resource it belongs to."""
        topics = {raw_topic(r.system, r.table): name for name, r in self.resources.items()}
        topics |= {quarantine_topic(name): name for name in self.resources}
        for name, view in self.views.items():
            topics[view_topic(view.resource, name.rpartition(".")[2])] = view.resource
        return topics
