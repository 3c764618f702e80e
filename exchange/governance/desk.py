"""What people do with requests: each attempt judged, stored and noted in one transaction.

Commands, and every other way in, come through here; who somebody is they have made sure of before.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from exchange.contract import Contract
from exchange.errors import GovernanceError
from exchange.governance import authority, clock, proposal
from exchange.governance.noting import BUS, attempt, looked, noted
from exchange.governance.request import ENDS, Event, Request, State, Who, advance
from exchange.governance.store import Change, Decision, Store, done_to
from exchange.governance.versioned import judge_version
from exchange.topology.model import Topology
from exchange.view import ViewSpec

OPEN: Final = [state for state in State if state not in ENDS]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a new request asks for. proposed: the view, written as topology.yaml writes one."""

    subscriber: str
    view: str
    purpose: str = ""
    legal_basis: str = ""
    until: dt.date | None = None
    expected_records_per_day: int | None = None
    proposed: Mapping[str, Any] | None = None


class Desk:
    """Takes requests in, and what is decided on them."""

    def __init__(self, store: Store, topology: Topology, contracts: Mapping[str, Contract]) -> None:
        self._store = store
        self._topology = topology
        self._contracts = contracts

    def new(self, actor: str, asked: Asked, now: dt.datetime) -> Request:
        """Store a draft.

        Raises: GovernanceError when the actor may not, the same is asked for or held, or a view that is
        proposed cannot be.
        """

        def judge(change: Change) -> Request:
            authority.expect_role(self._topology, actor, Who.REQUESTER, asked.subscriber, asked.view)
            draft = _draft(actor, asked, now, proposed=self._proposed(change, asked))
            topology = proposal.with_own_view(self._topology, draft)
            authority.expect_shareable(topology, asked.subscriber, asked.view)
            self._expect_first(change, asked)
            return change.add(draft)

        tried = attempt(actor, "new", 1, now, subscriber=asked.subscriber, view=asked.view)
        return noted(self._store, tried, judge, _done)

    def renew(self, actor: str, id_: int, until: dt.date | None, now: dt.datetime) -> Request:
        """Store a draft to take a grant's place. Raises: GovernanceError as `new`, or where no grant is."""

        def judge(change: Change) -> Request:
            held = change.request(id_)
            is_asked_for = any(one.renews == id_ for one in change.requests(OPEN))
            topology = proposal.with_own_view(self._topology, held)
            authority.expect_renewable(topology, actor, held, is_asked_for=is_asked_for)
            asked = Asked(
                held.subscriber,
                held.view,
                held.purpose,
                held.legal_basis,
                until,
                held.expected_records_per_day,
            )
            return change.add(_draft(actor, asked, now, renews=id_, proposed=held.proposed))

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

        changes: what a requester mends in a draft, or in what was returned, as it is submitted; `proposed` as
        in `Asked`, where the request proposes a view.

        Raises: StaleError when another version is there; GovernanceError when it is refused otherwise. The
        attempt is noted with the reason.
        """

        def judge(change: Change) -> Request:
            authority.expect_person(self._topology, actor)
            request = change.request(id_)
            topology = proposal.with_own_view(self._topology, request)
            judge_version(
                lambda: authority.expect_step(topology, actor, request, event),
                request.version,
                version,
                takes_part=authority.takes_part(topology, actor, request.subscriber, request.view),
                what=f"request {id_}",
                command=f"request show {id_}",
            )
            if event == Event.SUBMIT:
                request = self._submitted(change, _mended(request, changes or {}))
            elif event == Event.APPROVE:
                authority.expect_same_view(request, topology)
                self._expect_good_proposal(change, request)
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
            authority.expect_certifiable(proposal.with_own_view(self._topology, ended), actor, ended)
            return ended

        return looked(self._store, attempt(actor, "certify", 0, now, request=id_), look)

    def certified(self, actor: str, id_: int, certificate: Mapping[str, Any], now: dt.datetime) -> Request:
        """Keep the certificate that a grant's access is gone. Raises: GovernanceError as it may not be."""

        def judge(change: Change) -> Request:
            ended = change.request(id_)
            authority.expect_certifiable(proposal.with_own_view(self._topology, ended), actor, ended)
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

    def _proposed(self, change: Change, asked: Asked) -> ViewSpec | None:
        """Return the view that a request is to propose: its own, or the one that its name was granted for."""
        if asked.proposed is None:
            declared = asked.view in self._topology.views
            return None if declared else proposal.known_view(asked.view, change.requests())
        if asked.view in self._topology.views:
            msg = (
                f"view {asked.view} is declared in the topology: ask for it as it is, or propose the other "
                "one under another name"
            )
            raise GovernanceError(msg)
        view = proposal.read_view(asked.view, asked.proposed)
        self._expect_good(change, asked.view, view, 0)
        return view

    def _submitted(self, change: Change, request: Request) -> Request:
        self._expect_good_proposal(change, request)
        topology = proposal.with_own_view(self._topology, request)
        return authority.submitted(request, topology, self._contracts)

    def _expect_good_proposal(self, change: Change, request: Request) -> None:
        if request.proposed is not None:
            self._expect_good(change, request.view, request.proposed, request.id)

    def _expect_good(self, change: Change, name: str, view: ViewSpec, own: int) -> None:
        """Raise GovernanceError unless a view can be proposed under a name, by request `own`."""
        others = [one for one in change.requests() if one.id != own]
        proposal.expect_free(self._topology, name, view, others)
        known = {one.view: one.proposed for one in others if one.proposed and proposal.was_granted(one)}
        proposal.expect_valid(self._topology.with_views(known), self._contracts, name, view)

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


def _draft(
    actor: str, asked: Asked, now: dt.datetime, renews: int = 0, proposed: ViewSpec | None = None
) -> Request:
    return Request(
        subscriber=asked.subscriber,
        view=asked.view,
        proposed=proposed,
        purpose=asked.purpose,
        legal_basis=asked.legal_basis,
        until=asked.until,
        expected_records_per_day=asked.expected_records_per_day,
        requester=actor,
        since=now,
        renews=renews,
    )


def _mended(request: Request, changes: Mapping[str, Any]) -> Request:
    """Return a request as its requester mends it. Raises: GovernanceError when its view cannot be read."""
    given = dict(changes)
    if "proposed" in given:
        if request.proposed is None:
            msg = (
                f"request {request.id} asks for the declared view {request.view}, which is as it is; ask "
                "anew to propose another one, under another name"
            )
            raise GovernanceError(msg)
        given["proposed"] = proposal.read_view(request.view, given["proposed"])
    return request.model_copy(update=given)


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
