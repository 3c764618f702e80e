from __future__ import annotations

from typing import Any

from monitor.api.models import Delay, Route, SubscriberPosition
from monitor.delays import DelayBudget
from monitor.expected import Silent
from monitor.overview import LANES, lanes_of, totals_of

LATE = DelayBudget(budget_ms=100, kept=False, p99_ms=900, slowest_stage="process")


def route(topic: str = "raw.s.public.t", view: str = "share.d.r.v", **figures: Any) -> Route:
    given: dict[str, Any] = {
        "resource": "d.r", "plan_version": 1, "rate_per_s": 1.0, "delivered": 1, "filtered": 0, "records": 1,
        "refused": {}, "delay_ms": Delay(p50=1, p95=2, p99=3), "last_made_at_ms": 1, "deliveries": (),
    }  # fmt: skip
    return Route(topic=topic, view_topic=view, **{**given, **figures})


def position(subscriber: str, group: str, partition: int, lag: int) -> SubscriberPosition:
    return SubscriberPosition(
        subscriber=subscriber,
        group=group,
        topic="share.d.r.v",
        partition=partition,
        next_offset=0,
        end_offset=lag,
        lag_records=lag,
        at_ms=1,
        lag_s=lag / 10,
        trend="steady",
    )


def test_refusals_of_a_raw_topic_count_once_however_many_views_it_has() -> None:
    routes = [route(view=f"share.d.r.v{number}", refused={"length": 2, "type": 1}) for number in range(3)]

    found = totals_of([*routes, route("raw.other.public.t", refused={"length": 5}, budget=LATE)])

    assert (found.routes, found.refused, found.over_budget) == (4, 8, 1)
    assert (found.rate_per_s, found.slowest_p95_ms) == (4.0, 2)


def test_routes_in_trouble_are_in_the_picture_before_busy_ones() -> None:
    busy = [
        route(f"raw.busy{number}.public.t", f"share.b{number}", rate_per_s=1e6) for number in range(LANES)
    ]
    still = route("raw.still.public.t", "share.still", rate_per_s=0, budget=LATE)

    lanes = lanes_of([*busy, still], None, (), (), (), {})

    assert len(lanes) == LANES
    assert [lane.troubles for lane in lanes if lane.view_topic == "share.still"] == [("over_budget",)]


def test_what_is_wrong_with_a_lane_is_named() -> None:
    halt = {"topic": "", "partition": -1, "offset": -1, "reason": "?"}
    silent = Silent(
        stage="capture", writer="cdc-dead", last_at_ms=None, since_ms=1, command="exchange connect dead"
    )
    routes = [
        route("raw.halted.public.t", "share.one"),
        route("raw.dead.public.t", "share.two", trend="growing", refused={"length": 1}),
        route("raw.fine.public.t", "share.three"),
    ]

    lanes = lanes_of(routes, None, [{"writer": "cdc-halted", "halted": [halt]}], [silent], (), {})

    assert {lane.system: lane.troubles for lane in lanes} == {
        "halted": ("halted",), "dead": ("silent", "growing", "refused"), "fine": (),
    }  # fmt: skip


def test_readers_of_a_lane_are_those_who_may_and_those_who_do() -> None:
    positions = [
        position("tax", "tax.a", 0, 5),
        position("tax", "tax.a", 1, 7),
        position("tax", "tax.b", 0, 3),
    ]

    [lane] = lanes_of([route()], None, (), (), positions, {"share.d.r.v": ("housing", "tax")})

    assert [(one.name, one.lag_records, one.lag_s) for one in lane.readers] == [
        ("housing", None, None), ("tax", 12, 0.7),
    ]  # fmt: skip
