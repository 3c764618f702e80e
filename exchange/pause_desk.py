"""Connectors, paused and resumed by a person: who may, and noted with the decisions."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from exchange.cluster import ADMIN
from exchange.errors import GovernanceError
from exchange.governance.authority import expect_operator
from exchange.governance.noting import attempt, carried_out
from exchange.governance.store import Decision, Store
from exchange.pauses import PAUSES, Pause, Pauses, Wish
from exchange.plan_topic import read_plan
from exchange.settings import Settings
from exchange.topology.model import Topology

Act = Literal["pause", "resume"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants of a system's connector, and why."""

    system: str
    act: Act
    reason: str


def order(
    settings: Settings,
    store: Store,
    topology: Topology | None,
    actor: str,
    asked: Asked,
    now: dt.datetime,
) -> Pause:
    """Pause a connector, or have it go on; it takes that up within a second or so, also when started later.

    topology: in which the actor has the roles in which they act; None: as of `expect_operator`.

    Raises: NotAllowedError unless they run the bus or are steward of the system's department; GovernanceError
    without a reason for a pause, and when it is paused, or not, already; PartError or TransientError when
    Kafka does not take it.
    """
    tried = attempt(actor, asked.act, 0, now, about=f"connector {asked.system}", reason=asked.reason)
    return carried_out(store, tried, _given(settings, topology, actor, asked, now), _noted)


def _given(
    settings: Settings, topology: Topology | None, actor: str, asked: Asked, now: dt.datetime
) -> Callable[[], Pause]:
    def give() -> Pause:
        expect_operator(topology, actor, asked.system)
        client = settings.kafka_client(ADMIN)
        with Pauses(client, asked.system) as pauses:
            known = pauses.read()
        if asked.act == "resume":
            wanted = _resumed(asked, known)
        else:
            _expect_planned(settings, asked.system)
            wanted = _paused(asked, known, actor, now)
        PAUSES.give(client, asked.system, wanted)
        return wanted

    return give


def _paused(asked: Asked, known: Pause | None, actor: str, now: dt.datetime) -> Pause:
    if not asked.reason.strip():
        msg = f"connector {asked.system}: a reason is wanted, which others read while it is paused"
        raise GovernanceError(msg)
    if known is not None and known.is_wanted:
        msg = (
            f"connector {asked.system} is paused already, by {known.by}; `exchange connector status` says why"
        )
        raise GovernanceError(msg)
    return Pause(
        operation=secrets.token_hex(4),
        wish=Wish.PAUSE,
        by=actor,
        since_ms=int(now.timestamp() * 1000),
        reason=asked.reason.strip(),
    )


def _resumed(asked: Asked, known: Pause | None) -> Pause:
    if known is None or not known.is_wanted:
        msg = f"connector {asked.system} is not paused; `exchange status` says how it is"
        raise GovernanceError(msg)
    return known.model_copy(update={"wish": Wish.RUN})


def _expect_planned(settings: Settings, system: str) -> None:
    plan = read_plan(settings.kafka_client(ADMIN))
    if plan is None or all(one.name != system for one in plan.systems):
        msg = f"connector {system}: the published plan has no such system; run `exchange apply` first"
        raise GovernanceError(msg)


def _noted(tried: Decision, given: Pause) -> Decision:
    """Return the decision, with the operation that it is of."""
    return tried.model_copy(update={"outcome": "done", "about": f"{tried.about} {given.operation}"})
