"""Who may do what in Kafka: the access rules that follow from a topology. Default is deny.

| principal | may |
| --- | --- |
| connector-<system> | write raw topics, quarantine, accounts; keep positions, receipts; read plan, orders |
| connector of kind debezium | also: read the topics that it is declared on, where they are in this Kafka |
| pull | write the accounts; read the plan, what was revoked and what was corrected; records it reads as the |
|  | subscriber who asks |
| worker | read raw; write share, quarantine and the accounts; read the plan |
| monitor | read the bus's own topics and the quarantine, whose payloads only stewards can open; keep |
|  | `_schemas`; see sizes, group offsets, access rules |
| steward-<department> | read the quarantine of its resources |
| redrive-<department> | for `quarantine redrive`, run by the bus: the same, and read and write raw |
| deliver-<subscriber> | for `exchange deliver`: write the accounts, keep its group's offsets; read the plan |
|  | and what was revoked |
|  | and, for a webhook, keep the list of what is parked |
| <subscriber> | read the views granted to it, in groups named `<subscriber>.…`; nothing else |

`admin` is a super user of the cluster and needs no rule.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Final

from exchange.cluster import SCHEMAS_TOPIC, Acl
from exchange.compacted import reader_group
from exchange.plan import (
    ACCOUNTS_TOPIC,
    CORRECTIONS_TOPIC,
    PARKED_TOPIC,
    PAUSES_TOPIC,
    PLAN_TOPIC,
    POSITIONS_TOPIC,
    RECEIPTS_TOPIC,
    RESNAPSHOTS_TOPIC,
    REVOCATIONS_TOPIC,
    SNAPSHOTS_TOPIC,
    delivery_group,
    quarantine_topic,
    raw_topic,
    view_topic,
)
from exchange.position import loader_id, writer_id
from exchange.topology.model import DebeziumSystem, FilesSystem, HttpSystem, Topology, WebhookDelivery

WORKER: Final = "worker"
MONITOR: Final = "monitor"
PULL: Final = "pull"
STREAM_GROUP: Final = "exchange-stream"
MONITOR_GROUP: Final = "exchange-monitor"
CLUSTER: Final = "kafka-cluster"
"""Source: Apache Kafka, Resource.CLUSTER_NAME: the one name of the cluster as a resource."""


def describe(acl: Acl) -> str:
    """Return a rule as people read it: `READ topic share.population.person.basic`."""
    star = "*" if acl.pattern == "prefixed" else ""
    words = f"{acl.operation.upper()} {acl.resource_type}".replace("_", " ")
    return f"{words} {acl.name}{star}"


def connector(system: str) -> str:
    """Return the Kafka user of a system's connector."""
    return f"connector-{system}"


def steward(department: str) -> str:
    """Return the Kafka user of a department's steward."""
    return f"steward-{department}"


def redriver(department: str) -> str:
    """Return the bus's own Kafka user for re-driving a department's records."""
    return f"redrive-{department}"


def deliverer(subscriber: str) -> str:
    """Return the bus's own Kafka user for delivery into a subscriber's store."""
    return f"deliver-{subscriber}"


def deliverers(topology: Topology) -> tuple[str, ...]:
    """Return the subscribers into whose store the bus delivers."""
    return tuple(name for name, entry in topology.subscribers.items() if entry.delivery is not None)


def principals(topology: Topology) -> tuple[str, ...]:
    """Return every Kafka user the bus needs besides admin, in alphabetical order."""
    return tuple(sorted({*users(topology), *topology.subscribers}))


def users(topology: Topology) -> tuple[str, ...]:
    """Return those of them that the bus itself makes, with a password."""
    made = {name for name, entry in topology.subscribers.items() if not entry.existing}
    users = {WORKER, MONITOR, *made, *([PULL] if topology.pull_keys() else [])}
    users |= {connector(system) for system in topology.systems}
    users |= {deliverer(subscriber) for subscriber in deliverers(topology)}
    for department in topology.source_departments():
        users |= {steward(department), redriver(department)}
    return tuple(sorted(users))


def rules(topology: Topology, today: dt.date) -> frozenset[Acl]:
    """Return all access rules that hold on a day; a grant past its end gives none."""
    found: set[Acl] = {*_worker(), *monitor_rules(), *(_pull() if topology.pull_keys() else [])}
    for system in topology.systems:
        found.update(_connector(topology, system))
    for department in topology.source_departments():
        found.update(_steward(topology, department))
        found.update(_redriver(topology, department))
    for subscriber in topology.subscribers:
        found.update(_subscriber(topology, subscriber, today))
    for subscriber in deliverers(topology):
        found.update(_deliverer(topology, subscriber, today))
    return frozenset(found)


def _connector(topology: Topology, system: str) -> Iterator[Acl]:
    who = connector(system)
    yield from _prefixed(who, "topic", f"raw.{system}.", "write", "describe")
    for resource in topology.resources_of(system):
        yield from _literal(who, "topic", quarantine_topic(resource), "write")
    yield from _literal(who, "topic", ACCOUNTS_TOPIC, "write")
    yield from _literal(who, "topic", POSITIONS_TOPIC, "read", "write")
    declared = topology.systems[system]
    if isinstance(declared, DebeziumSystem) and declared.connection_env is None and declared.engine is None:
        for read in topology.resources_of(system).values():
            yield from _literal(who, "topic", read.topic or "", "read", "describe_configs")
    if isinstance(declared, HttpSystem | FilesSystem):
        yield from _literal(who, "topic", RECEIPTS_TOPIC, "read", "write")
        yield from _literal(who, "transactional_id", loader_id(system), "write", "describe")
    else:
        yield from _literal(who, "topic", SNAPSHOTS_TOPIC, "read")
        yield from _literal(who, "topic", RESNAPSHOTS_TOPIC, "read", "write")
    yield from _literal(who, "topic", PAUSES_TOPIC, "read")
    yield from _literal(who, "topic", PLAN_TOPIC, "read")
    yield from _literal(who, "group", reader_group(who), "describe")
    yield from _literal(who, "transactional_id", writer_id(system), "write", "describe")
    yield Acl(who, "cluster", CLUSTER, "literal", "idempotent_write")


def _worker() -> Iterator[Acl]:
    yield from _prefixed(WORKER, "topic", "raw.", "read")
    yield from _prefixed(WORKER, "topic", "share.", "write")
    yield from _prefixed(WORKER, "topic", "quarantine.", "write")
    yield from _literal(WORKER, "topic", ACCOUNTS_TOPIC, "write")
    yield from _literal(WORKER, "topic", PLAN_TOPIC, "read")
    yield from _literal(WORKER, "group", STREAM_GROUP, "read")
    yield from _literal(WORKER, "group", reader_group(WORKER), "describe")
    yield from _prefixed(WORKER, "transactional_id", "stream-", "write", "describe")


def _pull() -> Iterator[Acl]:
    yield from _literal(PULL, "topic", ACCOUNTS_TOPIC, "write")
    yield from _literal(PULL, "topic", PLAN_TOPIC, "read")
    yield from _literal(PULL, "topic", REVOCATIONS_TOPIC, "read")
    yield from _literal(PULL, "topic", CORRECTIONS_TOPIC, "read")
    yield from _literal(PULL, "group", reader_group(PULL), "describe")


def monitor_rules() -> Iterator[Acl]:
    """Return what the monitor may do; it needs no topology, so `exchange up` can ask for it first."""
    yield from _prefixed(MONITOR, "topic", "_exchange.", "read")
    yield from _literal(MONITOR, "topic", SCHEMAS_TOPIC, "read", "write", "create")
    yield from _prefixed(MONITOR, "topic", "quarantine.", "read")
    for beginning in ("raw.", "share."):
        yield from _prefixed(MONITOR, "topic", beginning, "describe")
    yield from _literal(MONITOR, "group", "*", "describe")
    yield from _literal(MONITOR, "group", MONITOR_GROUP, "read")
    yield Acl(MONITOR, "cluster", CLUSTER, "literal", "describe")


def _steward(topology: Topology, department: str) -> Iterator[Acl]:
    who = steward(department)
    for name in topology.resources:
        if topology.steward_department(name) == department:
            yield from _literal(who, "topic", quarantine_topic(name), "read")
    yield from _prefixed(who, "group", f"{who}.", "read")


def _redriver(topology: Topology, department: str) -> Iterator[Acl]:
    who = redriver(department)
    for name, resource in topology.resources.items():
        if topology.steward_department(name) == department:
            yield from _literal(who, "topic", quarantine_topic(name), "read")
            # read as well: a change is not sent again where a later one of the same row is there already
            yield from _literal(who, "topic", raw_topic(resource.system, resource.table), "read", "write")
    yield from _prefixed(who, "group", f"{who}.", "read")
    yield from _literal(who, "topic", ACCOUNTS_TOPIC, "write")
    yield from _literal(who, "transactional_id", f"redrive-{department}", "write", "describe")


def _subscriber(topology: Topology, subscriber: str, today: dt.date) -> Iterator[Acl]:
    granted = topology.granted_views(subscriber, today)
    for view in granted:
        resource, _, name = view.rpartition(".")
        yield from _literal(subscriber, "topic", view_topic(resource, name), "read")
    if granted or not topology.subscribers[subscriber].existing:
        yield from _prefixed(subscriber, "group", f"{subscriber}.", "read")


def _deliverer(topology: Topology, subscriber: str, today: dt.date) -> Iterator[Acl]:
    who = deliverer(subscriber)
    for view in topology.delivered_views(subscriber, today):
        resource, _, name = view.rpartition(".")
        # Kafka takes offsets of a topic only from those who may read it; the records are read as <subscriber>
        yield from _literal(who, "topic", view_topic(resource, name), "read")
    yield from _prefixed(who, "group", delivery_group(subscriber, ""), "read")
    yield from _literal(who, "topic", ACCOUNTS_TOPIC, "write")
    yield from _literal(who, "topic", PLAN_TOPIC, "read")
    yield from _literal(who, "topic", REVOCATIONS_TOPIC, "read")
    if isinstance(topology.subscribers[subscriber].delivery, WebhookDelivery):
        yield from _literal(who, "topic", PARKED_TOPIC, "read", "write")
    yield from _literal(who, "group", reader_group(who), "describe")
    yield from _prefixed(who, "transactional_id", f"{who}.", "write", "describe")


def _literal(principal: str, resource: str, name: str, *operations: str) -> Iterator[Acl]:
    for operation in operations:
        yield Acl(principal, resource, name, "literal", operation)


def _prefixed(principal: str, resource: str, name: str, *operations: str) -> Iterator[Acl]:
    for operation in operations:
        yield Acl(principal, resource, name, "prefixed", operation)
