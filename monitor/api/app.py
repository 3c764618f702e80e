"""The HTTP application: registry and JSON API on one port."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, HTTPException, Query, Request, Response
from pydantic import Field, SecretStr

from exchange.alerting.alert import Alert
from exchange.identity.caller import Sight
from monitor.api import (
    alerts,
    catalogue,
    console,
    entries,
    entry_files,
    inbox,
    live,
    login,
    metrics,
    objections,
    problem,
    requests,
    security,
    sight,
    users,
)
from monitor.api.gate import Gate, sight_of
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
from monitor.api.requests import OnlineDesk
from monitor.balance import Balance
from monitor.figures import Figures
from monitor.identity import Identity
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

    def glance(self, seen: Sight | None = None) -> Glance:
        """Return what the console shows at a glance, or what is somebody's own of it."""

    def progress(self) -> AccountsProgress:
        """Return how far the accounts are read."""

    def alerts(self) -> tuple[Alert, ...] | None:
        """Return the alerts that are not over; None while their store does not answer."""


def build(
    overview: Overview,
    figures: Figures,
    registry: Store,
    registry_password: SecretStr,
    online: OnlineDesk | None = None,
) -> FastAPI:
    """Return the application. Handlers run in a thread pool: ClickHouse never holds up the event loop.

    online: who may call, and what they do with requests; without it the figures alone, for whoever has them.
    """
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
    identity = None if online is None else online.identity
    if online is not None:
        app.add_middleware(Gate, identity=online.identity)
        login.add(app, online.identity)
        requests.add(app, online)
        objections.add(app, online)
        entry_files.add(app, online)  # before what takes any name for a resource
        entries.add(app, online)
        inbox.add(app, online)
        users.add(app, online.identity)
    _add_overview(app, overview, figures, identity)
    _add_figures(app, figures, identity)
    _add_metrics(app, overview, figures, identity)
    live.install(app, overview.glance, partial(_sight, identity))
    catalogue.install(app, overview, partial(_sight, identity))
    console.mount(app)
    app.include_router(rest.router(registry, registry_password))
    security.describe(app)
    return app


def _add_overview(app: FastAPI, overview: Overview, figures: Figures, identity: Identity | None) -> None:
    @app.get("/health", tags=["monitor"])
    def health(response: Response) -> Health:
        """Tell which parts work; 503 unless all do."""
        found = overview.health()
        response.status_code = 200 if found.ok else 503
        return found

    @app.get("/api/status", tags=["monitor"])
    def status(_asked: Annotated[NoParams, Query()], call: Request) -> Status:
        """Show everything at a glance, or what is the caller's of it."""
        seen, found = _sight(identity, call), overview.status()
        if seen is None:
            return found
        balance = None if found.balance is None else figures.balance(found.balance_minutes)
        return sight.of_status(found, balance, seen)


def _sight(identity: Identity | None, call: Request) -> Sight | None:
    return None if identity is None else sight_of(identity, call)


def _add_figures(app: FastAPI, figures: Figures, identity: Identity | None) -> None:
    @app.get("/api/routes", tags=["monitor"])
    def routes(asked: Annotated[RoutesParams, Query()], call: Request) -> Routes:
        """Show rate, delay and refusals of every route."""
        seen, found = _sight(identity, call), figures.routes(asked.window_s)
        return page_of(found if seen is None else sight.of_routes(found, seen), asked.limit, asked.offset)

    @app.get("/api/route", tags=["monitor"], responses={404: {"model": Problem}})
    def route(asked: Annotated[RouteParams, Query()], call: Request) -> RouteDetail:
        """Show one route with its figures over time."""
        seen, found = _sight(identity, call), figures.route(asked)
        if found is not None and seen is not None:
            found = sight.of_route(found, seen)
        if found is None:
            raise HTTPException(404)
        return found

    @app.get("/api/accounts/balance", tags=["monitor"])
    def balance(asked: Annotated[BalanceParams, Query()], call: Request) -> BalanceAnswer:
        """Tell whether captured = delivered + refused + filtered, and where not."""
        seen, balanced = _sight(identity, call), figures.balance(asked.minutes)
        minutes = figures.minutes(asked.minutes) if asked.per == "minute" else None
        if seen is not None:
            balanced = sight.of_balance(balanced, seen)
            topics = {one.topic for one in balanced.topics}
            minutes = None if minutes is None else tuple(one for one in minutes if one.topic in topics)
        found: dict[str, Any] = dict(balanced)
        return BalanceAnswer(**found, minutes=minutes)

    @app.get("/api/refusals", tags=["monitor"])
    def refusals(asked: Annotated[RefusalsParams, Query()], call: Request) -> Refusals:
        """Count what went to quarantine and why."""
        seen, found = _sight(identity, call), figures.refusals(asked)
        return found if seen is None else sight.of_refusals(found, seen)

    @app.get("/api/subscribers", tags=["monitor"])
    def subscribers(_asked: Annotated[NoParams, Query()], call: Request) -> tuple[SubscriberPosition, ...]:
        """Show how far consumer groups are on the topics they read."""
        seen, found = _sight(identity, call), figures.subscribers()
        return found if seen is None else sight.of_positions(found, seen)


def _add_metrics(app: FastAPI, overview: Overview, figures: Figures, identity: Identity | None) -> None:
    @app.get("/metrics", tags=["monitor"], response_class=Response)
    def prometheus(call: Request) -> Response:
        """Show the figures for Prometheus, to whoever has the token where the bus's secrets hold one."""
        if identity is not None:
            security.expect_metrics_token(identity.settings.secrets, call)
        active = overview.alerts()
        more = [] if active is None else [alerts.metrics(active)]
        text = metrics.text_of(figures, overview.health(), overview.progress(), more)
        return Response(text, media_type=metrics.CONTENT_TYPE)
