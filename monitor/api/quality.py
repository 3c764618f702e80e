"""`/api/quality`: a month's indicators of every resource."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from pydantic import Field

from exchange.model import Model
from monitor.api import sight
from monitor.api.gate import sight_of
from monitor.clickhouse.client import ClickHouse
from monitor.identity import Identity
from monitor.quality import Quality, quality, with_examples


class QualityParams(Model):
    """Query parameters of /api/quality."""

    month: str = Field(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$", description="Like 2026-11, UTC.")
    limit: int | None = Field(default=None, ge=1, le=1000, description="At most so many; all when not given.")
    offset: int = Field(default=0, ge=0, le=2**31 - 1, description="`next_offset` of the page before.")


class QualityPage(Quality):
    """A month, the lowest scores first; views are those of all resources."""

    total: int = Field(description="Resources that had changes.")
    next_offset: int | None = Field(description="For the next page; null on the last one.")


def add(app: FastAPI, clickhouse: ClickHouse, identity: Identity) -> None:
    """Serve the quality of months: to a steward that of their own resources."""

    @app.get("/api/quality", tags=["monitor"])
    def of_month(asked: Annotated[QualityParams, Query()], call: Request) -> QualityPage:
        """Show indicators, score and broken rules of every resource, and what each view got."""
        month = dt.date.fromisoformat(f"{asked.month}-01")
        found = quality(clickhouse, month)
        seen = sight_of(identity, call)
        if seen is not None:
            found = sight.of_quality(found, seen)
        ordered = sorted(found.resources, key=lambda one: (one.score is None, one.score, one.topic))
        end = len(ordered) if asked.limit is None else asked.offset + asked.limit
        resources = with_examples(clickhouse, month, ordered[asked.offset : end])
        shown: dict[str, Any] = dict(found) | {"resources": resources}
        following = end if end < len(ordered) else None
        return QualityPage(**shown, total=len(ordered), next_offset=following)
