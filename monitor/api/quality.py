"""`/api/quality`: a month's indicators of every resource."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import Field

from exchange.model import Model
from monitor.clickhouse.client import ClickHouse
from monitor.quality import Quality, quality


class QualityParams(Model):
    """Query parameters of /api/quality."""

    month: str = Field(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$", description="Like 2026-11, UTC.")


def add(app: FastAPI, clickhouse: ClickHouse) -> None:
    """Serve the quality of months."""

    @app.get("/api/quality", tags=["monitor"])
    def of_month(asked: Annotated[QualityParams, Query()]) -> Quality:
        """Show indicators, score and broken rules of every resource, and what each view got."""
        return quality(clickhouse, dt.date.fromisoformat(f"{asked.month}-01"))
