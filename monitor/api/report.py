"""`/api/report`: the monthly assessment of sharing by department, as `exchange report` makes it."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query, Response
from pydantic import Field

from exchange.governance.request import Request as Stored
from exchange.governance.store import exists
from exchange.model import Model
from exchange.report.assess import Assessment, assess, overdue
from exchange.report.excel import workbook
from monitor.api.models import Problem
from monitor.clickhouse.client import ClickHouse
from monitor.identity import Identity, now
from monitor.quality import quality

_EXCEL: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {_EXCEL: {"schema": {"type": "string", "format": "binary"}}}},
    401: {"model": Problem},
    403: {"model": Problem},
}


class ReportParams(Model):
    """Query parameters of /api/report."""

    month: str = Field(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$", description="Like 2026-11, UTC.")
    format: Literal["json", "xlsx"] = "json"


def add(app: FastAPI, clickhouse: ClickHouse, identity: Identity) -> None:
    """Serve the assessments of months."""

    @app.get("/api/report", tags=["monitor"], response_model=Assessment, responses=_ANSWERS)
    def report(asked: Annotated[ReportParams, Query()]) -> Any:
        """Assess a month by department: what it gave and got, quality, timeliness, overdue requests."""
        found, at = quality(clickhouse, dt.date.fromisoformat(f"{asked.month}-01")), now()
        topology = identity.with_grants()
        late = overdue(_requests(identity), topology, at)
        assessment = assess(found.model_dump(mode="json"), topology, late, at)
        if asked.format == "json":
            return assessment
        headers = {"Content-Disposition": f'attachment; filename="sharing-{asked.month}.xlsx"'}
        return Response(workbook(assessment), headers=headers, media_type=_EXCEL)


def _requests(identity: Identity) -> list[Stored]:
    if not exists(identity.settings):
        return []
    with identity.store().change() as change:
        return change.requests()
