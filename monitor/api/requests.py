"""Requests and decisions over HTTP: the same desk, and the same authorisation, as the commands'."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from exchange.cluster import ADMIN
from exchange.errors import ExchangeError
from exchange.governance.certify import certify, problem_of, text_of
from exchange.governance.desk import OPEN, Desk
from exchange.governance.export import csv_lines, decisions_after
from exchange.governance.force import CHANGING_ACCESS, give_access
from exchange.governance.request import Event, State
from exchange.governance.request import Request as Stored
from exchange.governance.store import Decision, done_to
from exchange.identity.caller import Caller, acting, sees_request
from monitor.api import asking, problem
from monitor.api.described import described, history, waits
from monitor.api.gate import caller_of
from monitor.api.models import Problem
from monitor.api.problem import Refused
from monitor.api.request_models import (
    Act,
    Certified,
    Decisions,
    DecisionsParams,
    Described,
    Detail,
    Done,
    Draft,
    Happened,
    OneDecision,
    Outcome,
    Outcomes,
    Requests,
    RequestsParams,
    SeveralDecisions,
    Word,
)
from monitor.api.versions import IfMatch, tag, version_of
from monitor.api.waiting import first_due_first, page
from monitor.identity import Identity, now

_EVENTS: Final[dict[str, Event]] = {
    "submit": Event.SUBMIT,
    "approve": Event.APPROVE,
    "return": Event.RETURN,
    "withdraw": Event.WITHDRAW,
    "end": Event.REVOKE,
}
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    code: {"model": Problem} for code in (401, 403, 404, 409, 412)
}

Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="Number of the request.")]


class OnlineDesk:
    """The desk by way of the API: what is decided gives or takes access before the answer."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.turn = threading.RLock()
        """Held while access in Kafka is made what the grants say, from before a decision that changes it: no
        sweep carries one out before its answer can tell what came of it."""
        self.soon: Callable[[bool], None] = lambda _sweep: None
        """Has the outbox brought into Kafka behind the answer, and a sweep done where access failed."""

    def desk(self, caller: Caller) -> Desk:
        """Return the desk at which the caller has their roles, by the topology as it is now."""
        topology, contracts = self.identity.declared.current()
        return Desk(self.identity.store(), acting(topology, caller), contracts)

    def shown(self, caller: Caller, states: Iterable[State] = ()) -> list[Stored]:
        """Return the requests that the caller may see, newest first."""
        topology = self.identity.declared.known()
        with self.identity.store().change() as change:
            found = change.requests(states)
        return [one for one in reversed(found) if sees_request(topology, caller, one)]

    def described(self, caller: Caller, requests: Iterable[Stored]) -> list[Described]:
        """Return requests as they are shown to a caller."""
        topology = acting(self.identity.declared.known(), caller)
        with self.identity.store().change() as change:
            renewed = frozenset(one.renews for one in change.requests(OPEN))
        return [described(one, topology, caller.name, now(), renewed) for one in requests]

    def waiting(self, caller: Caller, requests: Iterable[Stored]) -> list[Described]:
        """Return those of some requests that wait for a caller, first due first."""
        found = (one for one in self.described(caller, requests) if waits(one))
        return first_due_first(found, lambda one: one.id)

    def detail(self, caller: Caller, request: Stored) -> Detail:
        """Return a request as it is shown, with its history and its certificate."""
        settings = self.identity.settings
        with self.identity.store().beside() as connection:
            done = done_to(connection, request.id)
        certificate = None
        if request.certificate is not None:
            told = {name: str(request.certificate.get(name, "")) for name in Certified.model_fields}
            certificate = Certified(**told | {"problem": problem_of(settings, request)})
        shown = self.described(caller, [request])[0]
        return Detail(**shown.model_dump(), history=history(Happened, done), certificate=certificate)

    @contextmanager
    def relayed(self) -> Iterator[None]:
        """Have what is decided or refused within brought into Kafka, behind the answer.

        Raises: ConfigError without the admin's password, without which none of it would be.
        """
        self.identity.settings.kafka_client(ADMIN)
        try:
            yield
        finally:
            self.soon(False)

    def carry_out(self, caller: Caller, do: Callable[[Desk], Stored]) -> Done:
        """Do something, and bring it into force; `notes` tell what is not in force yet, and why.

        Raises: GovernanceError when it is refused, which is written down too.
        """
        with self.relayed():
            desk = self.desk(caller)
            after = do(desk)
        notes = self._give_access(after.subscriber) if after.state in CHANGING_ACCESS else []
        if after.state == State.REVOKED and after.certificate is None:
            after, more = self._certified(caller, desk, after)
            notes += more
        return Done(**self.described(caller, [after])[0].model_dump(), notes=tuple(notes))

    def certify(self, caller: Caller, desk: Desk, id_: int) -> Stored:
        """Certify the end of a grant. Raises: ExchangeError when it cannot be."""
        topology = self.identity.declared.current()[0]
        with self.turn:
            return certify(self.identity.settings, topology, desk, caller.name, id_, now())

    def _certified(self, caller: Caller, desk: Desk, ended: Stored) -> tuple[Stored, list[str]]:
        try:
            return self.certify(caller, desk, ended.id), []
        except ExchangeError as error:
            return ended, [f"ended, and not certified: {error}"]
        finally:
            self.soon(False)

    def _give_access(self, subscriber: str) -> list[str]:
        topology = self.identity.declared.current()[0]
        try:
            with self.turn:
                return give_access(self.identity.settings, topology, [subscriber])
        except ExchangeError as error:
            self.soon(True)
            return [f"{error}; the next sweep tries again"]


def add(app: FastAPI, online: OnlineDesk) -> None:
    """Add requests and decisions."""
    asking.add(app, online.identity)
    _add_reading(app, online)
    _add_doing(app, online)
    _add_decisions(app, online.identity)


def _add_reading(app: FastAPI, online: OnlineDesk) -> None:
    @app.get("/api/requests", tags=["requests"], responses=_ERRORS)
    def requests(given: Annotated[RequestsParams, Query()], asked: Request) -> Requests:
        """List requests, newest first: a requester's own departments', a steward's sources'."""
        caller = caller_of(asked)
        found = [one for one in online.shown(caller, given.state) if given.takes(one)]
        if given.waiting:
            waiting = online.waiting(caller, found)
            return Requests(total=len(waiting), requests=page(waiting, given))
        return Requests(total=len(found), requests=tuple(online.described(caller, page(found, given))))

    @app.get("/api/requests/{id}", tags=["requests"], responses=_ERRORS)
    def request(id: Number, asked: Request, response: Response) -> Detail:
        """Show one request, with the version that a decision on it names."""
        caller = caller_of(asked)
        found = _shown(online, caller, id)
        tag(response, found.version)
        return online.detail(caller, found)

    @app.get(
        "/api/requests/{id}/certificate",
        tags=["requests"],
        response_class=Response,
        responses=_ERRORS | {200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
    )
    def certificate(id: Number, asked: Request) -> Response:
        """Hand out the signed certificate of an ended grant, byte for byte as `revoke-verify` checks it."""
        found = _shown(online, caller_of(asked), id)
        if found.certificate is None:
            raise Refused(404, f"request {id} has no certificate; only a grant that was ended gets one")
        name = f"{found.subscriber}.{found.view}.{id}.json"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(text_of(found), media_type="application/json", headers=headers)


def _shown(online: OnlineDesk, caller: Caller, id_: int) -> Stored:
    found = next((one for one in online.shown(caller) if one.id == id_), None)
    if found is None:
        raise Refused(404, f"there is no request {id_}, or it is not yours to see")
    return found


def _add_doing(app: FastAPI, online: OnlineDesk) -> None:
    @app.post("/api/requests", tags=["requests"], status_code=201, responses=_ERRORS)
    def new(draft: Draft, asked: Request) -> Done:
        """Draft a request for a view."""
        wanted = draft.asked()
        caller = caller_of(asked)
        return online.carry_out(caller, lambda desk: desk.new(caller.name, wanted, now()))

    @app.post("/api/requests/decisions", tags=["requests"], responses=_ERRORS)
    def decide(given: SeveralDecisions, asked: Request) -> Outcomes:
        """Decide on several requests, each for itself: what one is refused does not stop the others."""
        caller = caller_of(asked)
        return Outcomes(outcomes=tuple(_outcome(online, caller, one) for one in given.decisions))

    @app.post("/api/requests/{id}/{act}", tags=["requests"], responses=_ERRORS)
    def do(
        id: Number,
        act: Word,
        asked: Request,
        response: Response,
        given: Act | None = None,
        if_match: IfMatch = None,
    ) -> Done:
        """Do something to the version of a request that was shown: If-Match or `version`; renew has none."""
        caller, given = caller_of(asked), given or Act()
        version = version_of(given.version, if_match, is_needed=act not in ("renew", "certify"))
        done = _act(online, caller, id, act, given, version)
        tag(response, done.version)
        return done


def _act(online: OnlineDesk, caller: Caller, id_: int, act: Word, given: Act, version: int) -> Done:
    if act == "certify":
        return online.carry_out(caller, lambda desk: online.certify(caller, desk, id_))
    if act == "renew":
        return online.carry_out(caller, lambda desk: desk.renew(caller.name, id_, given.until, now()))
    event = _EVENTS[act]
    with online.turn:
        return online.carry_out(
            caller,
            lambda desk: desk.act(
                caller.name, id_, event, version, now(), reason=given.reason, changes=given.changes()
            ),
        )


def _outcome(online: OnlineDesk, caller: Caller, one: OneDecision) -> Outcome:
    given = Act(version=one.version, reason=one.reason)
    try:
        done = _act(online, caller, one.request, one.act, given, one.version)
    except ExchangeError as error:
        return Outcome(request=one.request, status=problem.status_of(error), detail=str(error))
    return Outcome(request=one.request, status=200, detail="; ".join(done.notes), after=done)


def _add_decisions(app: FastAPI, identity: Identity) -> None:
    csv_answer = {"content": {"text/csv": {"schema": {"type": "string"}}}}

    @app.get(
        "/api/decisions", tags=["requests"], response_model=Decisions, responses=_ERRORS | {200: csv_answer}
    )
    def decisions(given: Annotated[DecisionsParams, Query()]) -> Any:
        """List decisions and refused attempts, oldest or newest first; `next` asks for more."""
        if given.format == "csv":
            headers = {"Content-Disposition": 'attachment; filename="decisions.csv"'}
            return StreamingResponse(
                csv_lines(_found(identity, given)), headers=headers, media_type="text/csv"
            )
        shown: list[Decision] = []
        for one in _found(identity, given):
            shown.append(one)
            if len(shown) == given.limit:
                break
        following = shown[-1].sequence if len(shown) == given.limit else None
        return Decisions(decisions=tuple(shown), next=following)


def _found(identity: Identity, given: DecisionsParams) -> Iterator[Decision]:
    newest = given.order == "newest"
    return (
        one for one in decisions_after(identity.store(), given.after, newest_first=newest) if given.takes(one)
    )
