"""`/metrics`: the monitor's figures for Prometheus, from the same answers as the API's.

Lag has the name and labels of kafka_exporter, so that dashboards made for it work. Units: seconds, records.
Source: Prometheus, exposition formats; danielqsj/kafka_exporter, metrics of consumer groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from exchange.errors import TransientError
from monitor.api.models import AccountsProgress, Health, Route, SubscriberPosition
from monitor.balance import Balance
from monitor.figures import Figures
from monitor.glance import BALANCE_MINUTES, WINDOW_S

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_ROUTE: Final = ["topic", "view_topic"]
_GROUP: Final = ["consumergroup", "topic", "partition"]


def text_of(
    figures: Figures, health: Health, progress: AccountsProgress, more: Iterable[Metric] = ()
) -> bytes:
    """Return the exposition; while ClickHouse does not answer, only what the monitor knows of itself.

    more: metrics of other parts.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected([*_of_monitor(health, progress), *_of_figures(figures), *more]))
    return generate_latest(registry)


class _Collected(Collector):
    """What was gathered for one request."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self._metrics


def _of_monitor(health: Health, progress: AccountsProgress) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        "exchange_monitor_part_up", "Whether a part of the monitor works.", labels=["part"]
    )
    for name, part in health.parts.items():
        up.add_metric([name], float(part.ok))
    yield up
    behind = max(progress.end_offset - progress.next_offset, 0)
    yield GaugeMetricFamily("exchange_accounts_lag", "Accounts not stored yet, markers too.", behind)
    yield CounterMetricFamily(
        "exchange_accounts_mended", "Accounts stored again since the start.", progress.mended
    )


def _of_figures(figures: Figures) -> Iterator[Metric]:
    try:
        groups, routes = figures.groups(), figures.routes(WINDOW_S).routes
        balance = figures.balance(BALANCE_MINUTES)
    except TransientError:
        return
    yield from _of_groups(groups)
    yield from _of_routes(routes)
    yield from _of_stages(routes)
    yield from _of_balance(balance)


def _of_groups(positions: Iterable[SubscriberPosition]) -> Iterator[Metric]:
    lag = GaugeMetricFamily("kafka_consumergroup_lag", "Offsets behind, markers too.", labels=_GROUP)
    lag_s = GaugeMetricFamily(
        "kafka_consumergroup_lag_seconds", "How long the next record has been there to read.", labels=_GROUP
    )
    offset = GaugeMetricFamily(
        "kafka_consumergroup_current_offset", "Offset it would read next.", labels=_GROUP
    )
    for at in positions:
        labels = [at.group, at.topic, str(at.partition)]
        lag.add_metric(labels, at.lag_records)
        offset.add_metric(labels, at.next_offset)
        if at.lag_s is not None:
            lag_s.add_metric(labels, at.lag_s)
    yield from (lag, lag_s, offset)


def _of_routes(routes: Iterable[Route]) -> Iterator[Metric]:
    rate = GaugeMetricFamily(
        "exchange_route_changes_per_second", "Changes delivered, over the last minute.", labels=_ROUTE
    )
    refused = GaugeMetricFamily(
        "exchange_route_refused_changes", "Refused within five minutes.", labels=["topic", "reason"]
    )
    seen: set[str] = set()
    for route in routes:
        rate.add_metric([route.topic, route.view_topic], route.rate_per_s)
        if route.topic not in seen:
            seen.add(route.topic)
            for reason, changes in route.refused.items():
                refused.add_metric([route.topic, reason], changes)
    yield from (rate, refused)


def _of_stages(routes: Iterable[Route]) -> Iterator[Metric]:
    delay = GaugeMetricFamily(
        "exchange_route_delay_seconds",
        "From the source's commit to the stage's end, within five minutes.",
        labels=[*_ROUTE, "stage", "quantile"],
    )
    budget = GaugeMetricFamily(
        "exchange_route_delay_budget_seconds", "What the view declares for 0.99.", labels=_ROUTE
    )
    kept = GaugeMetricFamily(
        "exchange_route_delay_budget_kept", "Whether it is kept.", labels=[*_ROUTE, "slowest_stage"]
    )
    for route in routes:
        at = [route.topic, route.view_topic]
        for stage in route.stages:
            for quantile, milliseconds in (("0.5", stage.p50), ("0.95", stage.p95), ("0.99", stage.p99)):
                delay.add_metric([*at, stage.stage, quantile], milliseconds / 1000)
        if route.budget is not None:
            budget.add_metric(at, route.budget.budget_ms / 1000)
            kept.add_metric([*at, route.budget.slowest_stage], float(route.budget.kept))
    yield from (delay, budget, kept)


def _of_balance(balance: Balance) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "exchange_accounts_balanced", "Whether the accounts of a day balance.", float(balance.balanced)
    )
    problems = GaugeMetricFamily(
        "exchange_accounts_problems", "Minutes that do not balance.", labels=["stage", "kind", "topic"]
    )
    counts: dict[tuple[str, str, str], int] = {}
    for problem in balance.problems:
        where = (problem.stage, problem.kind, problem.topic)
        counts[where] = counts.get(where, 0) + 1
    for labels, count in sorted(counts.items()):
        problems.add_metric(list(labels), count)
    yield problems
