"""`/api/quarantine`: a resource's refused records as its steward looks through, opens and sends them again.

The steward's private key comes with the call that needs it. It is kept nowhere, and no answer, log or error
has it; see docs/adr/0034-operations-as-buttons.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import FastAPI, Query, Request, Response
from pydantic import Field, SecretStr

from exchange.change import Reason
from exchange.identity.caller import Caller, acting
from exchange.model import Model
from exchange.quarantine.described import described
from exchange.quarantine.desk import MOST_AT_ONCE, Desk, Wanted
from exchange.quarantine.entries import Entry
from exchange.quarantine.redrive import hindrance
from monitor.api.gate import expect_unread, person_of
from monitor.api.models import Problem
from monitor.api.problem import Refused
from monitor.identity import Identity, now

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {code: {"model": Problem} for code in (401, 403, 404, 409)}
_PLACE: Final = r"^[0-9]{1,9}:[0-9]{1,18}$"

Resource = Annotated[str, Field(min_length=1, max_length=200, description="<domain>.<resource>.")]
Place = Annotated[str, Field(pattern=_PLACE, description="<partition>:<offset> in the quarantine.")]
Behind = Annotated[str, Field(pattern=rf"^$|{_PLACE}", description="`next` of the page before.")]
Batches = Annotated[
    str,
    Field(
        pattern=r"^$|^[0-9]{1,9}:[0-9]{1,18}~[0-9]{1,18}(\.[0-9]{1,18})*$",
        max_length=20_000,
        description="`next` of the batch before: what was refused since the first one is left out.",
    ),
]
Key = Annotated[
    SecretStr, Field(min_length=1, max_length=200, description="What is in <department>.key; never kept.")
]


class EntriesParams(Model):
    """Query parameters of /api/quarantine."""

    resource: Resource
    reason: Reason | None = Field(default=None, description="Only these; all when not given.")
    after: Behind = ""
    limit: int = Field(default=50, ge=1, le=500)


class RefusedRecord(Model):
    """What may be said about a refused record without its payload."""

    place: str = Field(description="<partition>:<offset> in the quarantine.")
    at: str | None = Field(default=None, description="When it was refused.")
    stage: str = ""
    reason: str
    field: str = Field(default="", description="Dotted path in the contract, never a value.")
    op: str | None = None
    redriven: bool = Field(default=False, description="Refused again after it had been sent again.")
    raw: str = Field(
        default="", description="Raw topic and place in it; the topic alone if it never got there."
    )
    plan_version: int = 0
    payload_bytes: int = 0
    payload_kept: bool = False
    hindrance: str = Field(description="Why it can never be sent again as it is; empty when it may.")
    sent_again_at: str | None = Field(
        description="When it was sent again over the API; by the command: null."
    )


class Entries(Model):
    """A page of entries, by partition in the order in which they were refused."""

    entries: tuple[RefusedRecord, ...]
    next: str | None = Field(description="`after` of the next page, which may be empty; null at the end.")


class Opening(Model):
    """Which record is to be opened, and the key."""

    resource: Resource
    place: Place
    private_key: Key


class Opened(Model):
    """A refused record in clear, for its steward alone."""

    entry: RefusedRecord
    key: str = Field(description="As JSON.")
    value: str = Field(description="As JSON; null of a tombstone.")


class Redriving(Model):
    """What is to be sent again, and the key: either places, or everything of a reason, a batch a call."""

    resource: Resource
    places: tuple[Place, ...] = Field(default=(), max_length=MOST_AT_ONCE)
    reason: Reason | None = None
    after: Batches = ""
    dry_run: bool = Field(description="Say what would happen; send nothing.")
    private_key: Key


class Outcome(Model):
    """What became of one entry."""

    place: str
    done: bool
    text: str = Field(description="Why it was kept back, where it was.")


class Redriven(Model):
    """What became of this batch."""

    outcomes: tuple[Outcome, ...]
    next: str | None = Field(description="`after` of the next batch of the reason; null at the end.")


def add(app: FastAPI, identity: Identity) -> None:
    """Let stewards deal with what was refused of their departments' resources."""

    def desk(caller: Caller) -> Desk:
        return Desk(identity.settings, identity.store(), acting(identity.declared.current()[0], caller))

    @app.get("/api/quarantine", tags=["quarantine"], responses=_ERRORS)
    def listed(given: Annotated[EntriesParams, Query()], asked: Request) -> Entries:
        """List a resource's refused records; a page at a time, never a value."""
        caller = person_of(asked)
        at = desk(caller)
        page = at.page(caller.name, given.resource, given.reason, given.after, given.limit)
        sent = at.sent_again(given.resource)
        return Entries(entries=tuple(_shown(one, sent) for one in page.entries), next=page.following or None)

    @app.post("/api/quarantine/open", tags=["quarantine"], responses=_ERRORS)
    def opened(given: Opening, asked: Request, answer: Response) -> Opened:
        """Open one record with the steward's private key; the decisions say who did."""
        caller = person_of(asked)
        expect_unread(asked)
        answer.headers["Cache-Control"] = "no-store"
        at = desk(caller)
        found = at.open(caller.name, given.resource, given.place, given.private_key, now())
        return Opened(
            entry=_shown(found.entry, at.sent_again(given.resource)), key=found.key, value=found.value
        )

    @app.post("/api/quarantine/redrive", tags=["quarantine"], responses=_ERRORS)
    def redriven(given: Redriving, asked: Request) -> Redriven:
        """Send records through the bus again, each judged by itself; the decisions say which, and who did."""
        caller = person_of(asked)
        expect_unread(asked)
        if bool(given.places) == (given.reason is not None):
            raise Refused(400, "say what to send again: either places, or a reason")
        wanted = Wanted(given.resource, given.places, given.reason, given.after, given.dry_run)
        batch = desk(caller).redrive(caller.name, wanted, given.private_key, now())
        outcomes = tuple(
            Outcome(place=one.entry.place, done=one.done, text=one.text) for one in batch.outcomes
        )
        return Redriven(outcomes=outcomes, next=batch.following or None)


def _shown(entry: Entry, sent: dict[str, str]) -> RefusedRecord:
    return RefusedRecord(**described(entry), hindrance=hindrance(entry), sent_again_at=sent.get(entry.place))
