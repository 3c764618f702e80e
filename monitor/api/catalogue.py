"""`/api/resources`: contracts, views and lineage of what is shared, from the newest plan alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Protocol

from fastapi import FastAPI, HTTPException, Query, Request
from pydantic import Field

from exchange.identity.caller import Sight
from exchange.model import Model
from exchange.plan import PublishedPlan
from monitor.api import sight
from monitor.api.models import Problem
from monitor.catalogue import ResourceDetail, Resources, resource_of, resources_of


class Catalogue(Protocol):
    """Who knows the plan and the readers."""

    def plan(self) -> PublishedPlan | None:
        """Return the newest plan; None while there is none."""

    def readers_of(self, view_topic: str) -> tuple[str, ...] | None:
        """Return who may read a view; None while that is not known."""


class ResourcesParams(Model):
    """Query parameters of /api/resources."""

    limit: int = Field(default=50, ge=1, le=1000, description="At most so many, by name.")
    offset: int = Field(default=0, ge=0, le=1_000_000, description="So many are passed over.")


class ResourceParams(Model):
    """Query parameters of /api/resource."""

    name: str = Field(min_length=1, max_length=249, description="<domain>.<resource>")


def install(app: FastAPI, catalogue: Catalogue, sight_of: Callable[[Request], Sight | None]) -> None:
    """Add the paths. What is shared is shown to all who are known here; who reads it is not."""

    @app.get("/api/resources", tags=["catalogue"])
    def resources(asked: Annotated[ResourcesParams, Query()]) -> Resources:
        """List what is shared."""
        return resources_of(catalogue.plan(), asked.limit, asked.offset)

    @app.get("/api/resource", tags=["catalogue"], responses={404: {"model": Problem}})
    def resource(asked: Annotated[ResourceParams, Query()], call: Request) -> ResourceDetail:
        """Show one resource: its contract, its views, and what each shows of each field."""
        found = resource_of(catalogue.plan(), asked.name, catalogue.readers_of)
        if found is None:
            raise HTTPException(404)
        seen = sight_of(call)
        return found if seen is None else sight.of_resource(found, seen)
