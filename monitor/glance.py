"""The overview put together from the monitor's parts; without figures while ClickHouse does not answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pydantic import JsonValue

from exchange.errors import TransientError
from exchange.plan import PublishedPlan
from monitor.api.models import BalanceSummary, PartHealth, Routes, SubscriberPosition
from monitor.balance import Balance
from monitor.expected import Silent
from monitor.overview import LANES, PAGE, Overview, lanes_of, totals_of

WINDOW_S: Final = 300
"""How far back the figures of the routes reach, for whoever asks: equal questions are asked once."""
BALANCE_MINUTES: Final = 1440
_FLOW_WITHIN_S: Final = 1.9
_BALANCE_WITHIN_S: Final = 3.9
"""So old the figures may be of a glance that is made anew every second: they are asked for every second or
fourth time."""
_NEWEST: Final = 3


@dataclass(frozen=True, slots=True)
class Known:
    """What is known without ClickHouse."""

    at_ms: int
    parts: Mapping[str, PartHealth]
    workers: Sequence[dict[str, JsonValue]]
    silent: Sequence[Silent]
    plan: PublishedPlan | None


class Flow(Protocol):
    """What is asked of the figures, at most `within_s` old; see monitor/figures.py."""

    def routes(self, window_s: int, within_s: float) -> Routes:
        """Return what flowed on every route."""

    def balance(self, minutes: int, within_s: float) -> Balance:
        """Return the accounts."""

    def subscribers(self, within_s: float) -> tuple[SubscriberPosition, ...]:
        """Return how far consumer groups are."""


class MayRead(Protocol):
    """What is asked of the readers; see monitor/readers.py."""

    def by_topic(self, topics: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """Return who may read which view's topic."""


def overview_of(known: Known, figures: Flow, readers: MayRead) -> Overview:
    """Return everything at a glance."""
    overview = Overview(
        at_ms=known.at_ms,
        parts=dict(known.parts),
        workers=tuple(known.workers),
        silent=tuple(known.silent),
        plan_version=known.plan.version if known.plan is not None else None,
        routes_window_s=WINDOW_S,
        totals=None,
        routes=None,
        lanes=(),
        lanes_left_out=0,
        balance=None,
    )
    with contextlib.suppress(TransientError):
        return overview.model_copy(update=_flow(known, figures, readers))
    return overview


def summary_of(balance: Balance) -> BalanceSummary:
    """Return the short form of a balance."""
    return BalanceSummary(
        balanced=balance.balanced,
        captured=balance.captured,
        processed=balance.processed,
        refused=balance.refused,
        in_flight=balance.in_flight,
        problems=len(balance.problems),
        newest=balance.problems[:_NEWEST],
    )


def _flow(known: Known, figures: Flow, readers: MayRead) -> dict[str, Any]:
    routes = figures.routes(WINDOW_S, _FLOW_WITHIN_S).routes
    positions = figures.subscribers(_FLOW_WITHIN_S)
    may_read = readers.by_topic({route.view_topic for route in routes})
    return {
        "totals": totals_of(routes),
        "routes": routes[:PAGE],
        "lanes": lanes_of(routes, known.plan, known.workers, known.silent, positions, may_read),
        "lanes_left_out": max(len(routes) - LANES, 0),
        "balance": summary_of(figures.balance(BALANCE_MINUTES, _BALANCE_WITHIN_S)),
    }
