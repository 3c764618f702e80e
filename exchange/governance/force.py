"""What was decided, brought into force: access as the grants say, and decisions into Kafka."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from exchange.apply import grants
from exchange.cluster import ADMIN
from exchange.errors import PlanError
from exchange.governance import clock
from exchange.governance.desired import with_approved
from exchange.governance.desk import Desk
from exchange.governance.relay import relay
from exchange.governance.request import Request, State
from exchange.governance.store import Store
from exchange.settings import Settings
from exchange.topology.file import today
from exchange.topology.model import Topology

CHANGING_ACCESS: Final = frozenset({State.GRANTED, State.REVOKED, State.WITHDRAWN})


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep ended, which requests are due (`described`), and what `give_access` told."""

    expired: list[Request]
    due: list[dict[str, Any]]
    notes: list[str]


def into_force(settings: Settings, topology: Topology, store: Store, subscribers: Iterable[str]) -> list[str]:
    """Make access what the grants say, then bring all decisions into Kafka, also when the first fails.

    Returns and raises: as `give_access`.
    """
    try:
        return give_access(settings, topology, subscribers)
    finally:
        relay(store, settings.kafka_client(ADMIN))


def give_access(settings: Settings, topology: Topology, subscribers: Iterable[str]) -> list[str]:
    """Make access what the grants say, for each subscriber also when another's fails.

    topology: as it is declared. A view that a request proposes is brought into force for it.

    Returns a line for each grant that is not in force because it was revoked, and one for each view that
    came into force without its history.

    Raises: PlanError when a granted view is not in force as the topology has it; that one is not given.
    """
    told: list[str] = []
    failed: list[PlanError] = []
    for name in subscribers:
        try:
            told += grants.carry_out(
                settings, lambda: with_approved(settings, topology), name, topology.views.keys()
            )
        except PlanError as error:
            failed.append(error)
    if failed:
        raise PlanError("\n".join(f"decided, but not in force: {error}" for error in failed))
    return told


def sweep(settings: Settings, topology: Topology, desk: Desk, now: dt.datetime) -> Swept:
    """End grants past their last day, make every subscriber's access what its grants say, tell what is due.

    The decisions of it are brought into Kafka by a `relay` behind it. Raises: as `give_access`.
    """
    expired = desk.expire(now, today())
    subscribers = {one.subscriber for one in desk.all([]) if one.version > 1}
    told = give_access(settings, topology, sorted(subscribers & topology.subscribers.keys()))
    described_all = [described(one, topology, now) for one in desk.all([])]
    return Swept(expired, [one for one in described_all if one["notice"] != clock.Notice.NONE], told)


def described(request: Request, topology: Topology, now: dt.datetime) -> dict[str, Any]:
    """Return a request as commands and API show it: its fields, with deadline and what is due."""
    due = clock.deadline(request, topology.governance)
    return request.model_dump(mode="json", exclude={"view_sha256", "certificate"}) | {
        "due": due and due.day.isoformat(),
        "due_is_estimated": bool(due and due.is_estimated),
        "notice": clock.notice(request, now, topology.governance).value,
    }
