"""What people do with objections: each attempt judged, stored and noted in one transaction.

What is noted has neither claim nor answer: they may quote values, and stay in the store.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from exchange.errors import GovernanceError
from exchange.governance import authority
from exchange.governance.noting import attempt, looked, noted
from exchange.governance.objection import ENDS, Event, Objection, Place, State, advance
from exchange.governance.request import Who
from exchange.governance.store import Change, Decision, Store
from exchange.governance.versioned import Versioned, judge_version
from exchange.suggest import did_you_mean
from exchange.topology.model import Topology

_OBJECTIONS: Final = Versioned("objections", Objection, "objection")


@dataclass(frozen=True, slots=True)
class Objected:
    """What a new objection is about: a record of a view, and fields of it."""

    subscriber: str
    view: str
    partition: int
    offset: int
    fields: tuple[str, ...]
    claim: str


class ObjectionDesk:
    """Takes objections in, and what is answered to them."""

    def __init__(self, store: Store, topology: Topology, today: dt.date) -> None:
        """`topology`: with the grants that were approved."""
        self._store = store
        self._topology = topology
        self._today = today

    def expect_may_object(self, actor: str, subscriber: str, view: str, fields: tuple[str, ...]) -> None:
        """Raise GovernanceError unless somebody of the subscriber objects to what it may read."""
        authority.expect_known(self._topology, subscriber=subscriber, view=view)
        authority.expect_role(self._topology, actor, Who.REQUESTER, subscriber, view)
        if view not in self._topology.granted_views(subscriber, self._today):
            msg = f"'{subscriber}' has no grant of '{view}'; an objection is to what one may read"
            raise GovernanceError(msg)
        shown = self._topology.views[view].fields
        for name in fields:
            if name not in shown:
                msg = f"view {view} shows no field {did_you_mean(name[:80], shown)}"
                raise GovernanceError(msg)
        if not fields:
            msg = f"name the fields that are wrong; {view} shows {', '.join(shown)}"
            raise GovernanceError(msg)

    def new(self, actor: str, about: Objected, find: Callable[[], Place], now: dt.datetime) -> Objection:
        """Store an objection.

        find: returns the change that the record shows; called once it is clear that the actor may object.

        Raises: GovernanceError when the actor or the subscriber may not, or the same is objected to already.
        """
        tried = attempt(actor, "new", 1, now, about="objection", subscriber=about.subscriber, view=about.view)

        def look() -> Place:
            self.expect_may_object(actor, about.subscriber, about.view, about.fields)
            return find()

        place = looked(self._store, tried, look)

        def do(change: Change) -> Objection:
            self.expect_may_object(actor, about.subscriber, about.view, about.fields)
            _expect_first(about, place, _OBJECTIONS.all(change))
            objection = Objection(
                subscriber=about.subscriber,
                view=about.view,
                fields=about.fields,
                partition=about.partition,
                offset=about.offset,
                change=place,
                claim=about.claim,
                filer=actor,
                since=now,
            )
            return _OBJECTIONS.add(change, objection)

        return noted(self._store, tried, do, _done)

    def act(
        self,
        actor: str,
        id_: int,
        event: Event,
        version: int,
        now: dt.datetime,
        *,
        answer: str = "",
        find: Callable[[Objection], Place] | None = None,
    ) -> Objection:
        """Do something to the version of an objection that was shown; return the next one.

        find: returns the change that corrects it; called once the actor may decide.

        Raises: StaleError when another version is there; GovernanceError when it is refused otherwise. The
        attempt is noted with the reason.
        """
        tried = attempt(actor, event, version, now, about=f"objection {id_}")

        def look() -> Place | None:
            with self._store.change() as change:
                objection = self._shown(change, actor, id_, event, version)
            return None if find is None else find(objection)

        correction = looked(self._store, tried, look)

        def do(change: Change) -> Objection:
            objection = self._shown(change, actor, id_, event, version)
            after = advance(objection, event, actor, now, answer=answer, correction=correction)
            _OBJECTIONS.replace(change, after)
            return after

        return noted(self._store, tried, do, _done)

    def all(self) -> list[Objection]:
        """Return all objections, oldest first."""
        with self._store.change() as change:
            return _OBJECTIONS.all(change)

    def one(self, id_: int) -> Objection:
        """Return an objection. Raises: GovernanceError when there is none."""
        with self._store.change() as change:
            return _OBJECTIONS.one(change, id_)

    def expect_may_read(self, actor: str, objection: Objection) -> None:
        """Raise GovernanceError unless somebody filed an objection, or decides on it: it may quote values."""
        authority.expect_person(self._topology, actor)
        if actor != objection.filer:
            authority.expect_role(self._topology, actor, Who.STEWARD, objection.subscriber, objection.view)

    def _shown(self, change: Change, actor: str, id_: int, event: Event, version: int) -> Objection:
        """Return an objection. Raises: GovernanceError unless the actor may do this to that version of it."""
        authority.expect_person(self._topology, actor)
        objection = _OBJECTIONS.one(change, id_)
        judge_version(
            lambda: authority.expect_objection_step(self._topology, actor, objection, event),
            objection.version,
            version,
            takes_part=authority.takes_part(self._topology, actor, objection.subscriber, objection.view),
            what=f"objection {id_}",
            command=f"objection show {id_}",
        )
        return objection


def corrected(store: Store) -> list[Objection]:
    """Return the objections that were corrected, oldest first."""
    with store.change() as change:
        return [one for one in _OBJECTIONS.all(change) if one.state == State.CORRECTED]


def _expect_first(about: Objected, place: Place, known: list[Objection]) -> None:
    for other in known:
        same = (other.subscriber, other.view, other.change) == (about.subscriber, about.view, place)
        if same and other.state not in ENDS and set(other.fields) & set(about.fields):
            msg = f"objection {other.id} is to the same fields of the same change ({other.state})"
            raise GovernanceError(msg)


def _done(tried: Decision, after: Objection) -> Decision:
    return tried.model_copy(
        update={
            "outcome": "done",
            "state": after.state.value,
            "subscriber": after.subscriber,
            "view": after.view,
            "about": f"objection {after.id}",
        }
    )
