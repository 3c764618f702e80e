"""The monitor's figures as a few lines for a terminal: what is wrong first, then what flows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from exchange.counting import counted

_ROUTE: Final = "{:<44} {:>9} {:>10} {:>9} {:>8} {:>22}"


def figures_text(figures: Mapping[str, Any]) -> str:
    """Return the lines for the document of `/api/status`; parts the monitor couldn't ask are left out."""
    lines = [
        *_parts(figures["parts"]),
        *_workers(figures["workers"], known=figures["parts"].get("redis", {}).get("ok", False)),
        *_balance(figures["balance"], figures["balance_minutes"] / 60),
        *_routes(figures["routes"], figures["routes_window_s"] / 60),
        *_subscribers(figures["subscribers"]),
    ]
    return "".join(line + "\n" for line in lines)


def _parts(parts: Mapping[str, Any]) -> Iterator[str]:
    for name, health in parts.items():
        if not health["ok"]:
            yield f"monitor: {name}: {health['text']}"


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
        yield from (f"  ALARM: {alarm}" for alarm in worker.get("alarms", ()))
        yield from _kept(worker.get("figures", {}))
        yield from _delivered(worker.get("figures", {}))
        yield from _snapshot(worker.get("figures", {}))


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


def _subscribers(positions: Sequence[Mapping[str, Any]] | None) -> Iterator[str]:
    behind: dict[tuple[str, str], int] = {}
    for position in positions or ():
        at = (position["group"], position["topic"])
        behind[at] = behind.get(at, 0) + position["lag_records"]
    for (group, topic), records in sorted(behind.items()):
        yield f"group {group} on {topic}: {counted(records, 'record')} behind"
