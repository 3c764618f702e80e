"""Requests and decisions over HTTP: the same desk, and the same authorisation, as the commands'."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Final

from fastapi import FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from exchange.cluster import ADMIN
from exchange.errors import ExchangeError, StaleError
from exchange.governance.desk import Asked, Desk
from exchange.governance.force import CHANGING_ACCESS, described, give_access
from exchange.governance.request import Event, State
from exchange.governance.request import Request as Stored
from exchange.governance.store import Decision
from exchange.identity.caller import Caller, acting, sees_request
from monitor.api import problem
from monitor.api.gate import caller_of
from monitor.api.models import Problem
from monitor.api.problem import Refused
from monitor.api.request_models import (
    Act,
    Decisions,
    DecisionsParams,
    Described,
    Done,
    Draft,
    OneDecision,
    Outcome,
    Outcomes,
    Requests,
    RequestsParams,
    SeveralDecisions,
    Word,
)
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
_CSV: Final = ("sequence", "at", "actor", "event", "request", "version", "outcome", "state", "subscriber")
_PAGE: Final = 500

Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="Number of the request.")]


class OnlineDesk:
    """The desk by way of the API: what is decided gives or takes access before the answer."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.turn = threading.Lock()
        """Held while access in Kafka is made what the grants say."""
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

    def described(self, request: Stored) -> Described:
        """Return a request as it is shown."""
        return Described(**described(request, self.identity.declared.known(), now()))

    def carry_out(self, caller: Caller, do: Callable[[Desk], Stored]) -> Done:
        """Do something, and bring it into force; `notes` tell what is not in force yet, and why.

        Raises: GovernanceError when it is refused, which is written down too.
        """
        settings = self.identity.settings
        settings.kafka_client(ADMIN)  # without the admin's password nothing could be brought into force
        desk = self.desk(caller)
        try:
            after = do(desk)
        finally:
            self.soon(False)
        notes = self._give_access(after.subscriber) if after.state in CHANGING_ACCESS else []
        return Done(**self.described(after).model_dump(), notes=tuple(notes))

    def _give_access(self, subscriber: str) -> list[str]:
        topology = self.identity.declared.current()[0]
        try:
            with self.turn:
                told = give_access(self.identity.settings, topology, [subscriber])
        except ExchangeError as error:
            self.soon(True)
            return [f"{error}; the next sweep tries again"]
        return [f"not in force: {one}" for one in told]


def add(app: FastAPI, online: OnlineDesk) -> None:
    """Add requests and decisions."""
    _add_reading(app, online)
    _add_doing(app, online)
    _add_decisions(app, online.identity)


def _add_reading(app: FastAPI, online: OnlineDesk) -> None:
    @app.get("/api/requests", tags=["requests"], responses=_ERRORS)
    def requests(given: Annotated[RequestsParams, Query()], asked: Request) -> Requests:
        """List requests, newest first: a requester's own departments', a steward's sources'."""
        found = [one for one in online.shown(caller_of(asked), given.state) if given.takes(one)]
        page = found[given.offset : given.offset + given.limit]
        return Requests(total=len(found), requests=tuple(online.described(one) for one in page))

    @app.get("/api/requests/{id}", tags=["requests"], responses=_ERRORS)
    def request(id: Number, asked: Request, response: Response) -> Described:
        """Show one request, with the version that a decision on it names."""
        found = next((one for one in online.shown(caller_of(asked)) if one.id == id), None)
        if found is None:
            raise Refused(404, f"there is no request {id}, or it is not yours to see")
        response.headers["ETag"] = f'"{found.version}"'
        return online.described(found)


def _add_doing(app: FastAPI, online: OnlineDesk) -> None:
    @app.post("/api/requests", tags=["requests"], status_code=201, responses=_ERRORS)
    def new(draft: Draft, asked: Request) -> Done:
        """Draft a request for a view."""
        wanted = Asked(**draft.model_dump())
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
        if_match: Annotated[str | None, Header(max_length=20, description='Version, like "2".')] = None,
    ) -> Done:
        """Do something to the version of a request that was shown: If-Match or `version`; renew has none."""
        caller, given = caller_of(asked), given or Act()
        try:
            done = _act(online, caller, id, act, given, _version(given, act, if_match))
        except StaleError as error:
            raise Refused(409 if if_match is None else 412, str(error)) from None
        response.headers["ETag"] = f'"{done.version}"'
        return done


def _act(online: OnlineDesk, caller: Caller, id_: int, act: Word, given: Act, version: int) -> Done:
    if act == "renew":
        return online.carry_out(caller, lambda desk: desk.renew(caller.name, id_, given.until, now()))
    event = _EVENTS[act]
    return online.carry_out(
        caller,
        lambda desk: desk.act(
            caller.name, id_, event, version, now(), reason=given.reason, changes=given.changes()
        ),
    )


def _version(given: Act, act: Word, if_match: str | None) -> int:
    tag = (if_match or "").strip('"')
    if if_match is not None and not (tag.isascii() and tag.isdigit()):
        raise Refused(400, 'If-Match: the version that was looked at is wanted, like "2"')
    said = {int(tag)} if tag else set()
    said |= {given.version} if given.version is not None else set()
    if len(said) > 1 or (not said and act != "renew"):
        raise Refused(400, "one version is wanted, as it was looked at: in If-Match, or in the body")
    return said.pop() if said else 0


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
            return StreamingResponse(_lines(_found(identity, given)), headers=headers, media_type="text/csv")
        page: list[Decision] = []
        for one in _found(identity, given):
            page.append(one)
            if len(page) == given.limit:
                break
        following = page[-1].sequence if len(page) == given.limit else None
        return Decisions(decisions=tuple(page), next=following)


def _found(identity: Identity, given: DecisionsParams) -> Iterator[Decision]:
    after = given.after
    while True:
        with identity.store().change() as change:
            ask = change.decisions if given.order == "oldest" else change.newest_decisions
            batch = ask(after, _PAGE)
        if not batch:
            return
        yield from (one for one in batch if given.takes(one))
        after = batch[-1].sequence


def _lines(found: Iterator[Decision]) -> Iterator[str]:
    columns = [*_CSV, "view", "reason", "about"]
    yield _line(columns)
    for one in found:
        yield _line([_harmless(str(getattr(one, name))) for name in columns])


def _line(words: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(words)
    return out.getvalue()


def _harmless(word: str) -> str:
    """Return a cell that no spreadsheet takes for a formula. Source: OWASP, CSV injection."""
    return f"'{word}" if word.startswith(("=", "+", "-", "@", "\t", "\r")) else word
