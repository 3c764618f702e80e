"""`exchange bench fanout`: what five distinct views of a table cost against one.

Five views are five times the records to write, which nobody has for nothing: beside them runs a loop that
writes each bare record once, or five times.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from bench import peer
from bench.bus import Bus
from bench.contest import Competitor, Results, Run, contest
from bench.figures import ratio
from bench.ground import Ground, Table, ground
from bench.machine import machine
from bench.pipeline import WARM_UP_SHARE, warmed
from bench.progress import say
from bench.raw import RawRecords
from bench.verify import unaltered
from exchange.counting import counted

ONE: Final = Table("person_one", 1)
FIVE: Final = Table("person_five", 5)
HEAD: Final = ("views", "input records/s, median (least–greatest)", "time against one")
SOURCE: Final = "bench.in.fanout"


def run(records: int, rounds: int, workers: int) -> dict[str, Any]:
    """Measure on new parts; return the JSON object."""
    with ground() as parts:
        return on(parts, records, rounds, workers)


def on(parts: Ground, records: int, rounds: int, workers: int) -> dict[str, Any]:
    """Measure both tables in turn under one plan; return the JSON object."""
    parts.declare([ONE, FIVE], subscribers=6)
    say("making records")
    one, five = (RawRecords.make(parts, table, warmed(records)) for table in (ONE, FIVE))
    competitors = [_competitor(parts, raw, records, workers) for raw in (one, five)]
    competitors += _floor(parts, one, records)
    results = contest(parts, competitors, rounds)
    return answer(results, {"records": records, "rounds": rounds, "workers": workers})


def _competitor(parts: Ground, raw: RawRecords, records: int, workers: int) -> Competitor:
    bus, views = Bus(parts, raw, workers), raw.table.views
    return Competitor(
        str(views), counted(views, "view"), lambda: bus.prepare(records, records // WARM_UP_SHARE)
    )


def _floor(parts: Ground, raw: RawRecords, records: int) -> list[Competitor]:
    """Return a loop that writes each bare record once, and one that does five times, and nothing else."""
    parts.make_topics([SOURCE])
    raw.fill(parts, SOURCE, warmed(records), headers=False)
    return [_copier(parts, raw, records, number) for number in (ONE.views, FIVE.views)]


def _copier(parts: Ground, raw: RawRecords, records: int, copies: int) -> Competitor:
    targets = [f"bench.out.copied.{copies}.{number}" for number in range(copies)]
    parts.make_topics(targets)
    settings = {"client": parts.client, "source": SOURCE, "targets": targets}
    start = peer.module(parts, sys.executable, "passthrough", settings)
    judges = dict.fromkeys(targets, unaltered(raw.value_schema))
    run = Run(warmed(records), warmed(records) - records, judges, start)
    return Competitor(f"copied {copies}", f"passthrough, each record {counted(copies, 'time')}", lambda: run)


def answer(results: Results, given: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON object. Times of one record are compared: the inverse of the rates."""
    times = ratio(results.rates("1"), results.rates("5"))
    floor = ratio(results.rates("copied 1"), results.rates("copied 5"))
    return {
        "benchmark": "fanout",
        "given": given,
        "machine": machine(),
        "ratios": {"fanout5_vs_1": times, "passthrough5_vs_1": floor},
        "records_per_s": results.medians(),
        "rounds": results.raw(),
        "table": {
            "head": list(HEAD),
            "rows": [
                ["1", results.spread("1").text(), ""],
                ["5, each with other fields or masks", results.spread("5").text(), f"{times:.2f}"],
                ["1 bare copy by a loop that does nothing", results.spread("copied 1").text(), ""],
                ["5 bare copies by it", results.spread("copied 5").text(), f"{floor:.2f}"],
            ],
        },
    }
