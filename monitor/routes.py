"""Rows of the named queries put together: routes, and how far consumer groups are behind. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from monitor import delays
from monitor.api.models import Delay, Delivered, Route, Routes, SubscriberPosition, Trend

RATE_WINDOW_MS: Final = 60_000

Row = Mapping[str, Any]
Rows = Iterable[Row]


def page_of(found: Routes, limit: int | None, offset: int) -> Routes:
    """Return `limit` of the routes from `offset` on, or all of them from there."""
    total = len(found.routes)
    end = total if limit is None else offset + limit
    shown = found.routes[offset:end]
    return found.model_copy(
        update={"routes": shown, "total": total, "next_offset": end if end < total else None}
    )


def complete(
    routes: Iterable[Route],
    by_stage: Rows,
    budgets_ms: Mapping[str, int],
    positions: Iterable[SubscriberPosition],
) -> Iterator[Route]:
    """Yield routes with their delay by stage, and how far workers and subscribers are behind.

    by_stage: rows of delays_of_stages. A route's stages are its own topic's, and from there its view topic's.
    """
    groups, of_topic = tuple(positions), _by_topic(by_stage)
    behind, readers = lag_by_topic(groups), _readers_lags(groups)
    known: dict[str, tuple[delays.StageDelay, ...]] = {}
    for route in routes:
        own = of_topic.get(route.topic, [])
        if of_view := of_topic.get(route.view_topic):
            stages = delays.stages_of([*own, *of_view])
        else:
            stages = known.get(route.topic) or known.setdefault(route.topic, delays.stages_of(own))
        update = {
            "stages": stages,
            "budget": delays.judged(stages, budgets_ms.get(route.view_topic)),
            "readers_lag_records": readers.get(route.view_topic),
            **behind.get(route.topic, {}),
        }
        yield route.model_copy(update=update)


def _by_topic(rows: Rows) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["topic"]].append(row)
    return found


def _readers_lags(positions: Iterable[SubscriberPosition]) -> dict[str, int]:
    """Return the largest lag of a subscriber's group per view topic, all its partitions together."""
    of_group: dict[tuple[str, str], int] = defaultdict(int)
    for position in positions:
        if position.subscriber:
            of_group[position.topic, position.group] += position.lag_records
    largest: dict[str, int] = {}
    for (topic, _), lag in of_group.items():
        largest[topic] = max(lag, largest.get(topic, 0))
    return largest


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
            rate_per_s=row.pop("recent") / (RATE_WINDOW_MS / 1000),
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


def position_of(row: dict[str, Any]) -> SubscriberPosition:
    """Return where a group is on a partition, from a row of `subscribers`."""
    lag = max(row["end_offset"] - row["next_offset"], 0)
    earlier = row.pop("earlier_lag_records")
    trend = None if earlier is None else trend_of(max(earlier, 0), lag)
    return SubscriberPosition(group=row.pop("group_id"), lag_records=lag, trend=trend, **row)


def trend_of(earlier: int, now: int) -> Trend:
    """Return where a lag goes; what changes by less than a tenth, or by a marker or two, is steady."""
    if abs(now - earlier) <= max(2, earlier // 10):
        return "steady"
    return "growing" if now > earlier else "shrinking"


def lag_by_topic(positions: Iterable[SubscriberPosition]) -> dict[str, dict[str, Any]]:
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
