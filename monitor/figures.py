"""The figures that the API shows, from named queries; each asked at most once a second for all viewers."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar, cast

from exchange.account import bucket_middle_ms
from monitor.api.models import (
    Delay,
    Delivered,
    MinuteFigures,
    Refusal,
    Refusals,
    RefusalsParams,
    Route,
    Routes,
    SubscriberPosition,
)
from monitor.balance import Balance, balance
from monitor.clickhouse.client import ClickHouse

CACHE_S: Final = 1.0
_MAX_CACHED: Final = 200
_RATE_WINDOW_MS: Final = 60_000
_MINUTE_MS: Final = 60_000
_POSITIONS_MS: Final = 60_000
_GROWTH: Final = bucket_middle_ms(2) / bucket_middle_ms(1)
"""Factor between the middles of two delay buckets."""

_Answer = TypeVar("_Answer")


class Figures:
    """Answers from ClickHouse. Every method raises TransientError while it does not answer."""

    def __init__(self, clickhouse: ClickHouse, now_ms: Callable[[], int]) -> None:
        self._clickhouse = clickhouse
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._cache: dict[tuple[Any, ...], tuple[float, Any]] = {}

    def routes(self, window_s: int) -> Routes:
        """Return what flowed on every route in the last `window_s` seconds."""
        return self._once(("routes", window_s), lambda: self._routes(window_s))

    def balance(self, minutes: int) -> Balance:
        """Return the accounts over the last source minutes, the current one included."""
        return self._once(("balance", minutes), lambda: self._balance(minutes))

    def minutes(self, minutes: int) -> tuple[MinuteFigures, ...]:
        """Return the figures of each of the last source minutes."""
        return self._once(("minutes", minutes), lambda: self._minutes(minutes))

    def refusals(self, asked: RefusalsParams) -> Refusals:
        """Return what went to quarantine."""
        return self._once(("refusals", asked), lambda: self._refusals(asked))

    def subscribers(self) -> tuple[SubscriberPosition, ...]:
        """Return how far consumer groups are, as last asked."""
        return self._once(("subscribers",), self._subscribers)

    def _once(self, key: tuple[Any, ...], ask: Callable[[], _Answer]) -> _Answer:
        """Answer from the last second's answer, or ask; one at a time, so that equal questions meet."""
        with self._lock:
            known = self._cache.get(key)
            if known is not None and time.monotonic() - known[0] < CACHE_S:
                return cast("_Answer", known[1])  # the key fixes the type
            answer = ask()
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            self._cache[key] = (time.monotonic(), answer)
            return answer

    def _routes(self, window_s: int) -> Routes:
        now = self._now_ms()
        since = now - window_s * 1000
        flowed = self._clickhouse.query("routes", since_ms=since, recent_ms=now - _RATE_WINDOW_MS)
        planned = self._clickhouse.query("planned_routes")
        delays = self._clickhouse.query("delays", since_ms=since, growth=_GROWTH)
        refused = self._clickhouse.query("refusals", since_ms=since, topic="", limit=1000)
        done = self._clickhouse.query("deliveries", since_ms=since, positions_ms=now - _POSITIONS_MS)
        return Routes(window_s=window_s, at_ms=now, routes=routes_of(flowed, planned, delays, refused, done))

    def _balance(self, minutes: int) -> Balance:
        now = self._now_ms()
        since_minute = max(now // _MINUTE_MS - minutes + 1, 0)
        ask = self._clickhouse.query
        return balance(
            totals=ask("totals", since_minute=since_minute),
            view_totals=ask("view_totals", since_minute=since_minute),
            uneven_minutes=ask("uneven_minutes", since_minute=since_minute),
            uneven_views=ask("uneven_views", since_minute=since_minute),
            missing=ask("missing_accounts"),
            now_ms=now,
            since_ms=since_minute * _MINUTE_MS,
        )

    def _minutes(self, minutes: int) -> tuple[MinuteFigures, ...]:
        since_minute = max(self._now_ms() // _MINUTE_MS - minutes + 1, 0)
        return tuple(
            MinuteFigures(minute_ms=row.pop("minute") * _MINUTE_MS, **row)
            for row in self._clickhouse.query("minutes", since_minute=since_minute)
        )

    def _refusals(self, asked: RefusalsParams) -> Refusals:
        now = self._now_ms()
        rows = self._clickhouse.query(
            "refusals", since_ms=now - asked.window_s * 1000, topic=asked.topic, limit=asked.limit
        )
        found = tuple(Refusal(**row) for row in rows)
        return Refusals(window_s=asked.window_s, at_ms=now, refusals=found)

    def _subscribers(self) -> tuple[SubscriberPosition, ...]:
        rows = self._clickhouse.query("subscribers", since_ms=self._now_ms() - _POSITIONS_MS)
        return tuple(
            SubscriberPosition(
                group=row.pop("group_id"), lag_records=max(row["end_offset"] - row["next_offset"], 0), **row
            )
            for row in rows
        )


Row = Mapping[str, Any]
Rows = Iterable[Row]


def routes_of(
    flowed: Rows, planned: Rows, delays: Rows, refused: Rows, deliveries: Rows = ()
) -> tuple[Route, ...]:
    """Put the rows of the five queries together, one route a raw topic and view topic."""
    done: dict[str, list[Delivered]] = defaultdict(list)
    for row in deliveries:
        done[row["view_topic"]].append(Delivered(**{key: row[key] for key in row if key != "view_topic"}))
    delay_of = {row["topic"]: _delay(row["percentiles"]) for row in delays}
    reasons: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in refused:
        reasons[row["topic"]][row["reason"]] += row["changes"]
    rows = {(row["topic"], row["view_topic"]): {**_NOTHING, **row} for row in planned}
    for row in flowed:
        at = (row["topic"], row["view_topic"])
        rows[at] = {**rows.get(at, {}), **row}
    return tuple(
        Route(
            rate_per_s=row.pop("recent") / (_RATE_WINDOW_MS / 1000),
            refused=dict(reasons.get(topic, {})),
            delay_ms=delay_of.get(topic),
            deliveries=tuple(done.get(view_topic, ())),
            **row,
        )
        for (topic, view_topic), row in sorted(rows.items())
    )


_NOTHING: Final[Row] = {"recent": 0, "delivered": 0, "filtered": 0, "records": 0, "last_made_at_ms": None}


def _delay(percentiles: list[float]) -> Delay:
    p50, p95, p99 = (round(value, 1) for value in percentiles)
    return Delay(p50=p50, p95=p95, p99=p99)
