"""The figures that the API shows, from named queries; each asked at most once a second for all viewers."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar, cast

from monitor import delays
from monitor.api.models import (
    Delay,
    Delivered,
    FlowPoint,
    MinuteFigures,
    Refusal,
    Refusals,
    RefusalsParams,
    Route,
    RouteDetail,
    RouteParams,
    Routes,
    RoutesParams,
    StagePoint,
    SubscriberPosition,
    Trend,
)
from monitor.balance import Balance, balance
from monitor.clickhouse.client import Ask, ClickHouse
from monitor.clickhouse.rollups import DAY_S, GROWTH, HOUR_S, MINUTE_S

CACHE_S: Final = 1.0
_MAX_CACHED: Final = 200
_RATE_WINDOW_MS: Final = 60_000
_POSITIONS_MS: Final = 60_000
_TREND_MS: Final = 60_000
_EXACT_WINDOW_S: Final = 900
"""Up to here routes and delays come from the accounts themselves; beyond, from whole steps."""
_BY_MINUTE_S: Final = 2 * DAY_S
_SPANS: Final = {"15min": (900, MINUTE_S), "day": (DAY_S, MINUTE_S), "month": (31 * DAY_S, HOUR_S)}
"""Span -> seconds back, seconds of a step."""

_Answer = TypeVar("_Answer")


Row = Mapping[str, Any]
Rows = Iterable[Row]


class Figures:
    """Answers from ClickHouse. Every method raises TransientError while it does not answer.

    settled: raw topic -> offset in the accounts before which all that was captured has been read by the
    workers; budgets_ms: view topic -> delay its view declares; unknown_to_kafka: stored accounts that Kafka
    never had.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        now_ms: Callable[[], int],
        settled: Callable[[], Mapping[str, int]] = dict,
        budgets_ms: Callable[[], Mapping[str, int]] = dict,
        unknown_to_kafka: Callable[[], int] = int,
    ) -> None:
        self._clickhouse = clickhouse
        self._now_ms = now_ms
        self._settled = settled
        self._budgets_ms = budgets_ms
        self._unknown_to_kafka = unknown_to_kafka
        self._lock = threading.Lock()
        self._cache: dict[tuple[Any, ...], tuple[float, Any]] = {}

    def routes(self, window_s: int) -> Routes:
        """Return what flowed on every route in the last `window_s` seconds."""
        return self._once(("routes", window_s), lambda: self._routes(window_s))

    def route(self, asked: RouteParams) -> RouteDetail | None:
        """Return one route with its figures over time; None where there is no such route."""
        return self._once(("route", asked), lambda: self._route(asked))

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
        """Return how far subscribers' consumer groups are, as last asked."""
        return tuple(position for position in self.groups() if position.subscriber)

    def groups(self) -> tuple[SubscriberPosition, ...]:
        """Return the same with the workers' own group, which has no subscriber."""
        return self._once(("groups",), self._groups)

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
        now, ask = self._now_ms(), self._clickhouse.query
        since, step = now - window_s * 1000, _step(now, window_s)
        recent = now - _RATE_WINDOW_MS
        exact = window_s <= _EXACT_WINDOW_S
        flowed = ask("routes", since_ms=since if exact else recent, recent_ms=recent)
        by_stage = ask("delays_of_stages", **step, growth=GROWTH)
        found = routes_of(
            flowed if exact else longer(ask("routes_long", **step), flowed),
            ask("planned_routes"),
            ask("delays", since_ms=since, growth=GROWTH) if exact else readable(by_stage),
            ask("refusals", **step, topic="", limit=1000),
            ask("deliveries", **step, positions_ms=now - _POSITIONS_MS),
        )
        behind = _lag_by_topic(self._groups())
        budgets = self._budgets_ms()
        routes = (_with_delays(route, by_stage, budgets.get(route.view_topic)) for route in found)
        return Routes(
            window_s=window_s,
            at_ms=now,
            routes=tuple(route.model_copy(update=behind.get(route.topic, {})) for route in routes),
        )

    def _route(self, asked: RouteParams) -> RouteDetail | None:
        span_s, step_s = _SPANS[asked.span]
        now = self._now_ms()
        routes = self._routes(min(span_s, RoutesParams.LONGEST_S)).routes
        places = {"topic": asked.topic, "view_topic": asked.view_topic}
        found = [one for one in routes if (one.topic, one.view_topic) == (asked.topic, asked.view_topic)]
        if not found:
            return None
        since_s = (now // 1000 - span_s) // step_s * step_s
        of_view = self._clickhouse.query("flow_series", step_s=step_s, since_s=since_s, **places)
        of_stages = self._clickhouse.query(
            "stage_series", step_s=step_s, since_s=since_s, growth=GROWTH, **places
        )
        return RouteDetail(
            at_ms=now,
            step_s=step_s,
            since_ms=since_s * 1000,
            route=found[0],
            flow=tuple(FlowPoint(start_ms=row.pop("start_s") * 1000, **row) for row in of_view),
            stages=tuple(_stage_point(row) for row in of_stages),
            readers=tuple(one for one in self._groups() if one.topic == asked.view_topic and one.subscriber),
        )

    def _balance(self, minutes: int) -> Balance:
        now = self._now_ms()
        step = _step(now, (minutes - 1) * MINUTE_S)
        settled = self._settled()  # before the figures that it is compared with
        unknown = self._unknown_to_kafka()

        def judge(ask: Ask) -> Balance:
            starts = _suspect_minutes(ask, step["since_s"], now // 1000)
            uneven_minutes = ask("uneven_minutes", starts=starts)
            uneven_views = ask("uneven_views", starts=starts)
            return balance(
                totals=ask("totals", **step),
                view_totals=ask("view_totals", **step),
                uneven_minutes=uneven_minutes,
                uneven_views=uneven_views,
                missing=ask("missing_accounts"),
                places=_places(ask, [*uneven_minutes, *uneven_views], settled),
                unknown_to_kafka=unknown,
                now_ms=now,
                since_ms=step["since_s"] * 1000,
            )

        return self._clickhouse.together(judge)

    def _minutes(self, minutes: int) -> tuple[MinuteFigures, ...]:
        since_s = max(self._now_ms() // 60_000 - minutes + 1, 0) * MINUTE_S
        return tuple(
            MinuteFigures(minute_ms=row.pop("minute") * 60_000, **row)
            for row in self._clickhouse.query("minutes", since_s=since_s)
        )

    def _refusals(self, asked: RefusalsParams) -> Refusals:
        now = self._now_ms()
        rows = self._clickhouse.query(
            "refusals", **_step(now, asked.window_s), topic=asked.topic, limit=asked.limit
        )
        found = tuple(Refusal(**row) for row in rows)
        return Refusals(window_s=asked.window_s, at_ms=now, refusals=found)

    def _groups(self) -> tuple[SubscriberPosition, ...]:
        now = self._now_ms()
        rows = self._clickhouse.query(
            "subscribers",
            since_ms=now - 2 * _TREND_MS,
            trend_ms=now - _TREND_MS,
            alive_ms=now - _POSITIONS_MS,
        )
        return tuple(_position(row) for row in rows)


def _suspect_minutes(ask: Ask, since_s: int, now_s: int) -> list[int]:
    """Return the starts of the minutes to look at: of suspect hours, which are those of suspect days."""
    first, last = since_s // DAY_S * DAY_S, now_s // DAY_S * DAY_S
    days = {first, last}
    if now_s - since_s > _BY_MINUTE_S:
        days = _suspect(ask, DAY_S, list(range(first, last + 1, DAY_S)))
    hours = [hour for hour in steps_of(days, DAY_S, HOUR_S, now_s) if hour > since_s - HOUR_S]
    minutes = steps_of(_suspect(ask, HOUR_S, hours), HOUR_S, MINUTE_S, now_s)
    return [start for start in minutes if start >= since_s]


def _suspect(ask: Ask, step_s: int, starts: list[int]) -> set[int]:
    return {row["start_s"] for row in ask("suspect_steps", step_s=step_s, starts=starts)}


def _places(ask: Ask, uneven: list[dict[str, Any]], settled: Mapping[str, int]) -> list[dict[str, Any]]:
    if not uneven:
        return []
    return ask(
        "places_of_minutes",
        minutes=sorted({row["minute"] for row in uneven}),
        topics=sorted({row["topic"] for row in uneven}),
        settled_topics=list(settled) or [""],
        settled=list(settled.values()) or [0],
    )


def _step(now_ms: int, window_s: int) -> dict[str, int]:
    """Return the step and start of the rollups for a window; it begins with a whole step."""
    step_s = MINUTE_S if window_s <= _BY_MINUTE_S else HOUR_S
    return {"step_s": step_s, "since_s": max(now_ms // 1000 - window_s, 0) // step_s * step_s}


def steps_of(suspect: set[int], step_s: int, finer_s: int, now_s: int) -> list[int]:
    """Return the starts of the finer steps within suspect ones, in order.

    The last two steps are among them whatever was found: what is new may not be in their figures yet.
    """
    this = now_s // step_s * step_s
    wanted = sorted(suspect | {this - step_s, this, this + step_s})
    return [start for begin in wanted for start in range(begin, begin + step_s, finer_s)]


def _position(row: dict[str, Any]) -> SubscriberPosition:
    lag = max(row["end_offset"] - row["next_offset"], 0)
    earlier = row.pop("earlier_lag_records")
    trend = None if earlier is None else trend_of(max(earlier, 0), lag)
    return SubscriberPosition(group=row.pop("group_id"), lag_records=lag, trend=trend, **row)


def trend_of(earlier: int, now: int) -> Trend:
    """Return where a lag goes; what changes by less than a tenth, or by a marker or two, is steady."""
    if abs(now - earlier) <= max(2, earlier // 10):
        return "steady"
    return "growing" if now > earlier else "shrinking"


def _lag_by_topic(positions: Iterable[SubscriberPosition]) -> dict[str, dict[str, Any]]:
    """Return how far the workers are behind on each raw topic: all records, the oldest one's time."""
    of_topic: dict[str, list[SubscriberPosition]] = defaultdict(list)
    for position in positions:
        if not position.subscriber:
            of_topic[position.topic].append(position)
    return {
        topic: {
            "lag_records": sum(one.lag_records for one in found),
            "lag_s": max((one.lag_s for one in found if one.lag_s is not None), default=None),
            "trend": _worst([one.trend for one in found if one.trend is not None]),
        }
        for topic, found in of_topic.items()
    }


def _worst(trends: list[Trend]) -> Trend | None:
    order: tuple[Trend, ...] = ("growing", "steady", "shrinking")
    return min(trends, key=order.index, default=None)


def _stage_point(row: dict[str, Any]) -> StagePoint:
    p99_ms = row.pop("p99_ms")
    known = row["changes"] and p99_ms == p99_ms  # a percentile of nothing is NaN
    return StagePoint(start_ms=row.pop("start_s") * 1000, p99_ms=round(p99_ms, 1) if known else None, **row)


def _with_delays(route: Route, by_stage: Rows, budget_ms: int | None) -> Route:
    """Return a route with its delay by stage; its own topic's, and its view topic's from there on."""
    about = [row for row in by_stage if row["topic"] in (route.topic, route.view_topic)]
    stages = delays.stages_of(about)
    return route.model_copy(update={"stages": stages, "budget": delays.judged(stages, budget_ms)})


def longer(whole: Rows, recent: Rows) -> list[Row]:
    """Return the rows of a long window, with what `recent` counts of the last minute.

    What is so new that it is in no long step yet is there as `recent` has it.
    """
    known = {(row["topic"], row["view_topic"]): row for row in whole}
    lately = {(row["topic"], row["view_topic"]): row for row in recent}
    counted = {
        at: {**row, "recent": lately[at]["recent"] if at in lately else 0} for at, row in known.items()
    }
    return list({**lately, **counted}.values())


def readable(by_stage: Rows) -> list[Row]:
    """Return the rows of delays_of_stages that say when changes were readable."""
    return [row for row in by_stage if row["reached"] == "readable"]


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
