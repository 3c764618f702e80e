from __future__ import annotations

import re
import threading
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest

from exchange.account import bucket_middle_ms, delay_bucket
from monitor.clickhouse.client import Ask, ClickHouse, read_queries
from monitor.clickhouse.rollups import GROWTH
from monitor.figures import Figures, window_steps
from monitor.routes import routes_of


class CountingClickHouse(ClickHouse):
    """Answers every query with no rows and counts the questions; nothing is stored but by a test."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def query(self, name: str, **_parameters: Any) -> list[dict[str, Any]]:
        self.asked.append(name)
        return []

    def together(self, asks: Callable[[Ask], Any]) -> Any:
        return asks(self.query)


def test_growth_between_delay_buckets_is_that_of_the_accounts() -> None:
    for bucket in range(1, 120):
        assert bucket_middle_ms(bucket) == pytest.approx(GROWTH ** (bucket - 0.5))


@pytest.mark.parametrize("delay_ms", [1, 2, 7, 40, 175, 999, 60_000, 86_400_000])
def test_bucket_middle_is_within_five_percent_of_the_delay(delay_ms: int) -> None:
    assert bucket_middle_ms(delay_bucket(delay_ms)) == pytest.approx(delay_ms, rel=0.05)


def test_any_number_of_viewers_costs_one_question_a_second() -> None:
    clickhouse = CountingClickHouse()
    figures = Figures(clickhouse, lambda: 1_800_000_000_000)
    viewers = [threading.Thread(target=figures.balance, args=(60,)) for _ in range(50)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()

    assert clickhouse.asked.count("totals") == 1


class Changing:
    """What figures are made of besides what ClickHouse holds."""

    now_ms = 1_800_000_000_000
    before = 7
    budget_ms = 500
    strange = 0

    def figures(self, clickhouse: ClickHouse) -> Figures:
        return Figures(
            clickhouse,
            lambda: self.now_ms,
            lambda: {"raw.a": self.before},
            lambda: {"share.a": self.budget_ms},
            lambda: self.strange,
        )


CHANGES: dict[str, Callable[[CountingClickHouse, Changing], None]] = {
    "something is stored": lambda clickhouse, _: setattr(clickhouse, "stored", 1),
    "a quarter of a minute is over": lambda _, other: setattr(other, "now_ms", other.now_ms + 15_000),
    "more is settled": lambda _, other: setattr(other, "before", 8),
    "a view gets another budget": lambda _, other: setattr(other, "budget_ms", 400),
    "an account is unknown to Kafka": lambda _, other: setattr(other, "strange", 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_answer_stands_as_long_as_all_that_it_was_made_of(
    monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr("monitor.figures.CACHE_S", 0.0)  # each is too old at once
    clickhouse, other = CountingClickHouse(), Changing()
    figures = other.figures(clickhouse)
    for _ in range(3):
        figures.balance(60)
    assert clickhouse.asked.count("totals") == 1

    CHANGES[change](clickhouse, other)
    figures.balance(60)

    assert clickhouse.asked.count("totals") == 2


def test_who_is_content_with_an_older_answer_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.figures.CACHE_S", 0.0)
    clickhouse = CountingClickHouse()
    figures = Figures(clickhouse, lambda: 1_800_000_000_000)
    first = figures.balance(60)
    clickhouse.stored += 1

    assert figures.balance(60, within_s=60) is first
    assert figures.balance(60) is not first


def test_other_parameters_are_another_question() -> None:
    clickhouse = CountingClickHouse()
    figures = Figures(clickhouse, lambda: 1_800_000_000_000)
    figures.balance(60)
    figures.balance(61)

    assert clickhouse.asked.count("totals") == 2


def test_planned_route_without_traffic_is_shown_empty() -> None:
    planned = {"topic": "raw.a", "view_topic": "share.a.v", "resource": "d.a", "plan_version": 3}

    done = {
        "view_topic": planned["view_topic"],
        "subscriber": "tax",
        "stage": "deliver",
        "delivered": 3,
        "parked": 1,
    }
    done |= {"lag_records": None, "last_made_at_ms": 5}
    [route] = routes_of([], [planned], [], [], [done])
    [delivery] = route.deliveries
    assert (delivery.subscriber, delivery.delivered, delivery.parked) == ("tax", 3, 1)

    assert (route.rate_per_s, route.delivered, route.delay_ms, route.last_made_at_ms) == (0, 0, None, None)


def test_route_joins_rate_delays_and_refusals_of_its_raw_topic() -> None:
    flowed = {
        "topic": "raw.a", "view_topic": "share.a.v", "resource": "d.a", "plan_version": 3, "delivered": 200,
        "filtered": 1, "records": 210, "recent": 120, "last_made_at_ms": 5,
    }  # fmt: skip
    refused = [
        {"topic": "raw.a", "reason": "length", "changes": 2},
        {"topic": "raw.a", "reason": "length", "changes": 1},
        {"topic": "raw.b", "reason": "range", "changes": 9},
    ]

    [route] = routes_of([flowed], [], [{"topic": "raw.a", "percentiles": [1.04, 2.0, 3.0]}], refused)

    assert route.rate_per_s == 2.0
    assert route.refused == {"length": 3}
    assert route.delay_ms is not None
    assert route.delay_ms.p50 == 1.0


def test_every_query_says_its_unit_and_meaning() -> None:
    text = (files("monitor.clickhouse") / "queries.sql").read_text()
    heads = re.findall(r"^-- name: (\w+)\n-- unit: .+\n-- meaning: .+$", text, flags=re.MULTILINE)

    assert heads == list(read_queries())


def test_the_balance_of_a_day_looks_at_the_minutes_of_suspect_hours_and_of_the_last_two() -> None:
    now_s = 1_800_000_000
    asked: list[tuple[str, dict[str, Any]]] = []

    class Suspicious(CountingClickHouse):
        def query(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
            asked.append((name, parameters))
            return [{"start_s": now_s - 10 * 3600}] if name == "suspect_steps" else []

    Figures(Suspicious(), lambda: now_s * 1000).balance(1440)

    [(_, steps)] = [one for one in asked if one[0] == "suspect_steps"]
    assert steps["step_s"] == 3600
    assert min(steps["starts"]) <= now_s - 1439 * 60
    assert max(steps["starts"]) >= now_s - now_s % 3600
    [(_, minutes)] = [one for one in asked if one[0] == "uneven_minutes"]
    hours = {start // 3600 * 3600 for start in minutes["starts"]}
    assert hours == {now_s - 10 * 3600, now_s - 3600, now_s, now_s + 3600}
    assert now_s % 3600 == 0


def test_the_balance_of_a_month_looks_at_the_hours_of_suspect_days() -> None:
    now_s = 1_800_000_000
    asked: list[dict[str, Any]] = []

    class Suspicious(CountingClickHouse):
        def query(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
            if name == "suspect_steps":
                asked.append(parameters)
            return [{"start_s": now_s // 86_400 * 86_400 - 10 * 86_400}] if len(asked) == 1 else []

    Figures(Suspicious(), lambda: now_s * 1000).balance(30 * 1440)

    assert [one["step_s"] for one in asked] == [86_400, 3_600]
    assert {start // 86_400 for start in asked[1]["starts"]} >= {now_s // 86_400 - 10, now_s // 86_400}
    assert len(asked[1]["starts"]) < 5 * 24


def test_long_window_goes_by_the_hour_up_to_the_last_two_and_on_by_the_minute() -> None:
    now_s = 1_800_000_000 + 1_234
    day, month = (window_steps(now_s * 1000, days * 86_400) for days in (1, 31))

    assert day == {"step_s": 60, "since_s": 1_800_001_200 - 86_400, "by_minute_s": 1_800_001_200 - 86_400}
    assert month == {
        "step_s": 3_600,
        "since_s": 1_800_000_000 - 31 * 86_400,
        "by_minute_s": 1_800_000_000 - 3_600,
    }


@pytest.mark.parametrize(("behind_ms", "kinds"), [(0, ["late"]), (30_000, [])])
def test_a_monitor_that_is_behind_itself_calls_nothing_late(behind_ms: int, kinds: list[str]) -> None:
    now_ms = 1_800_000_000_000
    uneven = {
        "topic": "raw.a", "resource": "a", "minute": now_ms // 60_000 - 2, "entered": 5, "processed": 4,
        "last_captured_ms": now_ms - 61_000, "same_positions": False, "same_content": False,
    }  # fmt: skip

    class Uneven(CountingClickHouse):
        def query(self, name: str, **_: Any) -> list[dict[str, Any]]:
            return [dict(uneven)] if name == "uneven_minutes" else []

    found = Figures(Uneven(), lambda: now_ms, as_of_ms=lambda: now_ms - behind_ms).balance(5)

    assert [problem.kind for problem in found.problems] == kinds


class SlowClickHouse(CountingClickHouse):
    """Answers at once, then not before it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()

    def query(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        if name in self.asked:
            assert self.let.wait(60)
        self.stored += 1
        return super().query(name, **parameters)


def test_what_takes_long_is_asked_anew_while_the_last_answer_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("monitor.figures._LONG_S", -1.0)  # everything takes longer than that
    monkeypatch.setattr("monitor.figures.CACHE_S", 0.0)
    clickhouse = SlowClickHouse()
    figures = Figures(clickhouse, lambda: 1_800_000_000_000)
    first = figures.groups()

    assert figures.groups() is first
    assert figures.groups() is first
    clickhouse.let.set()
    while figures._renewing:
        threading.Event().wait(0.01)

    assert clickhouse.asked == ["subscribers"] * 2


def test_answer_that_is_too_old_is_not_given_however_long_asking_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, seconds in (("_LONG_S", -1.0), ("CACHE_S", 0.0), ("_KEPT_S", 0.0)):
        monkeypatch.setattr(f"monitor.figures.{name}", seconds)
    clickhouse = CountingClickHouse()
    figures = Figures(clickhouse, lambda: 1_800_000_000_000)
    figures.groups()
    clickhouse.stored += 1
    figures.groups()

    assert clickhouse.asked == ["subscribers"] * 2
    assert not figures._renewing
