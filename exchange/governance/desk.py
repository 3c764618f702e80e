"""What people do with requests: each attempt judged, stored and noted in one transaction.

Commands, and every other way in, come through here; who somebody is they have made sure of before.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from exchange.contract import Contract
from exchange.errors import GovernanceError, StaleError
from exchange.governance import authority, clock
from exchange.governance.noting import BUS, attempt, looked, noted
from exchange.governance.request import ENDS, Event, Request, State, Who, advance
from exchange.governance.store import Change, Decision, Store, done_to
from exchange.topology.model import Topology

OPEN: Final = [state for state in State if state not in ENDS]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a new request asks for."""

    subscriber: str
    view: str
    purpose: str = ""
    legal_basis: str = ""
    until: dt.date | None = None
    expected_records_per_day: int | None = None


class Desk:
    """Takes requests in, and what is decided on them."""

    def __init__(self, store: Store, topology: Topology, contracts: Mapping[str, Contract]) -> None:
        self._store = store
        self._topology = topology
        self._contracts = contracts

    def new(self, actor: str, asked: Asked, now: dt.datetime) -> Request:
        """Store a draft. Raises: GovernanceError when the actor may not, or the same is asked for or held."""

        def judge(change: Change) -> Request:
            authority.expect_role(self._topology, actor, Who.REQUESTER, asked.subscriber, asked.view)
            authority.expect_shareable(self._topology, asked.subscriber, asked.view)
            self._expect_first(change, asked)
            return change.add(_draft(actor, asked, now))

        tried = attempt(actor, "new", 1, now, subscriber=asked.subscriber, view=asked.view)
        return noted(self._store, tried, judge, _done)

    def renew(self, actor: str, id_: int, until: dt.date | None, now: dt.datetime) -> Request:
        """Store a draft to take a grant's place. Raises: GovernanceError as `new`, or where no grant is."""

        def judge(change: Change) -> Request:
            held = change.request(id_)
            is_asked_for = any(one.renews == id_ for one in change.requests(OPEN))
            authority.expect_renewable(self._topology, actor, held, is_asked_for=is_asked_for)
            asked = Asked(
                held.subscriber,
                held.view,
                held.purpose,
                held.legal_basis,
                until,
                held.expected_records_per_day,
            )
            return change.add(_draft(actor, asked, now, renews=id_))

        return noted(self._store, attempt(actor, "renew", 0, now, request=id_), judge, _done)

    def act(
        self,
        actor: str,
        id_: int,
        event: Event,
        version: int,
        now: dt.datetime,
        *,
        reason: str = "",
        changes: Mapping[str, Any] | None = None,
    ) -> Request:
        """Do something to the version of a request that was shown; return the next one.

        changes: what a requester mends in a draft, or in what was returned, as it is submitted.

        Raises: GovernanceError when it is refused; the attempt is noted with the reason.
        """

        def judge(change: Change) -> Request:
            authority.expect_person(self._topology, actor)
            request = change.request(id_)
            authority.expect_step(self._topology, actor, request, event)
            if request.version != version:
                msg = (
                    f"request {id_} is at version {request.version}, and version {version} was shown; "
                    f"look at it again with `exchange request show {id_}`"
                )
                raise StaleError(msg)
            if event == Event.SUBMIT:
                request = request.model_copy(update=dict(changes or {}))
                request = authority.submitted(request, self._topology, self._contracts)
            elif event == Event.APPROVE:
                authority.expect_same_view(request, self._topology)
            after = advance(request, event, actor, now, reason)
            change.replace(after)
            if after.state == State.GRANTED and after.renews:
                self._end_renewed(change, after, now)
            return after

        tried = attempt(actor, event, version, now, request=id_, reason=reason)
        return noted(self._store, tried, judge, _done)

    def certifiable(self, actor: str, id_: int, now: dt.datetime) -> Request:
        """Return the request of an ended grant.

        Raises: GovernanceError unless the actor may have it certified; the attempt is noted with the reason.
        """

        def look() -> Request:
            authority.expect_person(self._topology, actor)
            ended = self.one(id_)
            authority.expect_certifiable(self._topology, actor, ended)
            return ended

        return looked(self._store, attempt(actor, "certify", 0, now, request=id_), look)

    def certified(self, actor: str, id_: int, certificate: Mapping[str, Any], now: dt.datetime) -> Request:
        """Keep the certificate that a grant's access is gone. Raises: GovernanceError as it may not be."""

        def judge(change: Change) -> Request:
            ended = change.request(id_)
            authority.expect_certifiable(self._topology, actor, ended)
            after = ended.model_copy(update={"version": ended.version + 1, "certificate": dict(certificate)})
            change.replace(after)
            return after

        return noted(self._store, attempt(actor, "certify", 0, now, request=id_), judge, _done)

    def expire(self, now: dt.datetime, today: dt.date) -> list[Request]:
        """End all grants that are past their last day; return them."""
        ended = []
        with self._store.change() as change:
            for request in change.requests([State.GRANTED]):
                if clock.is_over(request, today):
                    ended.append(_by_the_bus(change, request, Event.EXPIRE, now))
        return ended

    def all(self, states: list[State]) -> list[Request]:
        """Return requests, oldest first; of all states where none is named."""
        with self._store.change() as change:
            return change.requests(states)

    def history(self, id_: int) -> list[Decision]:
        """Return what was done to a request, in order; what was refused is not there."""
        with self._store.beside() as connection:
            return done_to(connection, id_)

    def one(self, id_: int) -> Request:
        """Return a request. Raises: GovernanceError when there is none."""
        with self._store.change() as change:
            return change.request(id_)

    def _expect_first(self, change: Change, asked: Asked) -> None:
        same = (asked.subscriber, asked.view)
        if any((grant.subscriber, grant.view) == same for grant in self._topology.grants):
            msg = f"'{asked.subscriber}' holds '{asked.view}' by a grant of the topology; change it there"
            raise GovernanceError(msg)
        for other in change.requests(OPEN):
            if (other.subscriber, other.view) == same:
                msg = (
                    f"'{asked.subscriber}' has request {other.id} for '{asked.view}' ({other.state}); "
                    "go on with that one, or renew it"
                )
                raise GovernanceError(msg)

    def _end_renewed(self, change: Change, after: Request, now: dt.datetime) -> None:
        held = change.request(after.renews)
        if held.state == State.GRANTED:
            _by_the_bus(change, held, Event.RENEW, now)


def _draft(actor: str, asked: Asked, now: dt.datetime, renews: int = 0) -> Request:
    return Request(
        subscriber=asked.subscriber,
        view=asked.view,
        purpose=asked.purpose,
        legal_basis=asked.legal_basis,
        until=asked.until,
        expected_records_per_day=asked.expected_records_per_day,
        requester=actor,
        since=now,
        renews=renews,
    )


def _by_the_bus(change: Change, request: Request, event: Event, now: dt.datetime) -> Request:
    after = advance(request, event, BUS, now)
    change.replace(after)
    change.note(_done(attempt(BUS, event, request.version, now, request=request.id), after))
    return after


def _done(tried: Decision, after: Request) -> Decision:
    return tried.model_copy(
        update={
            "outcome": "done",
            "request": after.id,
            "state": after.state.value,
            "subscriber": after.subscriber,
            "view": after.view,
        }
    )
