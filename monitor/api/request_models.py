"""What the API takes and answers of requests and decisions."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, Field

from exchange.governance.clock import ZONE, Notice
from exchange.governance.request import Request, Route, State
from exchange.governance.store import Decision
from exchange.model import Model

Word = Literal["submit", "approve", "return", "withdraw", "end", "renew"]
_LONGEST_ID = 2**31 - 1
_LONGEST_NAME = 200
_LONGEST_TEXT = 2000


def _only_texts(value: object) -> object:
    """Refuse numbers, which pydantic would take for seconds since 1970."""
    if isinstance(value, str | dt.date | None):
        return value
    msg = "a date is wanted, like 2027-12-31"
    raise ValueError(msg)


Day = Annotated[dt.date | None, BeforeValidator(_only_texts)]
Text = Annotated[str, Field(max_length=_LONGEST_TEXT, pattern=r"^[^\x00]*$")]
NameFilter = Annotated[str, Field(max_length=_LONGEST_NAME)]


class Described(Model):
    """A request at one version, with its deadline."""

    id: int
    version: int
    state: State
    route: Route
    subscriber: str
    view: str
    purpose: str
    legal_basis: str
    until: dt.date | None
    requester: str
    approved_by: tuple[str, ...]
    reason: str = Field(description="Why it was returned or ended.")
    since: AwareDatetime = Field(description="When it came to its state.")
    renews: int = Field(description="The grant that it is to take the place of; 0: none.")
    due: dt.date | None = Field(description="Last day for a decision.")
    due_is_estimated: bool
    notice: Notice


class Done(Described):
    """A request as it is after what was done."""

    notes: tuple[str, ...] = Field(default=(), description="What is decided and not in force yet, and why.")


class Requests(Model):
    """A page of requests, newest first."""

    total: int
    requests: tuple[Described, ...]


class RequestsParams(Model):
    """Query parameters of /api/requests."""

    state: tuple[State, ...] = Field(default=(), description="Only in these states.")
    subscriber: NameFilter = ""
    view: NameFilter = ""
    requester: NameFilter = ""
    offset: int = Field(default=0, ge=0, le=_LONGEST_ID)
    limit: int = Field(default=50, ge=1, le=500)

    def takes(self, one: Request) -> bool:
        """Return whether a request is asked for."""
        wanted = {"subscriber": self.subscriber, "view": self.view, "requester": self.requester}
        return all(not value or getattr(one, name) == value for name, value in wanted.items())


class Draft(Model):
    """A request that is asked anew."""

    subscriber: str = Field(min_length=1, max_length=63)
    view: str = Field(min_length=1, max_length=_LONGEST_NAME)
    purpose: Text = ""
    legal_basis: Text = ""
    until: Day = Field(default=None, description="Last day of access; null: no end.")


class Act(Model):
    """What is done to a request."""

    version: int | None = Field(default=None, ge=1, le=_LONGEST_ID, description="As it was looked at.")
    reason: Text = Field(default="", description="For return and end; the requester reads it.")
    purpose: Text | None = Field(default=None, description="For submit: mended.")
    legal_basis: Text | None = Field(default=None, description="For submit: mended.")
    until: Day = Field(default=None, description="For submit and renew: last day of access.")

    def changes(self) -> dict[str, Any]:
        """Return what a requester mends."""
        given = {"purpose": self.purpose, "legal_basis": self.legal_basis, "until": self.until}
        return {name: value for name, value in given.items() if value is not None}


class OneDecision(Model):
    """A decision on one of several requests."""

    request: int = Field(ge=1, le=_LONGEST_ID)
    act: Literal["approve", "return", "end"]
    version: int = Field(ge=1, le=_LONGEST_ID, description="As it was looked at.")
    reason: Text = ""


class SeveralDecisions(Model):
    """Decisions on several requests."""

    decisions: tuple[OneDecision, ...] = Field(min_length=1, max_length=100)


class Outcome(Model):
    """What became of one decision; status and detail as of a problem."""

    request: int
    status: int
    detail: str
    after: Done | None = None


class Outcomes(Model):
    """What became of each decision, in the order in which they were given."""

    outcomes: tuple[Outcome, ...]


class DecisionsParams(Model):
    """Query parameters of /api/decisions."""

    after: int = Field(default=0, ge=0, le=2**63 - 1, description="`next` of the page before; 0: the first.")
    order: Literal["oldest", "newest"] = Field(default="oldest", description="What comes first.")
    limit: int = Field(default=100, ge=1, le=1000, description="Not of CSV, which has all.")
    actor: NameFilter = ""
    about: NameFilter = Field(default="", description="Part of what it is about, of subscriber or view.")
    since: Day = Field(default=None, description="First day, in Beijing time.")
    until: Day = Field(default=None, description="Last day.")
    request: int = Field(default=0, ge=0, le=_LONGEST_ID)
    event: NameFilter = ""
    outcome: Literal["", "done", "refused"] = ""
    format: Literal["json", "csv"] = "json"

    def takes(self, one: Decision) -> bool:
        """Return whether a decision is asked for."""
        wanted = {"actor": self.actor, "request": self.request, "event": self.event, "outcome": self.outcome}
        day = dt.datetime.fromisoformat(one.at).astimezone(ZONE).date()
        return (
            all(not value or getattr(one, name) == value for name, value in wanted.items())
            and any(self.about in text for text in (one.about, one.subscriber, one.view))
            and (self.since is None or self.since <= day)
            and (self.until is None or day <= self.until)
        )


class Decisions(Model):
    """A page of decisions."""

    decisions: tuple[Decision, ...]
    next: int | None = Field(description="`after` of the next page; null: there is none.")
