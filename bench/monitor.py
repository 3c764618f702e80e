"""`exchange bench monitor`: the queries behind the monitor's figures, on a month of accounts.

The accounts are made inside ClickHouse itself and rolled up by the monitor's own code; every named query that
a viewer's request asks is then timed with the windows of the console.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench import viewers
from bench.figures import percentile
from bench.machine import machine
from bench.progress import say
from exchange.errors import PartError
from monitor.clickhouse.client import ClickHouse
from monitor.clickhouse.rollups import DAY_S, GROWTH, HOUR_S, MINUTE_S, Rollups
from monitor.figures import window_steps
from monitor.suspects import steps_of

HEAD: Final = ("query", "window", "p50 ms", "p95 ms")
TOPICS: Final = 50
VIEWS: Final = 3
DAYS: Final = 30
_PORTION: Final = 2_000_000
_ASKED: Final = 20
"""Times that each query is asked; by nearest rank its p95 is then the second longest."""
_BYTES_PER_ACCOUNT: Final = 250
"""On disk with room for merges; measured, and rounded up."""


def run(rows: int) -> dict[str, Any]:
    """Measure on a ClickHouse in a temporary directory; return the JSON object."""
    now_s = int(time.time())
    with _store(rows) as clickhouse:
        _fill(clickhouse, rows, now_s)
        began = time.monotonic()
        Rollups(clickhouse, 0).recover()
        rolled_s = time.monotonic() - began
        say(f"rolled up in {rolled_s:,.0f} s; asking each query {_ASKED} times")
        taken = [(name, window, _ask(clickhouse, name, given)) for name, window, given in questions(now_s)]
        say(f"serving {viewers.VIEWERS} viewers")
        cores = viewers.cpu_cores(clickhouse)
    return answer(taken, rows, rolled_s, cores)


def answer(
    taken: Sequence[tuple[str, str, Sequence[float]]], rows: int, rolled_s: float, viewers_cores: float
) -> dict[str, Any]:
    """Return the JSON object. taken: query, window, and the milliseconds of each time it was asked."""
    figures = [
        (name, window, percentile(sorted(times), 0.5), percentile(sorted(times), 0.95))
        for name, window, times in taken
    ]
    worst = max(figures, key=lambda figure: figure[3])
    return {
        "benchmark": "monitor",
        "given": {"rows": rows},
        "machine": machine(),
        "query_p95_ms": round(worst[3], 1),
        "worst_query": f"{worst[0]}, {worst[1]}",
        "viewers_cpu_core": round(viewers_cores, 2),
        "rolled_up_s": round(rolled_s, 1),
        "queries": {
            f"{name}, {window}": {"p50_ms": round(p50, 1), "p95_ms": round(p95, 1)}
            for name, window, p50, p95 in figures
        },
        "table": {
            "head": list(HEAD),
            "rows": [[name, window, f"{p50:,.1f}", f"{p95:,.1f}"] for name, window, p50, p95 in figures],
        },
    }


def questions(now_s: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield query, window in words, and parameters, as the monitor's API asks them."""
    now_ms = now_s * 1000
    since_15_min, since_day, since_week, since_month = (
        window_steps(now_ms, window_s) for window_s in (900, DAY_S, 7 * DAY_S, 31 * DAY_S)
    )
    route = {"topic": "raw.bench.public.t7", "view_topic": "share.bench.t7.v1"}
    yield "routes", "15 min", {"since_ms": now_ms - 900_000, "recent_ms": now_ms - 60_000}
    yield "delays", "15 min", {"since_ms": now_ms - 900_000, "growth": GROWTH}
    yield "planned_routes", "now", {}
    yield "missing_accounts", "ever", {}
    yield (
        "subscribers",
        "2 min",
        {"since_ms": now_ms - 120_000, "trend_ms": now_ms - 60_000, "alive_ms": now_ms - 60_000},
    )
    for window, since in (("15 min", since_15_min), ("day", since_day), ("week", since_week)):
        yield "routes_long", window, since
        yield "delays_of_stages", window, since | {"growth": GROWTH}
        yield "refusals", window, since | {"topic": "", "limit": 1000, "offset": 0}
        yield "deliveries", window, since | {"positions_ms": now_ms - 60_000}
    for window, since in (("15 min", since_15_min), ("day", since_day), ("month", since_month)):
        yield "flow_series", window, since | route
        yield "stage_series", window, since | route | {"growth": GROWTH}
        yield "totals", window, since
        yield "view_totals", window, since
    month = since_month | {"until_s": now_s}
    for name in ("quality_sources", "quality_rules", "quality_use"):
        yield name, "month", month
    yield "quality_delays", "month", month | {"bucket": 60}
    yield (
        "quality_examples",
        "month, a page",
        {
            "topics": [f"raw.bench.public.t{topic}" for topic in range(TOPICS)],
            "since_ms": 1000 * since_month["since_s"],
            "until_ms": now_ms,
            "most": 3,
        },
    )
    yield "minutes", "hour", {"since_s": now_s - HOUR_S}
    hours, days = ([now_s // step * step - at * step for at in range(31)] for step in (HOUR_S, DAY_S))
    yield "suspect_steps", "day, by the hour", {"step_s": HOUR_S, "starts": hours}
    yield "suspect_steps", "month, by the day", {"step_s": DAY_S, "starts": days}
    starts = steps_of({hours[10]}, HOUR_S, MINUTE_S, now_s)
    for name in ("uneven_minutes", "uneven_views"):
        yield name, "last 2 h and another", {"starts": starts}
    yield (
        "places_of_minutes",
        "3 minutes",
        {
            "minutes": [now_s // 60 - back for back in (1, 60, 600)],
            "topics": [route["topic"]],
            "settled_topics": [route["topic"]],
            "settled": [1],
        },
    )


def _ask(clickhouse: ClickHouse, name: str, given: dict[str, Any]) -> list[float]:
    """Return the milliseconds that each of the times took, after one that warms up."""
    clickhouse.query(name, **given)
    times = []
    for _ in range(_ASKED):
        began = time.perf_counter()
        clickhouse.query(name, **given)
        times.append(1000 * (time.perf_counter() - began))
    return times


@contextmanager
def _store(rows: int) -> Iterator[ClickHouse]:
    root = Path(tempfile.mkdtemp(prefix="exchange-bench-"))
    try:
        wanted, free = rows * _BYTES_PER_ACCOUNT, shutil.disk_usage(root).free
        if free < wanted:
            msg = (
                f"{root}: {free / 1e9:,.1f} GB free, about {wanted / 1e9:,.1f} GB wanted for {rows:,} "
                "accounts; give fewer by --rows, or another disk by TMPDIR"
            )
            raise PartError(msg)
        with ClickHouse(f"chdb:{root / 'clickhouse'}") as clickhouse:
            yield clickhouse
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _fill(clickhouse: ClickHouse, rows: int, now_s: int) -> None:
    """Store accounts in pairs, capture and process, spread evenly over the days up to now."""
    for first in range(0, rows, _PORTION):
        until = min(first + _PORTION, rows)
        clickhouse.command(
            _ACCOUNTS,
            first=first,
            until=until,
            rows=rows,
            begin_ms=(now_s - DAYS * DAY_S) * 1000,
            span_ms=DAYS * DAY_S * 1000,
            topics=TOPICS,
            views=VIEWS,
        )
        say(f"{until:,} of {rows:,} accounts made")
    clickhouse.command(_POSITIONS, now_ms=now_s * 1000)
    refused = {
        "rows": rows,
        "topics": TOPICS,
        "begin_ms": (now_s - DAYS * DAY_S) * 1000,
        "span_ms": DAYS * DAY_S * 1000,
    }
    clickhouse.command(_REFUSED, **refused)
    clickhouse.command(_REFUSED_PLACES, topics=TOPICS)
    plan = [
        (1, f"bench.t{topic}", f"raw.bench.public.t{topic}", f"share.bench.t{topic}.v{view}")
        for topic in range(TOPICS)
        for view in range(VIEWS)
    ]
    clickhouse.insert("plan_views", ("plan_version", "resource", "topic", "view_topic"), plan)


_ACCOUNTS: Final = """
INSERT INTO accounts
(
    account_partition, account_offset, stage, writer, resource, topic, partition, first_offset, last_offset,
    minute, plan_version, changes, position_sum, content_sum, view_topics, view_delivered,
    view_delivered_sums, view_filtered, view_filtered_sums, view_records, view_content_sums, refused,
    refused_sum, refused_reasons, refused_fields, refused_changes, made_at_ms, readable_ms, delay_buckets,
    delay_changes
)
WITH
    intDiv(number, 2) AS pair, number % 2 = 1 AS processed, pair % {topics:UInt64} AS t,
    toInt64({begin_ms:Int64} + pair * ({span_ms:Int64} / intDiv({rows:UInt64} + 1, 2))) AS at_ms,
    100 + pair % 50 AS counted, sipHash64(pair) AS positions,
    if(processed, range({views:UInt64}), []) AS v
SELECT
    0, number, if(processed, 'process', 'capture'), if(processed, 'stream-0', 'cdc-bench'),
    concat('bench.t', toString(t)), concat('raw.bench.public.t', toString(t)),
    if(processed, pair % 4, -1), if(processed, pair * 100, -1), if(processed, pair * 100 + 99, -1),
    toUInt64(intDiv(at_ms, 60000)), if(processed, 1, 0), counted, positions, sipHash64(positions),
    arrayMap(n -> concat('share.bench.t', toString(t), '.v', toString(n)), v),
    arrayMap(n -> counted, v), arrayMap(n -> positions, v), arrayMap(n -> 0, v), arrayMap(n -> 0, v),
    arrayMap(n -> counted, v), arrayMap(n -> sipHash64(positions, n), v),
    0, 0, [], [], [], at_ms + if(processed, 120, 60), at_ms + if(processed, 150, 90),
    [toUInt16(45 + pair % 5), toUInt16(50 + pair % 7)], [toUInt64(counted - 10), toUInt64(10)]
FROM numbers({first:UInt64}, {until:UInt64} - {first:UInt64})
"""

_POSITIONS: Final = """
INSERT INTO group_positions
SELECT
    concat('s', toString(reader)), concat('s', toString(reader), '.read'),
    concat('share.bench.t', toString(reader % 50), '.v1'), intDiv(number, 288000), 1000, 1001, 0.,
    {now_ms:Int64} - (number % 2880) * 30000
FROM (SELECT number, intDiv(number, 2880) % 100 AS reader FROM numbers(1152000))
"""

_REFUSED: Final = """
INSERT INTO quarantine_examples
SELECT
    concat('raw.bench.public.t', toString(number % {topics:UInt64})), 'process', 'range',
    concat('field', toString(intDiv(number, 50) % 5)), number % 64,
    toInt64({begin_ms:Int64} + number * ({span_ms:Int64} / {rows:UInt64})), 'id',
    concat('quarantine.bench.t', toString(number % {topics:UInt64})), 0, number, 0, number, 1
FROM numbers({rows:UInt64})
"""
"""As many refused records as accounts: a bad month."""

_REFUSED_PLACES: Final = """
INSERT INTO quarantine_places
SELECT concat('quarantine.bench.t', toString(number)), 0, 'id', 0, 0, 0 FROM numbers({topics:UInt64})
"""
