"""The monitor's figures as a few lines for a terminal: what is wrong first, then what flows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from exchange.commands.alert import alert_text
from exchange.counting import counted
from exchange.pauses import PAUSED, paused_text

_ROUTE: Final = "{:<44} {:>9} {:>10} {:>9} {:>8} {:>22}"


def figures_text(figures: Mapping[str, Any]) -> str:
    """Return the lines for the document of `/api/status`; parts the monitor couldn't ask are left out."""
    lines = [
        *_alerts(figures.get("alerts")),
        *_parts(figures["parts"]),
        *_sweep(figures.get("sweep")),
        *_workers(figures["workers"], known=figures["parts"].get("redis", {}).get("ok", False)),
        *_silent(figures.get("silent", ())),
        *_balance(figures["balance"], figures["balance_minutes"] / 60),
        *_routes(figures["routes"], figures["routes_window_s"] / 60),
        *_subscribers(figures["subscribers"]),
    ]
    return "".join(line + "\n" for line in lines)


def _alerts(alerts: Sequence[Mapping[str, Any]] | None) -> Iterator[str]:
    """Yield what is not over, firing alerts first, as the monitor has them."""
    for alert in alerts or ():
        yield from alert_text(dict(alert)).splitlines()


def _parts(parts: Mapping[str, Any]) -> Iterator[str]:
    for name, health in parts.items():
        if not health["ok"]:
            yield f"monitor: {name}: {health['text']}"


def _sweep(sweep: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield that grants may hold past their day, where the last sweep of them failed."""
    if sweep is not None and not sweep["ok"]:
        yield f"monitor: the last sweep of requests failed: {sweep['text']}"


def _workers(workers: Sequence[Mapping[str, Any]], *, known: bool) -> Iterator[str]:
    """Yield what each says of itself; `known`: Redis answers, so that who is not listed is not at work."""
    if known and not workers:
        yield "no connector or worker is at work; `exchange connect --all` and `exchange stream` start them"
    for worker in workers:
        yield f"{worker['stage']} {worker['writer']}: {worker['state']}"
        for halt in worker["halted"]:
            where = f" at {halt['topic']}"
            where += f" partition {halt['partition']} offset {halt['offset']}" if halt["offset"] >= 0 else ""
            yield f"  HALTED{where if halt['topic'] else ''}: {halt['reason']}"
        yield from _paused(worker)
        yield from (f"  ALARM: {alarm}" for alarm in worker.get("alarms", ()))
        yield from _kept(worker.get("figures", {}))
        yield from _delivered(worker.get("figures", {}))
        yield from _snapshot(worker.get("figures", {}))


def _silent(missing: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield who ought to be at work by the plan and is not heard of."""
    for one in missing:
        since = "since the monitor's start" if one["last_at_ms"] is None else f"for {_age(one['last_at_ms'])}"
        yield f"{one['stage']} {one['writer']}: NO SIGN OF LIFE {since}; `{one['command']}` starts it"


def _age(at_ms: int) -> str:
    return counted(max(round(time.time() - at_ms / 1000), 0), "second")


def _paused(worker: Mapping[str, Any]) -> Iterator[str]:
    """Yield since when, by whom and why a connector is paused, and what has it go on."""
    if worker["state"] == PAUSED and "paused_by" in worker.get("figures", {}):
        system = worker["writer"].removeprefix("cdc-")
        yield f"  {paused_text(worker['figures'])}; `exchange connector resume {system}` has it go on"


def _kept(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a source's server keeps for its connector, where it keeps anything."""
    if "retained_wal_bytes" in figures:
        sizes = (figures["retained_wal_bytes"], figures["lag_bytes"])
        kept, behind = (f"{size / 1024**2:,.1f} MiB" for size in sizes)
        yield f"  its source keeps {kept} of log ({figures['wal_status']}), {behind} not yet confirmed"


def _delivered(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield how far a delivery is with each of its views."""
    for view, one in figures.get("views", {}).items():
        behind = f"{counted(one['lag_records'], 'record')} behind"
        late = f" ({one['lag_s']:,.1f} s)" if one["lag_s"] else ""
        parked = f", {one['parked']:,} PARKED" if one["parked"] else ""
        yield f"  {view}: {one['delivered']:,} delivered{parked}, {behind}{late}"


def _snapshot(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield how a snapshot beside the stream gets on, while it does, and that it failed."""
    state = figures.get("snapshot_state")
    if state not in ("running", "paused", "failed"):
        return
    whom = f" for view {figures['snapshot_view']}" if figures["snapshot_view"] else ""
    of = f" of about {figures['snapshot_estimated_rows']:,}" if figures["snapshot_estimated_rows"] else ""
    speed = f", {figures['snapshot_rows_per_s']:,} rows/s" if state == "running" else ""
    hint = f": {figures['snapshot_hint']}" if figures["snapshot_hint"] else ""
    rows = f"{figures['snapshot_rows']:,}{of} rows{speed}"
    yield f"  snapshot of {figures['snapshot_table']}{whom} {state}, {rows}{hint}"


def _balance(balance: Mapping[str, Any] | None, hours: float) -> Iterator[str]:
    if balance is None:
        return
    verdict = "balance" if balance["balanced"] else "DO NOT BALANCE"
    numbers = (f"{balance[name]:,} {name}" for name in ("captured", "processed", "refused"))
    counts = ", ".join((*numbers, f"{balance['in_flight']:,} in flight"))
    yield f"the accounts of the last {hours:g} h {verdict}: {counts}"
    for problem in balance.get("newest", ()):
        minute = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(problem["minute_ms"] / 1000))
        where = problem["view_topic"] or problem["topic"]
        places = "; ".join(
            f"partition {at['partition']} offsets {at['first_offset']} to {at['last_offset']}"
            for at in problem["offsets"]
        )
        yield f"  {problem['stage']} {where} {minute}: {problem['text']}" + (f" ({places})" if places else "")


def _routes(routes: Sequence[Mapping[str, Any]] | None, minutes: float) -> Iterator[str]:
    if not routes:
        return
    yield _ROUTE.format(
        f"view, last {minutes:g} min", "per s", "delivered", "filtered", "refused", "ms p50/p95/p99"
    )
    for route in routes:
        delay = route["delay_ms"]
        spread = "/".join(f"{delay[at]:.0f}" for at in ("p50", "p95", "p99")) if delay else "-"
        refused = sum(route["refused"].values())
        numbers = (f"{route['rate_per_s']:.1f}", route["delivered"], route["filtered"], refused)
        yield _ROUTE.format(route["view_topic"].removeprefix("share."), *numbers, spread)
        yield from _late(route.get("budget"))
    yield from _workers_lag(routes)


def _late(budget: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield that a view's budget of delay is not kept, and by which stage."""
    if budget is not None and not budget["kept"]:
        took, allowed = (f"{budget[name]:,.0f} ms" for name in ("p99_ms", "budget_ms"))
        yield f"  LATE: 99 of 100 within {took}, {allowed} allowed; most of it at {budget['slowest_stage']}"


def _workers_lag(routes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield how far the workers are behind on each raw topic that they are behind on."""
    behind = {route["topic"]: route for route in routes if route.get("lag_s")}
    for topic, route in sorted(behind.items()):
        yield f"workers on {topic}: {_behind(route['lag_records'], route['lag_s'], [route['trend']])}"


def _behind(records: int, lag_s: float | None, trends: Iterable[str | None]) -> str:
    words = [f"{counted(records, 'record')} behind", *([f"{lag_s:,.0f} s"] if lag_s else [])]
    moving = sorted({trend for trend in trends if trend is not None and trend != "steady"})
    # "growing" sorts first, and one partition that grows is the news
    return ", ".join([*words, *moving[:1]])


def _subscribers(positions: Sequence[Mapping[str, Any]] | None) -> Iterator[str]:
    behind: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for position in positions or ():
        behind.setdefault((position["group"], position["topic"]), []).append(position)
    for (group, topic), found in sorted(behind.items()):
        if all(position.get("lag_s") == 0 for position in found):  # only transaction markers are behind it
            yield f"group {group} on {topic}: up to date"
            continue
        records = sum(position["lag_records"] for position in found)
        lag_s = max((position.get("lag_s") or 0 for position in found), default=0)
        yield f"group {group} on {topic}: {_behind(records, lag_s, [one.get('trend') for one in found])}"
