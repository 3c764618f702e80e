"""`/api/corrections`: which changes were wrong, and which later ones mend them; no claim and no name."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from pydantic import Field

from exchange.corrections import Correction
from exchange.governance.corrections import marker
from exchange.governance.objection_desk import corrected
from exchange.governance.store import exists
from exchange.identity.caller import Sight
from exchange.model import Model
from exchange.plan import view_topic
from monitor.api import sight
from monitor.api.gate import sight_of
from monitor.identity import Identity


class CorrectionsParams(Model):
    """Query parameters of /api/corrections."""

    view: str = Field(default="", max_length=200, description="<domain>.<resource>.<view>; all if not given.")
    offset: int = Field(default=0, ge=0, le=2**31 - 1)
    limit: int = Field(default=100, ge=1, le=1000)

    def takes(self, one: Correction, seen: Sight | None) -> bool:
        """Return whether a marker is asked for: of the view's resource, and of a view that is one's own."""
        if not self.view:
            return True
        resource, _, name = self.view.rpartition(".")
        is_own = seen is None or view_topic(resource, name) in seen.view_topics
        return is_own and one.resource == resource


class ShownCorrection(Model):
    """A marker; both positions stand in the header `x-exchange` of the view's records."""

    resource: str
    partition: int = Field(description="Of the view's topic, and of the raw one.")
    wrong: str = Field(description="Position of the change that was wrong.")
    corrected: str = Field(description="Position of the later change of the same row that mends it.")
    at: str = Field(description="When the source's steward said so.")


class Corrections(Model):
    """A page of markers, newest first."""

    total: int
    corrections: tuple[ShownCorrection, ...]


def add(app: FastAPI, identity: Identity) -> None:
    """Serve the markers."""

    @app.get("/api/corrections", tags=["objections"])
    def corrections(asked: Annotated[CorrectionsParams, Query()], call: Request) -> Corrections:
        """Show corrections, newest first: of what one's subscribers get a view of, and of one's own."""
        seen = sight_of(identity, call)
        known = [marker(one) for one in corrected(identity.store())] if exists(identity.settings) else []
        own = known if seen is None else sight.of_corrections(known, seen)
        found = sorted((one for one in own if asked.takes(one, seen)), key=lambda one: one.at, reverse=True)
        page = found[asked.offset : asked.offset + asked.limit]
        shown = (ShownCorrection(**one.model_dump(exclude={"objection"})) for one in page)
        return Corrections(total=len(found), corrections=tuple(shown))
