"""A request and the grant that it becomes: states, events, and one table that says what leads where.

draft ─▶ submitted ─▶ at_authority ─▶ granted ─▶ renewed | expired | revoked | withdrawn
│  ▲            │
▼  │            │
returned ◀────────┘              withdrawn: from every state before an end
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, Field, JsonValue

from exchange.errors import GovernanceError, NotAllowedError
from exchange.model import Model
from exchange.topology.model import ExpectedRecords
from exchange.view import ViewSpec


class State(StrEnum):
    """Where a request, or the grant that it became, stands."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    AT_AUTHORITY = "at_authority"
    GRANTED = "granted"
    RETURNED = "returned"
    WITHDRAWN = "withdrawn"
    RENEWED = "renewed"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Event(StrEnum):
    """What can be done to a request; RENEW and EXPIRE are the bus's own."""

    SUBMIT = "submit"
    APPROVE = "approve"
    RETURN = "return"
    WITHDRAW = "withdraw"
    REVOKE = "revoke"
    RENEW = "renew"
    EXPIRE = "expire"


class Route(StrEnum):
    """Whose approval a request needs."""

    DIRECT = "direct"
    STEWARD = "steward"
    AUTHORITY = "authority"


class Who(StrEnum):
    """In which role an event is done."""

    REQUESTER = "requester"
    STEWARD = "steward"
    AUTHORITY = "authority"
    BUS = "bus"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the table: who leads a request of this route from a state to the next."""

    state: State
    event: Event
    routes: frozenset[Route]
    target: State
    who: Who


_ANY: Final = frozenset(Route)
_DIRECT: Final = frozenset({Route.DIRECT})
_DECIDED: Final = frozenset({Route.STEWARD, Route.AUTHORITY})
_STEWARD: Final = frozenset({Route.STEWARD})
_AUTHORITY: Final = frozenset({Route.AUTHORITY})

TABLE: Final = (
    Step(State.DRAFT, Event.SUBMIT, _DIRECT, State.GRANTED, Who.REQUESTER),
    Step(State.DRAFT, Event.SUBMIT, _DECIDED, State.SUBMITTED, Who.REQUESTER),
    Step(State.DRAFT, Event.WITHDRAW, _ANY, State.WITHDRAWN, Who.REQUESTER),
    Step(State.RETURNED, Event.SUBMIT, _DIRECT, State.GRANTED, Who.REQUESTER),
    Step(State.RETURNED, Event.SUBMIT, _DECIDED, State.SUBMITTED, Who.REQUESTER),
    Step(State.RETURNED, Event.WITHDRAW, _ANY, State.WITHDRAWN, Who.REQUESTER),
    Step(State.SUBMITTED, Event.APPROVE, _STEWARD, State.GRANTED, Who.STEWARD),
    Step(State.SUBMITTED, Event.APPROVE, _AUTHORITY, State.AT_AUTHORITY, Who.STEWARD),
    Step(State.SUBMITTED, Event.RETURN, _DECIDED, State.RETURNED, Who.STEWARD),
    Step(State.SUBMITTED, Event.WITHDRAW, _DECIDED, State.WITHDRAWN, Who.REQUESTER),
    Step(State.AT_AUTHORITY, Event.APPROVE, _AUTHORITY, State.GRANTED, Who.AUTHORITY),
    Step(State.AT_AUTHORITY, Event.RETURN, _AUTHORITY, State.RETURNED, Who.AUTHORITY),
    Step(State.AT_AUTHORITY, Event.WITHDRAW, _AUTHORITY, State.WITHDRAWN, Who.REQUESTER),
    Step(State.GRANTED, Event.WITHDRAW, _ANY, State.WITHDRAWN, Who.REQUESTER),
    Step(State.GRANTED, Event.REVOKE, _ANY, State.REVOKED, Who.STEWARD),
    Step(State.GRANTED, Event.RENEW, _ANY, State.RENEWED, Who.BUS),
    Step(State.GRANTED, Event.EXPIRE, _ANY, State.EXPIRED, Who.BUS),
)
"""Every way there is; what stands here on no line is refused."""

ENDS: Final = frozenset({State.WITHDRAWN, State.RENEWED, State.EXPIRED, State.REVOKED})
DECISIONS: Final = frozenset({Event.APPROVE, Event.RETURN, Event.REVOKE})
_WITH_REASON: Final = frozenset({Event.RETURN, Event.REVOKE})


class Request(Model):
    """A request at one version; every change makes the next version."""

    id: int = Field(default=0, description="0: not stored yet.")
    version: int = 1
    state: State = State.DRAFT
    route: Route = Route.AUTHORITY
    subscriber: str
    view: str
    proposed: ViewSpec | None = Field(
        default=None,
        description="The view itself, where no topology declares it; null: one that is declared.",
    )
    purpose: str = ""
    legal_basis: str = ""
    until: dt.date | None = None
    expected_records_per_day: ExpectedRecords | None = None
    requester: str
    approved_by: tuple[str, ...] = ()
    reason: str = Field(default="", description="Why it was returned or revoked.")
    view_sha256: str = Field(default="", description="Of the view as it was when this was submitted.")
    since: AwareDatetime = Field(description="When it came to its state.")
    renews: int = Field(default=0, description="The grant that this one is to take the place of; 0: none.")
    certificate: dict[str, JsonValue] | None = Field(
        default=None, description="Signed: that the access of a grant that was revoked is gone."
    )


def step_of(request: Request, event: Event) -> Step:
    """Return the line of the table for an event.

    Raises: GovernanceError when the event is not possible in the request's state.
    """
    for step in TABLE:
        if (step.state, step.event) == (request.state, event) and request.route in step.routes:
            return step
    possible = sorted(
        {
            step.event.value
            for step in TABLE
            if step.state == request.state and request.route in step.routes and step.who != Who.BUS
        }
    )
    what = f"possible: {', '.join(possible)}" if possible else "it has ended"
    msg = f"request {request.id} is {request.state}; it cannot take '{event}' now ({what})"
    raise GovernanceError(msg)


def advance(request: Request, event: Event, actor: str, now: dt.datetime, reason: str = "") -> Request:
    """Return the request after an event, at its next version.

    1. the table has the step; 2. nobody decides on a request of their own; 3. nobody approves it twice;
    4. what is taken away or sent back has a reason; 5. a grant that is over is not made.

    Raises: GovernanceError naming the rule that is broken.
    """
    step = step_of(request, event)
    if event in DECISIONS and actor == request.requester:
        msg = f"request {request.id} is {actor}'s own; somebody else must {event} it"
        raise NotAllowedError(msg)
    if event == Event.APPROVE and actor in request.approved_by:
        msg = (
            f"request {request.id} was approved by {actor} as steward already; the share authority is another"
        )
        raise NotAllowedError(msg)
    if event in _WITH_REASON and not reason.strip():
        msg = f"request {request.id}: '{event}' needs a reason, which the requester reads"
        raise GovernanceError(msg)
    if step.target == State.GRANTED and request.until is not None and request.until < now.date():
        msg = f"request {request.id} asks for access until {request.until}, which is over; submit it anew"
        raise GovernanceError(msg)
    approved = (*request.approved_by, actor) if event == Event.APPROVE else request.approved_by
    if step.target in (State.SUBMITTED, State.RETURNED):
        approved = ()
    return request.model_copy(
        update={
            "state": step.target,
            "version": request.version + 1,
            "approved_by": approved,
            "reason": reason.strip(),
            "since": now,
        }
    )
