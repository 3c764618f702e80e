"""The HTTP application: registry and JSON API on one port."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from fastapi import FastAPI, HTTPException, Query, Response
from pydantic import Field, SecretStr

from monitor.api import catalogue, console, live, metrics, problem
from monitor.api.models import (
    AccountsProgress,
    BalanceParams,
    Health,
    MinuteFigures,
    NoParams,
    Problem,
    Refusals,
    RefusalsParams,
    RouteDetail,
    RouteParams,
    Routes,
    RoutesParams,
    Status,
    SubscriberPosition,
)
from monitor.balance import Balance
from monitor.figures import Figures
from monitor.overview import Overview as Glance
from monitor.registry import rest
from monitor.registry.store import Store
from monitor.routes import page_of


class BalanceAnswer(Balance):
    """The accounts, with the figures of every minute where they were asked for."""

    minutes: tuple[MinuteFigures, ...] | None = Field(default=None, description="Only with per=minute.")


class Overview(catalogue.Catalogue, Protocol):
    """Who knows how the monitor and the other parts are."""

    def health(self) -> Health:
        """Return which parts work."""

    def status(self) -> Status:
        """Return everything there is to know of the whole."""

    def glance(self) -> Glance:
        """Return what the console shows at a glance."""

    def progress(self) -> AccountsProgress:
        """Return how far the accounts are read."""


def build(overview: Overview, figures: Figures, registry: Store, registry_password: SecretStr) -> FastAPI:
    """Return the application. Handlers run in a thread pool: ClickHouse never holds up the event loop."""
    app = FastAPI(
        title="Exchange bus monitor",
        version="1",
        summary="Routes, accounts and refusals of the bus; and its schema registry.",
        # The interactive pages load their scripts from a CDN, which an intranet does not reach.
        docs_url=None,
        redoc_url=None,
        responses={code: {"model": Problem} for code in (400, 503)},
    )
    problem.install(app)
    _add_overview(app, overview)
    _add_figures(app, figures)
    _add_metrics(app, overview, figures)
    live.install(app, overview.glance)
    catalogue.install(app, overview)
    console.mount(app)
    app.include_router(rest.router(registry, registry_password))
    return app


def _add_overview(app: FastAPI, overview: Overview) -> None:
    @app.get("/health", tags=["monitor"])
    def health(response: Response) -> Health:
        """Tell which parts work; 503 unless all do."""
        found = overview.health()
        response.status_code = 200 if found.ok else 503
        return found

    @app.get("/api/status", tags=["monitor"])
    def status(_asked: Annotated[NoParams, Query()]) -> Status:
        """Show everything at a glance."""
        return overview.status()


def _add_figures(app: FastAPI, figures: Figures) -> None:
    @app.get("/api/routes", tags=["monitor"])
    def routes(asked: Annotated[RoutesParams, Query()]) -> Routes:
        """Show rate, delay and refusals of every route."""
        return page_of(figures.routes(asked.window_s), asked.limit, asked.offset)

    @app.get("/api/route", tags=["monitor"])
    def route(asked: Annotated[RouteParams, Query()]) -> RouteDetail:
        """Show one route with its figures over time."""
        found = figures.route(asked)
        if found is None:
            raise HTTPException(404)
        return found

    @app.get("/api/accounts/balance", tags=["monitor"])
    def balance(asked: Annotated[BalanceParams, Query()]) -> BalanceAnswer:
        """Tell whether captured = delivered + refused + filtered, and where not."""
        found: dict[str, Any] = dict(figures.balance(asked.minutes))
        minutes = figures.minutes(asked.minutes) if asked.per == "minute" else None
        return BalanceAnswer(**found, minutes=minutes)

    @app.get("/api/refusals", tags=["monitor"])
    def refusals(asked: Annotated[RefusalsParams, Query()]) -> Refusals:
        """Count what went to quarantine and why."""
        return figures.refusals(asked)

    @app.get("/api/subscribers", tags=["monitor"])
    def subscribers(_asked: Annotated[NoParams, Query()]) -> tuple[SubscriberPosition, ...]:
        """Show how far consumer groups are on the topics they read."""
        return figures.subscribers()


def _add_metrics(app: FastAPI, overview: Overview, figures: Figures) -> None:
    @app.get("/metrics", tags=["monitor"], response_class=Response)
    def prometheus() -> Response:
        """Show the figures for Prometheus."""
        text = metrics.text_of(figures, overview.health(), overview.progress())
        return Response(text, media_type=metrics.CONTENT_TYPE)
