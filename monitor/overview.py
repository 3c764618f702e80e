"""What the console shows at a glance: what is wrong, the sums, and a picture of the flow. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import Field, JsonValue

from exchange.model import Label, Model
from exchange.plan import PublishedPlan
from exchange.position import writer_id
from monitor.api.models import BalanceSummary, PartHealth, Route, SubscriberPosition, Trend
from monitor.expected import Silent

PAGE: Final = 50
"""Routes of the first page of the list."""
LANES: Final = 10
"""Routes of the picture; more cannot be read from across a room."""

Trouble = Literal["halted", "silent", "over_budget", "growing", "refused"]


class Totals(Model):
    """All routes together, over the window."""

    routes: int
    rate_per_s: float
    slowest_p95_ms: float | None = Field(description="Of the slowest route; None where nothing passed.")
    refused: int
    over_budget: int = Field(description="Routes that do not keep their delay budget.")
    growing: int = Field(description="Routes on which the workers fall behind.")


class LaneReader(Model):
    """One subscriber that may read a view, or does; its largest group, all partitions together."""

    name: str
    lag_records: int | None = Field(description="None where it has read nothing with a group yet.")
    lag_s: float | None
    trend: Trend | None


class Lane(Model):
    """One route in the picture: source, resource, view, subscribers."""

    system: str
    resource: str
    resource_label: Label | None = Field(description="None where the newest plan has no such resource.")
    view: str
    view_label: Label | None
    topic: str
    view_topic: str
    rate_per_s: float
    p95_ms: float | None
    troubles: tuple[Trouble, ...]
    readers: tuple[LaneReader, ...]


class Overview(Model):
    """Everything at a glance; figures are null while ClickHouse does not answer."""

    at_ms: int
    parts: dict[str, PartHealth]
    workers: tuple[dict[str, JsonValue], ...] = Field(description="Heartbeats of connectors and workers.")
    silent: tuple[Silent, ...] = Field(description="Who ought to be at work and gives no sign of life.")
    plan_version: int | None
    routes_window_s: int = Field(description="How far back the figures of the routes reach.")
    totals: Totals | None
    routes: tuple[Route, ...] | None = Field(description="The first page of /api/routes.")
    lanes: tuple[Lane, ...] = Field(description="The routes most in trouble, then the busiest; by source.")
    lanes_left_out: int
    balance: BalanceSummary | None


def totals_of(routes: Iterable[Route]) -> Totals:
    """Return the sums; refusals are told of a raw topic, on each of its routes again, and count once."""
    found = tuple(routes)
    delays = [route.delay_ms.p95 for route in found if route.delay_ms is not None]
    refused = {route.topic: sum(route.refused.values()) for route in found}
    return Totals(
        routes=len(found),
        rate_per_s=round(sum(route.rate_per_s for route in found), 2),
        slowest_p95_ms=max(delays, default=None),
        refused=sum(refused.values()),
        over_budget=sum(route.budget is not None and not route.budget.kept for route in found),
        growing=len({route.topic for route in found if route.trend == "growing"}),
    )


def lanes_of(
    routes: Sequence[Route],
    plan: PublishedPlan | None,
    workers: Iterable[Mapping[str, Any]],
    silent: Iterable[Silent],
    positions: Iterable[SubscriberPosition],
    readers: Mapping[str, Sequence[str]],
) -> tuple[Lane, ...]:
    """Return at most LANES routes. readers: view topic → who may read it."""
    halted = {halt["topic"] for worker in workers for halt in worker["halted"]}
    stopped = {worker["writer"] for worker in workers if any(not halt["topic"] for halt in worker["halted"])}
    dead = {one.writer for one in silent}
    ranked = sorted(
        ((_troubles(route, halted, stopped, dead), route) for route in routes),
        key=lambda one: (-len(one[0]), -one[1].rate_per_s, one[1].topic, one[1].view_topic),
    )
    labels, groups = _Labels(plan), _groups(positions)
    lanes = [
        _lane(route, troubles, labels, groups.get(route.view_topic, {}), readers.get(route.view_topic, ()))
        for troubles, route in ranked[:LANES]
    ]
    return tuple(sorted(lanes, key=lambda lane: (lane.system, lane.resource, lane.view)))


def system_of(topic: str) -> str:
    """Return the system of a raw topic, raw.<system>.<schema>.<table>."""
    return topic.split(".")[1] if topic.count(".") >= 1 else topic


def _troubles(route: Route, halted: set[str], stopped: set[str], dead: set[str]) -> tuple[Trouble, ...]:
    connector = writer_id(system_of(route.topic))
    seen: dict[Trouble, bool] = {
        "halted": route.topic in halted or route.view_topic in halted or connector in stopped,
        "silent": connector in dead or "stream" in dead,
        "over_budget": route.budget is not None and not route.budget.kept,
        "growing": route.trend == "growing",
        "refused": bool(route.refused),
    }
    return tuple(trouble for trouble, there in seen.items() if there)


class _Labels:
    """What the newest plan calls resources and views."""

    def __init__(self, plan: PublishedPlan | None) -> None:
        resources = plan.resources if plan is not None else ()
        self.resources = {one.name: label_of(one.contract) for one in resources}
        self.views = {view.topic: view.spec.label for one in resources for view in one.views}


def label_of(contract: Mapping[str, Any]) -> Label | None:
    """Return the label of a contract's document; every valid one has it."""
    label = contract.get("label")
    return Label.model_validate(label) if isinstance(label, dict) else None


def _groups(positions: Iterable[SubscriberPosition]) -> dict[str, dict[str, LaneReader]]:
    """Return view topic → subscriber → its largest group, with the longest wait of its partitions."""
    of_group: dict[tuple[str, str, str], list[SubscriberPosition]] = defaultdict(list)
    for one in positions:
        of_group[one.topic, one.subscriber, one.group].append(one)
    found: dict[str, dict[str, LaneReader]] = defaultdict(dict)
    for (topic, subscriber, _), group in of_group.items():
        reader = _reader(subscriber, group)
        known = found[topic].get(subscriber)
        if known is None or (reader.lag_records or 0) > (known.lag_records or 0):
            found[topic][subscriber] = reader
    return found


def _reader(subscriber: str, group: Sequence[SubscriberPosition]) -> LaneReader:
    trends = {one.trend for one in group}
    worst: tuple[Trend, ...] = ("growing", "steady", "shrinking")
    return LaneReader(
        name=subscriber,
        lag_records=sum(one.lag_records for one in group),
        lag_s=max((one.lag_s for one in group if one.lag_s is not None), default=None),
        trend=next((trend for trend in worst if trend in trends), None),
    )


def _lane(
    route: Route,
    troubles: tuple[Trouble, ...],
    labels: _Labels,
    seen: Mapping[str, LaneReader],
    entitled: Sequence[str],
) -> Lane:
    unread = {name: LaneReader(name=name, lag_records=None, lag_s=None, trend=None) for name in entitled}
    return Lane(
        system=system_of(route.topic),
        resource=route.resource,
        resource_label=labels.resources.get(route.resource),
        view=route.view_topic.removeprefix("share."),
        view_label=labels.views.get(route.view_topic),
        topic=route.topic,
        view_topic=route.view_topic,
        rate_per_s=route.rate_per_s,
        p95_ms=route.delay_ms.p95 if route.delay_ms is not None else None,
        troubles=troubles,
        readers=tuple(reader for _, reader in sorted({**unread, **seen}.items())),
    )
