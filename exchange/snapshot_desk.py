"""Snapshots beside the stream, ordered by a person: who may, and noted with the decisions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from exchange.errors import GovernanceError, PlanError
from exchange.governance.authority import expect_operator
from exchange.governance.noting import attempt, carried_out
from exchange.governance.store import Decision, Store
from exchange.settings import Settings
from exchange.snapshot_orders import SnapshotOrder, Wish
from exchange.snapshots import Snapshots
from exchange.topology.model import Topology

Act = Literal["start", "pause", "resume", "stop"]
_WISHES: Final[dict[Act, Wish]] = {"pause": Wish.PAUSE, "resume": Wish.RUN, "stop": Wish.STOP}


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants of a system. table, view: of `start`; rows_per_s: of `start` and `resume`."""

    system: str
    act: Act
    table: str = ""
    view: str = ""
    rows_per_s: int | None = None


def order(
    settings: Settings,
    store: Store,
    topology: Topology | None,
    actor: str,
    asked: Asked,
    now: dt.datetime,
) -> SnapshotOrder:
    """Give an order and return it; the connector takes it up within a second or so.

    topology: in which the actor has the roles in which they act; None: as of `expect_operator`.

    Raises: NotAllowedError unless they run the bus or are steward of the system's department; GovernanceError
    when it cannot be ordered as things stand; PartError or TransientError when Kafka does not take it.
    """
    about = " ".join(filter(None, ("snapshot", asked.system, asked.table)))
    tried = attempt(actor, asked.act, 0, now, about=about, view=asked.view)
    return carried_out(store, tried, _given(settings, topology, actor, asked), _noted)


def _given(
    settings: Settings, topology: Topology | None, actor: str, asked: Asked
) -> Callable[[], SnapshotOrder]:
    def give() -> SnapshotOrder:
        expect_operator(topology, actor, asked.system)
        snapshots = Snapshots(settings, asked.system)
        try:
            if asked.act == "start":
                return snapshots.start(asked.table, asked.view, asked.rows_per_s or 0)
            return snapshots.wish(_WISHES[asked.act], asked.rows_per_s)
        except PlanError as error:
            raise GovernanceError(str(error)) from None

    return give


def _noted(tried: Decision, given: SnapshotOrder) -> Decision:
    """Return the decision, with the operation and the table that the order is of."""
    system = tried.about.split()[1]
    about = f"snapshot {system} {given.table} {given.operation}"
    return tried.model_copy(update={"outcome": "done", "view": given.view, "about": about})
