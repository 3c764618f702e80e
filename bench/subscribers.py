"""`exchange bench subscribers`: whether a worker feels how many subscribers its views have.

Two buses side by side, both with ten views of one table: one has ten subscribers, the other a thousand, each
with a Kafka user and access rules of its own. The subscribers do not read meanwhile: what is measured is
the worker.
"""

from __future__ import annotations

from typing import Any, Final

from bench.bus import Bus
from bench.contest import Competitor, Results, contest_between
from bench.figures import ratio
from bench.ground import Ground, Table, ground
from bench.machine import machine
from bench.pipeline import WARM_UP_SHARE, warmed
from bench.progress import say
from bench.raw import RawRecords
from exchange.counting import counted

VIEWS: Final = 10
TABLE: Final = Table("person_ten", VIEWS)
FEW: Final = 10
HEAD: Final = ("subscribers of 10 views", "input records/s, median (least–greatest)", "rate against few")


def run(records: int, rounds: int, workers: int, subscribers: int) -> dict[str, Any]:
    """Measure on two sets of new parts; return the JSON object."""
    with ground() as few, ground() as many:
        return on(few, many, records, rounds, workers, subscribers)


def on(
    few: Ground, many: Ground, records: int, rounds: int, workers: int, subscribers: int
) -> dict[str, Any]:
    """Measure both buses in turn; return the JSON object."""
    entries = [
        (few, _competitor(few, "few", FEW, records, workers)),
        (many, _competitor(many, "many", subscribers, records, workers)),
    ]
    results = contest_between(entries, rounds)
    given = {"records": records, "rounds": rounds, "workers": workers, "subscribers": subscribers}
    return answer(results, given)


def _competitor(parts: Ground, name: str, subscribers: int, records: int, workers: int) -> Competitor:
    title = counted(subscribers, "subscriber")
    say(f"declaring {VIEWS} views and {title}")
    parts.declare([TABLE], subscribers)
    bus = Bus(parts, RawRecords.make(parts, TABLE, warmed(records)), workers)
    return Competitor(name, title, lambda: bus.prepare(records, records // WARM_UP_SHARE))


def answer(results: Results, given: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON object; its ratio is named for the counts it was measured with."""
    rates = ratio(results.rates("many"), results.rates("few"))
    return {
        "benchmark": "subscribers",
        "given": given,
        "machine": machine(),
        "ratios": {f"subscribers{given['subscribers']}_vs_{FEW}": rates},
        "records_per_s": results.medians(),
        "rounds": results.raw(),
        "table": {
            "head": list(HEAD),
            "rows": [
                [f"{FEW}", results.spread("few").text(), ""],
                [f"{given['subscribers']:,}", results.spread("many").text(), f"{rates:.2f}"],
            ],
        },
    }
