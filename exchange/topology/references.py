"""What the sections of a topology must say about one another, beyond what each model checks for itself.

Every check yields findings: where (keys and indices), what is wrong, what is allowed. Checks work on the
well-formed entries; names are looked up in the whole file: a broken entry makes no other look unknown.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from exchange.contract import Contract
from exchange.errors import ConfigError
from exchange.files.problem import Steps
from exchange.plan import quarantine_topic, raw_topic, view_topic
from exchange.suggest import hint, listing
from exchange.topology.debezium import debezium_problems
from exchange.topology.delivery import delivery_problems
from exchange.topology.model import HttpSystem, System, Topology
from exchange.topology.people import people_problems
from exchange.topology.push import push_problems
from exchange.topology.watch import watch_problems
from exchange.view import ViewSpec, compile_view

MAX_TOPIC_LENGTH: Final = 249
"""Source: Apache Kafka, org.apache.kafka.common.internals.Topic.MAX_NAME_LENGTH."""

_RESERVED_NAMES: Final = frozenset({"admin", "worker", "monitor", "pull"})
_RESERVED_BEGINNINGS: Final = ("connector-", "deliver-", "redrive-", "steward-")


REFERENCES: Final = (
    ("systems", "department", "departments"),
    ("resources", "system", "systems"),
    ("views", "resource", "resources"),
    ("subscribers", "department", "departments"),
    ("grants", "subscriber", "subscribers"),
    ("grants", "view", "views"),
)
"""(section, key of its entries, section in which the key's value must be declared)"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem, or a warning; `key` points at the key instead of the value."""

    steps: Steps
    message: str
    key: bool = False
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """What the checks look at: the well-formed entries, and the whole file as plain values.

    `contracts` is None when they could not be loaded: then nothing is said about them.
    """

    topology: Topology
    data: Mapping[str, Any]
    contracts: Mapping[str, Contract] | None
    today: dt.date

    def declared(self, section: str) -> frozenset[str]:
        """Return the names of a section's entries, well formed or not."""
        entries = self.data.get(section)
        return frozenset(entries) if isinstance(entries, dict) else frozenset()


def findings(given: Given) -> Iterator[Finding]:
    """Yield everything that is wrong across the sections."""
    for check in CHECKS:
        yield from check(given)


def check_references(given: Given) -> Iterator[Finding]:
    """See that every name that is used is declared."""
    for section, attribute, target in REFERENCES:
        for place, entry in _entries(given.data.get(section)):
            name = entry.get(attribute) if isinstance(entry, dict) else None
            if isinstance(name, str) and name not in given.declared(target):
                message = unknown(name, target, given.declared(target))
                yield Finding((section, place, attribute), message)


def _entries(section: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(section, dict):
        yield from section.items()
    elif isinstance(section, list):
        yield from enumerate(section)


def unknown(name: str, section: str, allowed: frozenset[str]) -> str:
    """Return the message for a name that a section doesn't declare."""
    return f"'{name}' is not among the {section} ({listing(allowed)}).{hint(name, allowed)}"


def check_systems(given: Given) -> Iterator[Finding]:
    """No two systems share a replication slot or a publication, which are PostgreSQL's alone."""
    topology = given.topology
    for system, declared in topology.databases().items():
        for attribute in ("slot", "publication", "protect_wal_bytes", "protect_by"):
            if declared.kind != "postgres" and attribute in declared.model_fields_set:
                message = f"a {declared.kind} system has no {attribute}, only postgres has; take it out"
                yield Finding(("systems", system, attribute), message, key=True)
    for attribute, name_of in (("slot", topology.slot), ("publication", topology.publication)):
        first: dict[str, str] = {}
        for system, declared in topology.databases().items():
            if declared.kind != "postgres":
                continue
            name = name_of(system)
            other = first.setdefault(name, system)
            if len(name) > 63:
                message = f"{attribute} '{name}' is longer than PostgreSQL's 63 characters; set {attribute}"
                yield Finding(("systems", system, attribute), message, key=True)
            if other != system:
                message = f"{attribute} '{name}' is that of system '{other}' too; each system needs its own"
                yield Finding(("systems", system, attribute), message)


def check_tables(given: Given) -> Iterator[Finding]:
    """See that a table is captured by one resource only, and that a resource has a contract."""
    topology = given.topology
    first: dict[tuple[str, str], str] = {}
    for name, resource in topology.resources.items():
        system = topology.systems.get(resource.system)
        database = system.connection_env if isinstance(system, System) else resource.system
        other = first.setdefault((database, resource.table), name)
        if other != name:
            message = f"table {resource.table} is captured as '{other}' already; a table feeds one resource"
            yield Finding(("resources", name, "table"), message)
        wanted = topology.contract_name(name)
        if given.contracts is not None and wanted not in given.contracts:
            known = given.contracts.keys()
            message = f"there is no contract '{wanted}' in avro/ ({listing(known)}).{hint(wanted, known)}"
            yield Finding(("resources", name, "contract"), message, key=resource.contract is None)


def check_push(given: Given) -> Iterator[Finding]:
    """See that systems without a database can be served; exchange/topology/push.py says what that takes."""
    yield from (Finding(*told) for told in push_problems(given.topology, given.contracts))


def check_debezium(given: Given) -> Iterator[Finding]:
    """See that topics of a Debezium can be read; exchange/topology/debezium.py says what that takes."""
    yield from (Finding(*told) for told in debezium_problems(given.topology))


def check_views(given: Given) -> Iterator[Finding]:
    """See that a view is named after its resource and fits the resource's contract."""
    for name, view in given.topology.views.items():
        owner = name.rpartition(".")[0]
        if view.resource in given.declared("resources") and owner != view.resource:
            message = (
                f"view '{name}' is named after {owner}; call it '{view.resource}.{name.rpartition('.')[2]}'"
            )
            yield Finding(("views", name, "resource"), message)
        contract = _contract_of(given, view.resource)
        if contract is None:
            continue
        try:
            compile_view(contract, view, name.rpartition(".")[2])
        except ConfigError as error:
            yield from _view_findings(name, view, str(error))


def _contract_of(given: Given, resource: str) -> Contract | None:
    if given.contracts is None or resource not in given.topology.resources:
        return None
    return given.contracts.get(given.topology.contract_name(resource))


_VIEW_PLACE: Final = re.compile(
    r"view [\w.]+: (?:fields\.(?P<field>[\w.]+)|rows\[(?P<row>\d+)\]): (?P<text>.*)"
)


def _view_findings(name: str, view: ViewSpec, text: str) -> Iterator[Finding]:
    """Yield one finding a line of the view compiler's error, at the field or row condition that it names."""
    for line in text.splitlines():
        place = _VIEW_PLACE.fullmatch(line)
        if place is None:
            yield Finding(("views", name), line.partition(": ")[2], key=True)
        elif place["row"] is not None:
            yield Finding(("views", name, "rows", int(place["row"]), "field"), place["text"])
        elif place["field"] in view.fields:
            unknown_field = place["text"].startswith("unknown")
            yield Finding(("views", name, "fields", place["field"]), place["text"], key=unknown_field)
        else:
            yield Finding(("views", name, "fields"), f"{place['field']}: {place['text']}", key=True)


def check_principals(given: Given) -> Iterator[Finding]:
    """See that no subscriber takes one of the bus's own Kafka users or another's password variable."""
    secrets: dict[str, str] = {}
    for name in given.topology.subscribers:
        if name in _RESERVED_NAMES or name.startswith(_RESERVED_BEGINNINGS):
            users = ", ".join([*sorted(_RESERVED_NAMES), *(f"{start}*" for start in _RESERVED_BEGINNINGS)])
            message = f"'{name}' is a user of the bus itself ({users})"
            yield Finding(("subscribers", name), message, key=True)
            continue
        folded = name.replace("-", "_")
        other = secrets.setdefault(folded, name)
        if other != name:
            variable = f"EXCHANGE_KAFKA_PASSWORD_{folded.upper()}"
            message = f"'{name}' and '{other}' would share the password variable {variable}; rename one"
            yield Finding(("subscribers", name), message, key=True)
        elif folded.startswith(("connector_", "deliver_", "redrive_", "steward_")):
            message = f"'{name}' would share a password variable with one of the bus's own users; rename it"
            yield Finding(("subscribers", name), message, key=True)


def check_pull(given: Given) -> Iterator[Finding]:
    """See that a key tells one subscriber or system only."""
    systems = given.topology.systems.items()
    first = {
        system.keys_env: f"system '{name}'" for name, system in systems if isinstance(system, HttpSystem)
    }
    for name, secret in given.topology.pull_keys().items():
        other = first.setdefault(secret, f"subscriber '{name}'")
        if other != f"subscriber '{name}'":
            message = f"pull_keys_env is that of {other} too; a key must be one reader's alone"
            yield Finding(("subscribers", name, "pull_keys_env"), message)


def check_topics(given: Given) -> Iterator[Finding]:
    """Topic names fit Kafka and stay different where Kafka takes '.' and '_' for the same character.

    Source: Apache Kafka, Topic.hasCollision: names that differ only in these collide as metric names.
    """
    first: dict[str, tuple[str, Steps]] = {}
    for topic, steps in _topics(given.topology):
        if len(topic) > MAX_TOPIC_LENGTH:
            message = f"its topic {topic[:40]}… has {len(topic)} characters; Kafka takes {MAX_TOPIC_LENGTH}"
            yield Finding(steps, message, key=True)
        other, other_steps = first.setdefault(topic.replace(".", "_"), (topic, steps))
        if other != topic and other_steps != steps:
            message = f"topic {topic} collides with {other}: Kafka takes '.' and '_' for the same; rename one"
            yield Finding(steps, message, key=True)


def _topics(topology: Topology) -> Iterator[tuple[str, Steps]]:
    for name, resource in topology.resources.items():
        yield raw_topic(resource.system, resource.table), ("resources", name)
        yield quarantine_topic(name), ("resources", name)
    for name, view in topology.views.items():
        yield view_topic(view.resource, name.rpartition(".")[2]), ("views", name)


def check_grants(given: Given) -> Iterator[Finding]:
    """Grants follow the share attribute of their resource, none is given twice, expired ones are shown."""
    topology = given.topology
    first: dict[tuple[str, str], int] = {}
    for index, grant in enumerate(topology.grants):
        other = first.setdefault((grant.subscriber, grant.view), index)
        if other != index:
            message = (
                f"'{grant.subscriber}' holds '{grant.view}' by grant {other + 1} already; keep one of them"
            )
            yield Finding(("grants", index, "view"), message)
        if not grant.holds_on(given.today):
            message = (
                f"the grant ended on {grant.until}; '{grant.subscriber}' gets no access to '{grant.view}'"
            )
            yield Finding(("grants", index, "until"), message, warning=True)
        view = topology.views.get(grant.view)
        resource = topology.resources.get(view.resource) if view else None
        if resource is None:
            continue
        if resource.share == "none":
            message = f"resource '{view.resource if view else ''}' has share: none; it cannot be granted"
            yield Finding(("grants", index, "view"), message)
        if resource.share == "conditional":
            for wanted in ("purpose", "legal_basis"):
                if not getattr(grant, wanted).strip():
                    message = f"resource has share: conditional; the grant needs a {wanted}"
                    yield Finding(("grants", index, wanted), message)


def check_deliveries(given: Given) -> Iterator[Finding]:
    """See what exchange/topology/delivery.py says that delivery takes."""
    yield from (Finding(*told) for told in delivery_problems(given.topology, given.declared("views")))


def check_people(given: Given) -> Iterator[Finding]:
    """See that roles and whitelists are for departments that are declared."""
    yield from (Finding(*told) for told in people_problems(given.topology, given.declared("departments")))


def check_watch(given: Given) -> Iterator[Finding]:
    """See what exchange/topology/watch.py says of rules."""
    told = watch_problems(given.topology.watch, given.declared("subscribers"))
    yield from (Finding(*one) for one in told)


CHECKS: Final[tuple[Callable[[Given], Iterator[Finding]], ...]] = (
    check_references,
    check_systems,
    check_tables,
    check_push,
    check_debezium,
    check_views,
    check_principals,
    check_pull,
    check_topics,
    check_grants,
    check_deliveries,
    check_people,
    check_watch,
)
