"""`exchange bench latency --from source`: a row's commit in PostgreSQL to its masked record.

Rows are committed in small transactions at a fixed rate; connector and workers run as in production.
PostgreSQL stamps each commit by the machine's clock, just before it is flushed; the bus hands on that stamp,
in milliseconds; the reader, at read_committed, compares with the same clock when it has the record.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from bench import latency, peer
from bench.bus import judges
from bench.ground import SYSTEM, Ground, Table, ground
from bench.latency import WARM_UP_S
from bench.pace import Visible, follow
from bench.progress import say
from bench.verify import Outputs
from exchange.errors import PartError
from exchange.local.process import Running

TABLE: Final = Table("person_source")
ROWS_PER_TRANSACTION: Final = 10
NAME: Final = "latency_from_source"
_READY_ROWS: Final = 1_000
_TOO_SLOW: Final = 0.9


def run(rates: Sequence[int], seconds: float, rounds: int, workers: int) -> dict[str, Any]:
    """Measure on new parts; return the JSON object."""
    with ground() as parts:
        return on(parts, rates, seconds, rounds, workers)


def on(parts: Ground, rates: Sequence[int], seconds: float, rounds: int, workers: int) -> dict[str, Any]:
    """Measure each rate in turn; return the JSON object."""
    measured: dict[int, list[dict[str, float]]] = {rate: [] for rate in rates}
    parts.declare([TABLE])
    bench = _Bench(parts, seconds)
    with parts.children({"connect": ["connect", SYSTEM]}) as connecting, parts.workers(workers) as working:
        running = [*connecting, *working]
        bench.wait_until_at_work(running)
        for number in range(1, rounds + 1):
            for rate in rates:
                figures = bench.measure(rate, running)
                measured[rate].append(figures)
                shown = ", ".join(f"{name} {figures[name]:.0f} ms" for name in ("p50", "p99", "max"))
                say(f"round {number} of {rounds}: {figures['committed_per_s']:,.0f} changes/s: {shown}")
    given = {"from": "source", "rates": list(rates), "seconds": seconds, "rounds": rounds, "workers": workers}
    return latency.answer(measured, given, NAME)


class _Bench:
    def __init__(self, parts: Ground, seconds: float) -> None:
        self._parts = parts
        self._seconds = seconds
        self._view = TABLE.view(0)
        self._judges = judges(parts, TABLE)
        self._first = 0

    def wait_until_at_work(self, running: Sequence[Running]) -> None:
        """Let a few rows pass: start-up is no row's latency."""
        visible = Visible(self._parts.client, [self._view])
        base = visible.offsets()
        outputs = Outputs(self._parts.client, base, self._judges, _READY_ROWS)
        with self._writer(_READY_ROWS, _READY_ROWS)():
            follow(visible, sum(base.values()), _READY_ROWS, running, outputs.complete)

    def measure(self, rate: int, running: Sequence[Running]) -> dict[str, float]:
        """Commit rows at a rate; return percentiles. Raises: WrongOutputError, PartError."""
        base = Visible(self._parts.client, [self._view]).offsets()
        warm_up, counted = int(rate * min(WARM_UP_S, self._seconds)), int(rate * self._seconds)
        wanted = warm_up + counted
        outputs = Outputs(self._parts.client, base, self._judges, wanted)
        out = self._parts.home / "latencies.json"
        out.unlink(missing_ok=True)
        reader: dict[str, Any] = {
            "client": self._parts.client,
            "topic": self._view,
            "base": [[*place, at] for place, at in base.items()],
            "out": str(out),
            "skip": warm_up,
            "records": wanted,
            "since": "commit",
        }
        read = peer.module(self._parts, sys.executable, "latency_reader", reader)
        write = self._writer(rate, wanted)
        with read() as reading:
            time.sleep(1.0)  # the reader connects first
            with write() as writing:
                latency.wait_for_both([*reading, *writing], running, self._seconds)
        outputs.check()
        # Not the raw topic: a transaction's mark stands behind its last record, so that a worker that is
        # started later would find its place before the topic's beginning.
        self._parts.forget([self._view])
        committed_per_s = wanted / json.loads(self._written.read_text())["seconds"]
        if committed_per_s < _TOO_SLOW * rate:
            msg = (
                f"PostgreSQL took {committed_per_s:,.0f} changes a second here, {rate:,} were to come: give "
                "lower --rates, or a quieter machine"
            )
            raise PartError(msg)
        figures = latency.summary(json.loads(out.read_text()))
        return figures | {"committed_per_s": round(committed_per_s, 1), "records": float(counted)}

    @property
    def _written(self) -> Any:
        return self._parts.home / "written.json"

    def _writer(self, rate: int, rows: int) -> Any:
        """Return what starts a program that commits the next rows."""
        settings = {
            "dsn": self._parts.dsn,
            "table": f"public.{TABLE.name}",
            "first": self._first,
            "rows": rows,
            "rate": rate,
            "per_transaction": ROWS_PER_TRANSACTION,
            "out": str(self._written),
        }
        self._first += rows
        return peer.module(self._parts, sys.executable, "row_writer", settings)
