"""`exchange bench latency`: from a raw record's produce() to its masked record being readable.

Producer and reader are processes of their own. The raw record's position carries the nanoseconds of the
machine's monotonic clock at produce(); the bus hands positions on as they are; the reader, at read_committed,
compares with the same clock when consume() has returned the record. The producer is not transactional: what
capture's own transaction adds is not part of this figure.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bench import peer
from bench.bus import judges
from bench.figures import Spread, percentile
from bench.ground import Ground, Table, ground
from bench.machine import machine
from bench.pace import Visible, follow
from bench.progress import say
from bench.raw import RawRecords
from bench.verify import Outputs
from exchange.errors import PartError
from exchange.local import process
from exchange.local.process import Running

TABLE: Final = Table("person_latency")
WARM_UP_S: Final = 5.0
"""How long the same rate is sent before what counts (or as long as that, where it is less): start-up and
first rounds are no record's latency."""
HEAD: Final = ("records/s", "p50 ms", "p95 ms", "p99 ms", "max ms")
_PERCENTILES: Final = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}
_DRAIN_S: Final = 120.0


def run(rates: Sequence[int], seconds: float, rounds: int, workers: int) -> dict[str, Any]:
    """Measure on new parts; return the JSON object."""
    with ground() as parts:
        return on(parts, rates, seconds, rounds, workers)


def on(parts: Ground, rates: Sequence[int], seconds: float, rounds: int, workers: int) -> dict[str, Any]:
    """Measure each rate in turn; return the JSON object."""
    measured: dict[int, list[dict[str, float]]] = {rate: [] for rate in rates}
    parts.declare([TABLE])
    raw = RawRecords.make(parts, TABLE, int(max(rates) * (seconds + WARM_UP_S)))
    bench = _Bench(parts, raw, seconds)
    with parts.workers(workers) as running:
        bench.wait_until_at_work(running)
        for number in range(1, rounds + 1):
            for rate in rates:
                figures = bench.measure(rate, running)
                measured[rate].append(figures)
                shown = ", ".join(f"{name} {figures[name]:.0f} ms" for name in _PERCENTILES)
                say(f"round {number} of {rounds}: {rate:,} records/s: {shown}")
    given = {"rates": list(rates), "seconds": seconds, "rounds": rounds, "workers": workers}
    given |= {"producer": "plain, not transactional, librdkafka's own linger of 5 ms"}
    return answer(measured, given)


def answer(
    measured: Mapping[int, Sequence[Mapping[str, float]]], given: dict[str, Any], benchmark: str = "latency"
) -> dict[str, Any]:
    """Return the JSON object; each percentile is the median of the rounds'."""
    spreads = {
        rate: {name: Spread.of([one[name] for one in rounds]) for name in _PERCENTILES}
        for rate, rounds in measured.items()
    }
    return {
        "benchmark": benchmark,
        "given": given,
        "machine": machine(),
        "latency_ms": {
            str(rate): {name: round(spread.median, 1) for name, spread in of_rate.items()}
            for rate, of_rate in spreads.items()
        },
        "rounds": {str(rate): list(rounds) for rate, rounds in measured.items()},
        "table": {
            "head": list(HEAD),
            "rows": [
                [f"{rate:,}", *(spread.text() for spread in of_rate.values())]
                for rate, of_rate in spreads.items()
            ],
        },
    }


def summary(latencies_ms: Sequence[float]) -> dict[str, float]:
    """Return the percentiles of a round."""
    ordered = sorted(latencies_ms)
    return {name: round(percentile(ordered, share), 2) for name, share in _PERCENTILES.items()}


class _Bench:
    def __init__(self, parts: Ground, raw: RawRecords, seconds: float) -> None:
        self._parts = parts
        self._raw = raw
        self._seconds = seconds
        self._view = TABLE.view(0)
        self._judges = judges(parts, TABLE)
        self._rows = parts.home / "rows.bin"
        raw.save(self._rows)

    def wait_until_at_work(self, running: Sequence[Running]) -> None:
        """Let the workers pass a few records: start-up is no record's latency."""
        visible = Visible(self._parts.client, [self._view])
        base = visible.offsets()
        outputs = Outputs(self._parts.client, base, self._judges, 1_000)
        self._raw.fill(self._parts, TABLE.raw, 1_000, headers=True)
        follow(visible, sum(base.values()), 1_000, running, outputs.complete)

    def measure(self, rate: int, running: Sequence[Running]) -> dict[str, float]:
        """Send at a rate; return percentiles. Raises: WrongOutputError, PartError."""
        base = Visible(self._parts.client, [self._view]).offsets()
        warm_up, counted = int(rate * min(WARM_UP_S, self._seconds)), int(rate * self._seconds)
        wanted = warm_up + counted
        outputs = Outputs(self._parts.client, base, self._judges, wanted)
        out = self._parts.home / "latencies.json"
        out.unlink(missing_ok=True)
        sender: dict[str, Any] = {
            "rows": str(self._rows),
            "topic": TABLE.raw,
            "rate": rate,
            "records": wanted,
        }
        sender |= {"source_ms": self._raw.source_ms}
        reader: dict[str, Any] = {
            "topic": self._view,
            "base": [[*place, at] for place, at in base.items()],
            "out": str(out),
        }
        reader |= {"skip": warm_up, "records": wanted, "since": "produce"}
        client = {"client": self._parts.client}
        read = peer.module(self._parts, sys.executable, "latency_reader", client | reader)
        send = peer.module(self._parts, sys.executable, "latency_sender", client | sender)
        with read() as reading:
            time.sleep(1.0)  # the reader connects first
            with send() as sending:
                wait_for_both([*reading, *sending], running, self._seconds)
        outputs.check()
        self._parts.forget([TABLE.raw, self._view])
        return summary(json.loads(out.read_text())) | {"sent_per_s": float(rate), "records": float(counted)}


def wait_for_both(both: Sequence[Running], running: Sequence[Running], seconds: float) -> None:
    """Wait until reader and sender have ended; `running` are the processes of the bus.

    Raises: PartError when they fail, a process of the bus ends, or not all is delivered in good time.
    """
    deadline = time.monotonic() + WARM_UP_S + seconds + _DRAIN_S
    while any(process.alive(one) for one in both):
        ended = next((one for one in running if not process.alive(one)), None)
        if ended is not None:
            msg = f"a process of the bus ended. End of its log:\n{process.tail(ended.log)}"
            raise PartError(msg)
        if time.monotonic() > deadline:
            msg = (
                f"not all records were delivered {_DRAIN_S:.0f} s after the last was sent: this machine "
                "does not keep up with the rate; give lower --rates"
            )
            raise PartError(msg)
        time.sleep(0.1)
    for one in both:
        if process.exit_code(one):
            msg = f"a program of the benchmark failed. End of its log:\n{process.tail(one.log)}"
            raise PartError(msg)
