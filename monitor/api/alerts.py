"""`/api/alerts`: what is wrong, where, since when, why and what to do; firing first, or all by page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import FastAPI, Query
from prometheus_client.core import GaugeMetricFamily, Metric
from pydantic import Field

from exchange.alerting.alert import ACTIVE, Alert, State
from exchange.model import Model
from monitor.alerts.desk import Desk


class AlertsParams(Model):
    """Query parameters of /api/alerts."""

    state: tuple[State, ...] = Field(default=(), max_length=4, description="Only these; all when not given.")
    before: int | None = Field(
        default=None, ge=1, le=2**63 - 1, description="`next_before` of the page before."
    )
    limit: int = Field(default=100, ge=1, le=1000, description="At most so many.")


class Alerts(Model):
    """Alerts, newest first."""

    alerts: tuple[Alert, ...]
    next_before: int | None = Field(description="For the next page; null on the last one.")


def add(app: FastAPI, desk: Desk) -> None:
    """Serve the alerts."""

    @app.get("/api/alerts", tags=["monitor"])
    def alerts(asked: Annotated[AlertsParams, Query()]) -> Alerts:
        """Show alerts, newest first; a page at a time."""
        page = desk.page(asked.state, asked.before, asked.limit)
        return Alerts(alerts=page.alerts, next_before=page.next_before)


def metrics(alerts: Iterable[Alert]) -> Metric:
    """Return how many alerts are active, for Prometheus."""
    counts: dict[tuple[str, str, str], int] = {}
    for alert in alerts:
        labels: tuple[str, str, str] = (alert.kind, alert.severity, alert.state.value)
        counts[labels] = counts.get(labels, 0) + 1
    active = GaugeMetricFamily(
        "exchange_alerts", "Alerts that are not over.", labels=["kind", "severity", "state"]
    )
    for severity in ("warning", "critical"):
        for state in ACTIVE:
            counts.setdefault(("any", severity, state.value), 0)
    for place, count in sorted(counts.items()):
        active.add_metric(list(place), count)
    return active
