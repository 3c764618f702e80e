"""The demonstration's figures: asked of the monitor's API, never counted here; heartbeats are Redis's."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx
import redis

from exchange import heartbeat
from exchange.errors import PartError, TransientError
from exchange.settings import Settings, machine_headers

_ALL_MINUTES: Final = 90 * 1440
_ALL_S: Final = 90 * 86_400
_TIMEOUT_S: Final = 10.0
_RATE_OVER_S: Final = 10.0

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Totals:
    """What the accounts say since they began, in changes, and whether they balance."""

    captured: dict[str, int]
    """Raw topic → changes."""
    delivered: dict[str, int]
    """View topic → changes."""
    filtered: dict[str, int]
    refused: dict[str, int]
    """Reason → changes."""
    in_flight: dict[str, int]
    """Raw topic → changes."""
    problems: tuple[str, ...]
    """Where the accounts do not balance, in words; empty: they do."""
    uneven: frozenset[str]
    """Raw and view topics that the problems are about."""

    @property
    def settled(self) -> bool:
        """Whether nothing is on its way."""
        return not any(self.in_flight.values())

    @property
    def balanced(self) -> bool:
        """Whether nothing is on its way and nothing is missing, doubled or altered."""
        return self.settled and not self.problems


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at the API."""

    totals: Totals
    routes: tuple[Json, ...]
    """As /api/routes answers: topic, view_topic, delay_ms {p50, p95, p99} or None, …"""
    workers: tuple[Json, ...]
    """Heartbeats of connectors and workers."""


class MonitorApi:
    """The monitor's JSON API. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.endpoints().api.rstrip("/")
        headers = machine_headers(settings)
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=_TIMEOUT_S)
        self._redis = heartbeat.connect(settings)

    def figures(self, window_s: int) -> Figures:
        """Return totals, routes with the delays of the last `window_s` seconds, and heartbeats.

        Raises: TransientError when the monitor does not answer.
        """
        routes = self._get("/api/routes", window_s=window_s)["routes"]
        return Figures(self.totals(), tuple(routes), self._workers())

    def totals(self) -> Totals:
        """Return everything that was ever accounted. Raises: TransientError."""
        balance = self._get("/api/accounts/balance", minutes=_ALL_MINUTES)
        refusals = self._get("/api/refusals", window_s=_ALL_S, limit=1000)["refusals"]
        topics = balance["topics"]
        views = [view for topic in topics for view in topic["views"]]
        refused: dict[str, int] = {}
        for entry in refusals:
            refused[entry["reason"]] = refused.get(entry["reason"], 0) + entry["changes"]
        problems = balance["problems"]
        return Totals(
            captured={topic["topic"]: topic["captured"] for topic in topics},
            delivered={view["view_topic"]: view["delivered"] for view in views},
            filtered={view["view_topic"]: view["filtered"] for view in views},
            refused=refused,
            in_flight={topic["topic"]: topic["in_flight"] for topic in topics},
            problems=tuple(f"{problem['topic']}: {problem['text']}" for problem in problems),
            uneven=frozenset(name for p in problems for name in (p["topic"], p["view_topic"]) if name),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._redis.close()

    def _workers(self) -> tuple[Json, ...]:
        """Return the heartbeats; none while Redis does not answer."""
        try:
            return tuple(heartbeat.read_all(self._redis))
        except (redis.RedisError, ValueError):
            return ()

    def _get(self, path: str, **parameters: int) -> Json:
        try:
            answer = self._http.get(path, params=parameters)
        except httpx.HTTPError as error:
            msg = f"the monitor at {self.url} does not answer: {type(error).__name__}"
            raise TransientError(msg) from None
        if answer.is_server_error:
            msg = f"the monitor at {self.url} has no figures just now: HTTP status {answer.status_code}"
            raise TransientError(msg)
        if answer.is_error:
            msg = f"the monitor at {self.url} refuses {path}: HTTP status {answer.status_code}"
            raise PartError(msg)
        return dict(answer.json())


class Rates:
    """Changes delivered a second per view topic, from the API's totals of the last ten seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[str, int]]] = deque()

    def add(self, now_s: float, delivered: dict[str, int]) -> None:
        """Take a look of the moment `now_s` (monotonic seconds)."""
        self._seen.append((now_s, delivered))
        while now_s - self._seen[0][0] > _RATE_OVER_S and len(self._seen) > 2:
            self._seen.popleft()

    def of(self, view_topic: str) -> float:
        """Return the rate of a view topic; 0 until there were two looks."""
        if len(self._seen) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        if last_s <= first_s:
            return 0.0
        return (last.get(view_topic, 0) - first.get(view_topic, 0)) / (last_s - first_s)


def since(start: dict[str, int], end: dict[str, int]) -> dict[str, int]:
    """Return what was added from one look to a later one, by name."""
    return {name: count - start.get(name, 0) for name, count in sorted(end.items())}


def outcome(start: Totals, end: Figures, duration_s: float) -> Json:
    """Return the run's result: counts of this run, balance over all time, delays since its traffic began.

    duration_s: from the start of the connectors to the last delivery.
    """
    totals = end.totals
    captured, filtered = since(start.captured, totals.captured), since(start.filtered, totals.filtered)
    return {
        "captured": sum(captured.values()),
        "captured_by_topic": captured,
        "delivered": since(start.delivered, totals.delivered),
        "refused": {name: count for name, count in since(start.refused, totals.refused).items() if count},
        "filtered": sum(filtered.values()),
        "filtered_by_topic": filtered,
        "in_flight": sum(totals.in_flight.values()),
        "balanced": totals.balanced,
        "problems": list(totals.problems),
        "latency_ms": {
            f"{route['topic']} → {route['view_topic']}": route["delay_ms"]
            for route in end.routes
            if route["delay_ms"] is not None
        },
        "duration_s": round(duration_s, 1),
    }
