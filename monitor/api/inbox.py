"""`/api/inbox`: everything that waits for the caller, requests, objections and entries, most urgent first."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query, Request
from pydantic import Field

from exchange.governance.clock import Notice
from exchange.identity.caller import Caller
from exchange.model import Model
from monitor.api.entries import EntriesOnline
from monitor.api.entry_models import EntrySummary
from monitor.api.gate import caller_of
from monitor.api.models import Problem
from monitor.api.objection_models import ShownObjection
from monitor.api.objections import ObjectionsOnline
from monitor.api.request_models import Described
from monitor.api.requests import OnlineDesk
from monitor.api.waiting import first_due_first, page

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {code: {"model": Problem} for code in (401, 403)}


class InboxParams(Model):
    """Query parameters of /api/inbox."""

    offset: int = Field(default=0, ge=0, le=2**31 - 1)
    limit: int = Field(default=50, ge=1, le=500)


class Waiting(Model):
    """One thing that waits for the caller: what it is, as the list of its kind shows it, and its deadline."""

    kind: Literal["request", "objection", "entry"]
    due: str | None = Field(description="Last day to decide.")
    due_is_estimated: bool
    notice: Notice
    request: Described | None = None
    objection: ShownObjection | None = None
    entry: EntrySummary | None = None


class Inbox(Model):
    """A page of what waits, first due first."""

    total: int
    waiting: tuple[Waiting, ...]


def add(app: FastAPI, online: OnlineDesk) -> None:
    """Serve the inbox."""

    @app.get("/api/inbox", tags=["inbox"], responses=_ERRORS)
    def inbox(given: Annotated[InboxParams, Query()], asked: Request) -> Inbox:
        """List what the caller is to decide, answer, mend or write; a page at a time."""
        found = first_due_first(_waiting(online, caller_of(asked)), lambda one: one.kind)
        return Inbox(total=len(found), waiting=page(found, given))


def _waiting(online: OnlineDesk, caller: Caller) -> list[Waiting]:
    """Return everything that waits, each kind in the order of its own list."""
    objections = ObjectionsOnline(online)
    return [
        *(_item("request", one) for one in online.waiting(caller, online.shown(caller))),
        *(_item("objection", one) for one in objections.waiting(caller, objections.all(caller))),
        *(_item("entry", one) for one in EntriesOnline(online, caller).waiting()),
    ]


def _item(
    kind: Literal["request", "objection", "entry"], one: Described | ShownObjection | EntrySummary
) -> Waiting:
    due = None if one.due is None else str(one.due)
    given: dict[str, Any] = {kind: one}
    return Waiting(kind=kind, due=due, due_is_estimated=one.due_is_estimated, notice=one.notice, **given)
