"""What is wrong in one moment's figures: conditions, before anybody asks for how long. No I/O.

A kind whose figures are not known is in no verdict: nothing begins by it, and nothing is over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from exchange.alerting.rules import Kind
from exchange.apply.access import STREAM_GROUP
from exchange.plan import PublishedPlan, delivery_group
from exchange.position import writer_id
from monitor.alerts.seen import Condition, Heartbeat, Seen
from monitor.balance import Problem

_DAY_MS: Final = 86_400_000
_LEAST_REFUSED: Final = 20
"""Of fewer refused changes a share says nothing."""


def known_kinds(seen: Seen) -> frozenset[Kind]:
    """Return the kinds that this moment can say something about."""
    known: set[Kind] = set()
    if seen.certificates is not None:
        known.add("certificate")
    if seen.workers is not None and seen.plan is not None:
        known |= {"part_down", "retained_wal"}
    if seen.workers is not None and seen.groups is not None:
        known.add("stall")
    if seen.routes is not None:
        known |= {"lag", "refusals", "delay_budget"}
    if seen.balance is not None and seen.routes is not None:
        known.add("imbalance")
    if seen.overdue is not None:
        known.add("overdue_request")
    return frozenset(known)


def conditions(seen: Seen, stood_ms: Mapping[tuple[str, str], int]) -> Iterator[Condition]:
    """Yield what is so now, whatever its threshold.

    stood_ms: (group, topic) → since when one of its partitions has not moved though there is more to read.
    """
    yield from _parts(seen)
    yield from _halts(seen)
    yield from _stalls(seen, stood_ms)
    yield from _routes(seen)
    yield from _imbalances(seen)
    yield from _refusals(seen)
    yield from _retained(seen)
    for one in seen.overdue or ():
        where = f"request {one.request}"
        days = max((seen.now_ms - one.due_ms) / _DAY_MS, 0.0)
        yield Condition("overdue_request", "overdue", "request", where, days, one.due_ms, one.view)
    for where, ends_ms in (seen.certificates or {}).items():
        left_days = (ends_ms - seen.now_ms) / _DAY_MS
        yield Condition("certificate", "expires", "monitor", where, left_days)


def _parts(seen: Seen) -> Iterator[Condition]:
    for name, part in seen.parts.items():
        if not part.ok:
            yield Condition("part_down", "part", "monitor", name, 1, detail=part.text)
    if seen.workers is None or seen.plan is None:
        return
    alive = {(one["stage"], one["writer"]) for one in seen.workers}
    for stage, writer, where in _expected(seen.plan):
        if (stage, writer) not in alive:
            yield Condition("part_down", stage, stage, where, 1)
    if seen.plan.resources and not any(stage == "process" for stage, _ in alive):
        yield Condition("part_down", "process", "process", "worker", 1)


def _expected(plan: PublishedPlan) -> Iterator[tuple[str, str, str]]:
    """Yield stage, writer and place of what a plan needs at work; files are loaded when there are some."""
    used = {resource.system for resource in plan.resources}
    for system in plan.systems:
        if system.name in used and system.kind != "files":
            yield "capture", writer_id(system.name), system.name
    for delivery in plan.deliveries:
        if delivery.views:
            yield "deliver", f"deliver-{delivery.subscriber}", delivery.subscriber


def _halts(seen: Seen) -> Iterator[Condition]:
    for worker in seen.workers or ():
        for halt in _list(worker, "halted"):
            where = str(halt["topic"] or worker["writer"])
            stage = str(worker["stage"])
            yield Condition("stall", "halted", stage, where, float("inf"), detail=str(halt["reason"]))


def _stalls(seen: Seen, stood_ms: Mapping[tuple[str, str], int]) -> Iterator[Condition]:
    for (group, topic), since_ms in stood_ms.items():
        stage = "process" if group == STREAM_GROUP else "deliver"
        stood_s = (seen.now_ms - since_ms) / 1000
        yield Condition("stall", "stands", stage, topic, stood_s, since_ms)


def _routes(seen: Seen) -> Iterator[Condition]:
    behind: dict[str, float] = {}
    for route in seen.routes or ():
        if route.lag_s:
            behind[route.topic] = max(route.lag_s, behind.get(route.topic, 0.0))
        if route.budget is not None:
            times = route.budget.p99_ms / route.budget.budget_ms
            stage, detail = route.budget.slowest_stage, f"{route.budget.budget_ms} ms"
            yield Condition("delay_budget", "budget", stage, route.view_topic, times, detail=detail)
    for topic, lag_s in behind.items():
        yield Condition("lag", "lag", "process", topic, lag_s, seen.now_ms - int(lag_s * 1000))


def _imbalances(seen: Seen) -> Iterator[Condition]:
    """Yield one condition a stage, kind and place, with its first minute; what is only late is a lag."""
    if seen.balance is None or seen.routes is None:
        return
    behind = {route.topic for route in seen.routes if route.lag_s or route.lag_s is None}
    found: dict[tuple[str, str, str], list[Problem]] = defaultdict(list)
    for problem in seen.balance.problems:
        if problem.kind != "late" or problem.topic not in behind:
            where = problem.view_topic or problem.topic or "accounts"
            found[(problem.stage, problem.kind, where)].append(problem)
    for (stage, kind, where), problems in found.items():
        first = min(problems, key=lambda problem: problem.minute_ms)
        detail = f"{kind}: {first.text}"
        since_ms = first.minute_ms
        yield Condition("imbalance", kind, stage, where, len(problems), since_ms, detail)


def _refusals(seen: Seen) -> Iterator[Condition]:
    for topic, share in refused_share(seen.routes or ()).items():
        yield Condition("refusals", "refusals", "process", topic, share)


def refused_share(routes: Any) -> dict[str, float]:
    """Return topic → share of its changes that were refused, where that are enough to say so."""
    refused: dict[str, int] = {}
    passed: dict[str, int] = defaultdict(int)
    for route in routes:
        refused[route.topic] = sum(route.refused.values())
        passed[route.topic] = max(passed[route.topic], route.delivered + route.filtered)
    return {
        topic: count / (count + passed[topic]) for topic, count in refused.items() if count >= _LEAST_REFUSED
    }


def _retained(seen: Seen) -> Iterator[Condition]:
    if seen.plan is None:
        return
    limits = {writer_id(system.name): system for system in seen.plan.systems}
    for worker in seen.workers or ():
        figures, system = worker.get("figures"), limits.get(str(worker["writer"]))
        if system is None or not isinstance(figures, dict):
            continue
        kept = figures.get("retained_wal_bytes")
        alarms = _list(worker, "alarms")
        for alarm in alarms[:1]:
            yield Condition("retained_wal", "alarm", "capture", system.name, float("inf"), detail=str(alarm))
        if isinstance(kept, int) and not alarms:
            share, detail = kept / system.protect_wal_bytes, f"{kept / 2**20:,.0f} MiB"
            yield Condition("retained_wal", "wal", "capture", system.name, share, detail=detail)


def watched(plan: PublishedPlan) -> frozenset[tuple[str, str]]:
    """Return group and topic of what the bus itself reads under a plan: its workers and its deliveries."""
    raw = {(STREAM_GROUP, resource.raw_topic) for resource in plan.resources}
    views = {
        (delivery_group(one.subscriber, view), f"share.{view}")
        for one in plan.deliveries
        for view in one.views
    }
    return frozenset(raw | views)


def _list(worker: Heartbeat, name: str) -> list[Any]:
    found = worker.get(name)
    return found if isinstance(found, list) else []
