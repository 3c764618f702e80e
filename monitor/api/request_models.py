"""What the API takes and answers of requests and decisions."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, JsonValue

from exchange.governance.clock import ZONE, Notice
from exchange.governance.desk import Asked
from exchange.governance.request import Request, Route, State
from exchange.governance.store import Decision
from exchange.model import Label, Model
from exchange.topology.model import ExpectedRecords
from exchange.view import RowCondition, ViewSpec

Word = Literal["submit", "approve", "return", "withdraw", "end", "renew", "certify"]
_LONGEST_ID = 2**31 - 1
_LONGEST_NAME = 200
_LONGEST_TEXT = 2000
_MOST_FIELDS = 1000
_MOST_ROWS = 100


def _only_texts(value: object) -> object:
    """Refuse numbers, which pydantic would take for seconds since 1970."""
    if isinstance(value, str | dt.date | None):
        return value
    msg = "a date is wanted, like 2027-12-31"
    raise ValueError(msg)


Day = Annotated[dt.date | None, BeforeValidator(_only_texts)]
Text = Annotated[str, Field(max_length=_LONGEST_TEXT, pattern=r"^[^\x00]*$")]
NameFilter = Annotated[str, Field(max_length=_LONGEST_NAME)]


class Proposed(Model):
    """A view that is not declared, written as topology.yaml writes one; the request's view is its name."""

    label: Label | None = Field(default=None, description="Not given: the last part of its name.")
    fields: dict[NameFilter, JsonValue] = Field(max_length=_MOST_FIELDS, description="Field → mask.")
    rows: tuple[RowCondition, ...] = Field(
        default=(), max_length=_MOST_ROWS, description="Conditions that a row must all meet."
    )
    delay_budget_ms: int | None = Field(default=None, ge=1)

    def written(self) -> dict[str, Any]:
        """Return it as it would stand in a file."""
        return self.model_dump(mode="json", exclude_defaults=True)


class Described(Model):
    """A request at one version, with its deadline."""

    id: int
    version: int
    state: State
    route: Route
    subscriber: str
    view: str
    proposed: ViewSpec | None = Field(description="The view itself, where the request proposes it.")
    purpose: str
    legal_basis: str
    until: dt.date | None
    expected_records_per_day: int | None
    requester: str
    approved_by: tuple[str, ...]
    reason: str = Field(description="Why it was returned or ended.")
    since: AwareDatetime = Field(description="When it came to its state.")
    renews: int = Field(description="The grant that it is to take the place of; 0: none.")
    due: dt.date | None = Field(description="Last day for a decision.")
    due_is_estimated: bool
    notice: Notice
    resource: str = Field(description="What the view is of; empty where the topology has it no more.")
    department: str = Field(description="Whose the source is; empty as resource.")
    delivery: str = Field(description="How the subscriber gets it: kafka, pull, or the kind of its store.")
    is_view_changed: bool = Field(description="Since it was submitted: it cannot be approved then.")
    is_certified: bool = Field(description="Whether there is a certificate that the ended access is gone.")
    acts: tuple[Word, ...] = Field(description="What the caller may do with it now; the rest is refused.")


class Done(Described):
    """A request as it is after what was done."""

    notes: tuple[str, ...] = Field(default=(), description="What is decided and not in force yet, and why.")


class Happened(Model):
    """What was done to a request, and the version that it came to be seen by."""

    at: AwareDatetime
    actor: str
    event: str
    version: int = Field(description="That was looked at; 0: none, as for a renewal.")
    state: str
    reason: str


class Certified(Model):
    """The certificate of an end, as this installation checks it; `GET …/certificate` has it whole."""

    problem: str = Field(description="What is wrong with its signature; empty: it is valid.")
    public_key: str
    access_gone_at: str
    signed_at: str


class Detail(Described):
    """A request with its history."""

    history: tuple[Happened, ...] = Field(description="In order; refused attempts are in /api/decisions.")
    certificate: Certified | None


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
    waiting: bool = Field(default=False, description="Only what waits for the caller, first due first.")
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
    proposed: Proposed | None = Field(default=None, description="For a view that is not there yet.")
    purpose: Text = ""
    legal_basis: Text = ""
    until: Day = Field(default=None, description="Last day of access; null: no end.")
    expected_records_per_day: ExpectedRecords | None = Field(
        default=None, description="Records of the view that are expected to be taken."
    )

    def asked(self) -> Asked:
        """Return what is asked for."""
        proposed = None if self.proposed is None else self.proposed.written()
        return Asked(**self.model_dump(exclude={"proposed"}), proposed=proposed)


class Act(Model):
    """What is done to a request."""

    version: int | None = Field(default=None, ge=1, le=_LONGEST_ID, description="As it was looked at.")
    reason: Text = Field(default="", description="For return and end; the requester reads it.")
    purpose: Text | None = Field(default=None, description="For submit: mended.")
    legal_basis: Text | None = Field(default=None, description="For submit: mended.")
    until: Day = Field(
        default=None, description="For submit and renew: last day of access; null: no end, of a submit."
    )
    expected_records_per_day: ExpectedRecords | None = Field(
        default=None, description="For submit: mended; null: none is said."
    )
    proposed: Proposed | None = Field(default=None, description="For submit, where one is proposed: mended.")

    def changes(self) -> dict[str, Any]:
        """Return what a requester mends: what was sent, where null takes away what may be missing."""
        proposed = None if self.proposed is None else self.proposed.written()
        given = {"purpose": self.purpose, "legal_basis": self.legal_basis, "proposed": proposed}
        mended = {name: value for name, value in given.items() if value is not None}
        emptied = {"until", "expected_records_per_day"} & self.model_fields_set
        return mended | {name: getattr(self, name) for name in emptied}


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
    outcome: Literal["", "done", "refused", "failed"] = ""
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
