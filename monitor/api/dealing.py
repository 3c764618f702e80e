"""`POST /api/alerts/{id}/…`: somebody deals with an alert, by the rules of the commands."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Request
from pydantic import Field

from exchange.alerting import dealing
from exchange.alerting.alert import Alert
from exchange.model import Model
from monitor.api.gate import person_of
from monitor.api.models import Problem
from monitor.api.request_models import Text
from monitor.identity import Identity, now

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {code: {"model": Problem} for code in (401, 403, 409)}
_SHORTEST_S: Final = 60

Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="Number of the alert.")]


class Silence(Model):
    """Why nobody is to be told of an alert, and for how long."""

    reason: Annotated[Text, Field(min_length=1, description="Others read it.")]
    for_s: int = Field(ge=_SHORTEST_S, le=dealing.LONGEST_SILENCE_S, description="Seconds from now.")


def add(app: FastAPI, identity: Identity) -> None:
    """Let people acknowledge and silence; the decisions tell who did, and why."""

    @app.post("/api/alerts/{id}/acknowledge", tags=["monitor"], responses=_ERRORS)
    def acknowledge(id: Number, asked: Request) -> Alert:
        """Say that one deals with an alert; it stays until what it tells of is over."""
        return dealing.acknowledge(identity.store(), person_of(asked).name, id, now())

    @app.post("/api/alerts/{id}/silence", tags=["monitor"], responses=_ERRORS)
    def silence(id: Number, given: Silence, asked: Request) -> Alert:
        """Tell nobody of an alert for a while, also if it ends and comes again; then it fires as before."""
        actor = person_of(asked).name
        return dealing.silence(identity.store(), actor, id, given.reason, given.for_s, now())
