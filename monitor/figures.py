"""The figures that the API shows, from named queries; each asked at most once a second for all viewers.

While nothing new is stored an answer is asked for anew every quarter of a minute, as its window moves on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar, cast

from exchange.errors import TransientError
from monitor.api.models import (
    FlowPoint,
    MinuteFigures,
    Refusal,
    Refusals,
    RefusalsParams,
    RouteDetail,
    RouteParams,
    Routes,
    RoutesParams,
    StagePoint,
    SubscriberPosition,
)
from monitor.balance import Balance, balance
from monitor.clickhouse.client import Ask, ClickHouse
from monitor.clickhouse.rollups import DAY_S, GROWTH, HOUR_S, MINUTE_S
from monitor.routes import (
    RATE_WINDOW_MS,
    complete,
    longer,
    position_of,
    readable,
    routes_of,
)
from monitor.suspects import suspect_minutes

CACHE_S: Final = 1.0
_MAX_CACHED: Final = 200
_LONG_S: Final = 0.1
_KEPT_S: Final = 10.0
_UNCHANGED_MS: Final = 15_000
"""So long an answer may stand while nothing is stored; half of what a table shows is of whole minutes."""
_GROUPS: Final = ("groups",)
_POSITIONS_MS: Final = 60_000
_TREND_MS: Final = 60_000
_EXACT_WINDOW_S: Final = 900
"""Up to here routes and delays come from the accounts themselves; beyond, from whole steps."""
_BY_MINUTE_S: Final = 2 * DAY_S
_SPANS: Final = {"15min": (900, MINUTE_S), "day": (DAY_S, MINUTE_S), "month": (31 * DAY_S, HOUR_S)}
"""Span -> seconds back, seconds of a step."""

_Answer = TypeVar("_Answer")


class _Kept(NamedTuple):
    """An answer, when it came, how long it took, and what it was made of."""

    answer: Any
    at_s: float
    took_s: float
    basis: object


class Figures:
    """Answers from ClickHouse. Every method raises TransientError while it does not answer.

    settled: raw topic -> offset in the accounts before which all that was captured has been read by the
    workers; budgets_ms: view topic -> delay its view declares; unknown_to_kafka: stored accounts that Kafka
    never had; as_of_ms: until when all accounts are rolled up, unset: until now.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        now_ms: Callable[[], int],
        settled: Callable[[], Mapping[str, int]] = dict,
        budgets_ms: Callable[[], Mapping[str, int]] = dict,
        unknown_to_kafka: Callable[[], int] = int,
        as_of_ms: Callable[[], int] | None = None,
    ) -> None:
        self._clickhouse = clickhouse
        self._now_ms = now_ms
        self._settled = settled
        self._budgets_ms = budgets_ms
        self._unknown_to_kafka = unknown_to_kafka
        self._as_of_ms = as_of_ms or now_ms
        self._lock = threading.Lock()
        self._cache: dict[tuple[Any, ...], _Kept] = {}
        self._renewing: set[tuple[Any, ...]] = set()

    def routes(self, window_s: int, within_s: float | None = None) -> Routes:
        """Return what flowed on every route in the last `window_s` seconds, at most `within_s` (1) old."""
        return self._once(("routes", window_s), lambda: self._routes(window_s), within_s)

    def route(self, asked: RouteParams) -> RouteDetail | None:
        """Return one route with its figures over time; None where there is no such route."""
        return self._once(("route", asked), lambda: self._route(asked))

    def balance(self, minutes: int, within_s: float | None = None) -> Balance:
        """Return the accounts over the last source minutes, the current one included; `within_s` as above."""
        return self._once(("balance", minutes), lambda: self._balance(minutes), within_s)

    def minutes(self, minutes: int) -> tuple[MinuteFigures, ...]:
        """Return the figures of each of the last source minutes."""
        return self._once(("minutes", minutes), lambda: self._minutes(minutes))

    def refusals(self, asked: RefusalsParams) -> Refusals:
        """Return what went to quarantine."""
        return self._once(("refusals", asked), lambda: self._refusals(asked))

    def subscribers(self, within_s: float | None = None) -> tuple[SubscriberPosition, ...]:
        """Return how far subscribers' consumer groups are, as last asked."""
        return tuple(position for position in self.groups(within_s) if position.subscriber)

    def groups(self, within_s: float | None = None) -> tuple[SubscriberPosition, ...]:
        """Return the same with the workers' own group, which has no subscriber."""
        return self._once(_GROUPS, self._groups, within_s)

    def _once(
        self, key: tuple[Any, ...], ask: Callable[[], _Answer], within_s: float | None = None
    ) -> _Answer:
        """Answer from the last second's answer, or ask; one at a time, so that equal questions meet.

        What takes long is asked anew behind the last answer's back, while that one is not too old.
        """
        fresh_s = CACHE_S if within_s is None else within_s
        with self._lock:
            known = self._cache.get(key)
            if known is None:
                return self._keep(key, ask)
            age_s = time.monotonic() - known.at_s
            if age_s >= fresh_s and known.basis != self._basis():
                if known.took_s <= _LONG_S or age_s >= _KEPT_S:
                    return self._keep(key, ask)
                self._renew(key, ask)
            return cast("_Answer", known.answer)  # the key fixes the type

    def _keep(self, key: tuple[Any, ...], ask: Callable[[], _Answer]) -> _Answer:
        began, basis = time.monotonic(), self._basis()
        answer, now = ask(), time.monotonic()
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        self._cache[key] = _Kept(answer, now, now - began, basis)
        return answer

    def _basis(self) -> object:
        """Return what answers are made of, and the quarter of a minute: while it is the same, so are they."""
        return (
            self._now_ms() // _UNCHANGED_MS,
            self._clickhouse.stored,
            dict(self._settled()),
            dict(self._budgets_ms()),
            self._unknown_to_kafka(),
        )

    def _renew(self, key: tuple[Any, ...], ask: Callable[[], object]) -> None:
        if key in self._renewing:
            return
        self._renewing.add(key)

        def work() -> None:
            try:
                self._keep(key, ask)
            except (TransientError, RuntimeError):
                pass  # the last answer grows old, and who asks then is told; or the monitor ends
            finally:
                self._renewing.discard(key)

        threading.Thread(target=work, name="figures", daemon=True).start()

    def _routes(self, window_s: int) -> Routes:
        now, ask = self._now_ms(), self._clickhouse.query
        since, step = now - window_s * 1000, window_steps(now, window_s)
        recent = now - RATE_WINDOW_MS
        exact = window_s <= _EXACT_WINDOW_S
        flowed = ask("routes", since_ms=since if exact else recent, recent_ms=recent)
        by_stage = ask("delays_of_stages", **step, growth=GROWTH)
        found = routes_of(
            flowed if exact else longer(ask("routes_long", **step), flowed),
            ask("planned_routes"),
            ask("delays", since_ms=since, growth=GROWTH) if exact else readable(by_stage),
            ask("refusals", **step, topic="", limit=1000, offset=0),
            ask("deliveries", **step, positions_ms=now - _POSITIONS_MS),
        )
        groups = self._keep(_GROUPS, self._groups)  # whoever asks for routes asks for them too
        routes = complete(found, by_stage, self._budgets_ms(), groups)
        return Routes(window_s=window_s, at_ms=now, routes=tuple(routes), total=len(found))

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
        step = window_steps(now, (minutes - 1) * MINUTE_S)
        settled = self._settled()  # before the figures that it is compared with
        unknown = self._unknown_to_kafka()
        as_of_ms = min(now, self._as_of_ms())

        def judge(ask: Ask) -> Balance:
            starts = suspect_minutes(ask, step["since_s"], now // 1000)
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
                as_of_ms=as_of_ms,
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
            "refusals",
            **window_steps(now, asked.window_s),
            topic=asked.topic,
            limit=asked.limit + 1,  # to know whether there is more
            offset=asked.offset,
        )
        end = asked.offset + asked.limit
        return Refusals(
            window_s=asked.window_s,
            at_ms=now,
            refusals=tuple(Refusal(**row) for row in rows[: asked.limit]),
            next_offset=end if len(rows) > asked.limit else None,
        )

    def _groups(self) -> tuple[SubscriberPosition, ...]:
        now = self._now_ms()
        rows = self._clickhouse.query(
            "subscribers",
            since_ms=now - 2 * _TREND_MS,
            trend_ms=now - _TREND_MS,
            alive_ms=now - _POSITIONS_MS,
        )
        return tuple(position_of(row) for row in rows)


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


def window_steps(now_ms: int, window_s: int) -> dict[str, int]:
    """Return the step and start of the rollups for a window; it begins with a whole step.

    A long one goes by the hour up to the hour before this one, and on by the minute: those are newer.
    """
    now_s = now_ms // 1000
    step_s = MINUTE_S if window_s <= _BY_MINUTE_S else HOUR_S
    since_s = max(now_s - window_s, 0) // step_s * step_s
    by_minute_s = since_s if step_s == MINUTE_S else (now_s // HOUR_S - 1) * HOUR_S
    return {"step_s": step_s, "since_s": since_s, "by_minute_s": by_minute_s}


def _stage_point(row: dict[str, Any]) -> StagePoint:
    p99_ms = row.pop("p99_ms")
    known = row["changes"] and p99_ms == p99_ms  # a percentile of nothing is NaN
    return StagePoint(start_ms=row.pop("start_s") * 1000, p99_ms=round(p99_ms, 1) if known else None, **row)
