"""What is looked at of a cluster that is to be adopted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from exchange.apply import publish
from exchange.cluster import ADMIN, Acl, Cluster
from exchange.errors import PlanError
from exchange.plan import PLAN_TOPIC, PublishedPlan
from exchange.quotas import Quotas, client_quotas
from exchange.registry import for_writing
from exchange.settings import Settings, kafka_secret

DEPARTMENT = "adopted"
"""Stands for departments that nothing in a cluster tells."""


@dataclass(frozen=True, slots=True)
class Found:
    """A cluster: topic → partitions, subject → its latest schema; known: users whose password is here."""

    topics: Mapping[str, int]
    subjects: Mapping[str, dict[str, Any]]
    users: frozenset[str]
    known: frozenset[str]
    quotas: Quotas
    acls: frozenset[Acl]
    plan: PublishedPlan | None


@dataclass(slots=True)
class Draft:
    """What is written: the sections of topology.yaml, contracts by name, and what could not be declared."""

    departments: dict[str, Any] = field(default_factory=dict)
    systems: dict[str, Any] = field(default_factory=dict)
    resources: dict[str, Any] = field(default_factory=dict)
    views: dict[str, Any] = field(default_factory=dict)
    subscribers: dict[str, Any] = field(default_factory=dict)
    grants: list[Any] = field(default_factory=list)
    alerts: dict[str, Any] = field(default_factory=dict)
    contracts: dict[str, dict[str, Any]] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)


def look(settings: Settings) -> Found:
    """Return what is there.

    Raises: PlanError when another release wrote the plan in force; ExchangeError when a part does not answer.
    """
    cluster = Cluster(settings)
    topics, users = cluster.topics(), cluster.scram_users()
    plan = None
    if PLAN_TOPIC in topics:
        last = publish.read_last(settings.kafka_client(ADMIN))
        if last.version and last.plan is None:
            msg = f"{PLAN_TOPIC}: the plan in force was written by another release; adopt with that one"
            raise PlanError(msg)
        plan = last.plan
    with for_writing(settings) as registry:
        subjects = {name: schema for name, (_, _, schema) in registry.all_latest("").items()}
    known = frozenset(user for user in users if settings.secrets.find(kafka_secret(user)) is not None)
    return Found(topics, subjects, users, known, client_quotas(settings), cluster.acls(), plan)


def to_be_named(name: str) -> dict[str, str]:
    """Return a label in the two languages, for a person to write anew."""
    return {"zh": name, "en": name.replace("_", " ").replace("-", " ").capitalize()}
