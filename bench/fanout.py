"""`exchange bench fanout`: what five distinct views of a table cost against one."""

from __future__ import annotations

from typing import Any, Final

from bench.bus import Bus
from bench.contest import Competitor, Results, contest
from bench.figures import ratio
from bench.ground import Ground, Table, ground
from bench.machine import machine
from bench.pipeline import WARM_UP_SHARE, warmed
from bench.progress import say
from bench.raw import RawRecords
from exchange.counting import counted

ONE: Final = Table("person_one", 1)
FIVE: Final = Table("person_five", 5)
HEAD: Final = ("views", "input records/s, median (least–greatest)", "time against one view")


def run(records: int, rounds: int, workers: int) -> dict[str, Any]:
    """Measure on new parts; return the JSON object."""
    with ground() as parts:
        return on(parts, records, rounds, workers)


def on(parts: Ground, records: int, rounds: int, workers: int) -> dict[str, Any]:
    """Measure both tables in turn under one plan; return the JSON object."""
    parts.declare([ONE, FIVE], subscribers=6)
    say("making records")
    competitors = [_competitor(parts, table, records, workers) for table in (ONE, FIVE)]
    results = contest(parts, competitors, rounds)
    return answer(results, {"records": records, "rounds": rounds, "workers": workers})


def _competitor(parts: Ground, table: Table, records: int, workers: int) -> Competitor:
    bus = Bus(parts, RawRecords.make(parts, table, warmed(records)), workers)
    title = counted(table.views, "view")
    return Competitor(str(table.views), title, lambda: bus.prepare(records, records // WARM_UP_SHARE))


def answer(results: Results, given: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON object. Times of one record are compared: the inverse of the rates."""
    times = ratio(results.rates("1"), results.rates("5"))
    return {
        "benchmark": "fanout",
        "given": given,
        "machine": machine(),
        "ratios": {"fanout5_vs_1": times},
        "records_per_s": results.medians(),
        "rounds": results.raw(),
        "table": {
            "head": list(HEAD),
            "rows": [
                ["1", results.spread("1").text(), ""],
                ["5, each with other fields or masks", results.spread("5").text(), f"{times:.2f}"],
            ],
        },
    }
