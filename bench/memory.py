"""`exchange bench memory`: a worker's resident memory at full load, each second.

The raw topic is kept ahead of the workers by a writer of its own; what was passed is deleted as it goes, so
that the disk stays bounded however long it runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import psutil  # type: ignore[import-untyped]

from bench import person
from bench.bus import judges
from bench.figures import Spread, slope
from bench.ground import Ground, Table, ground
from bench.machine import machine
from bench.pace import Visible
from bench.progress import say
from bench.raw import RawRecords
from bench.verify import Outputs
from exchange.errors import PartError
from exchange.local import process
from exchange.local.process import Running

TABLE: Final = Table("person_memory")
HEAD: Final = ("resident memory of the workers", "")
_AHEAD: Final = 200_000
"""Records that the raw topic is kept ahead of the workers: more than a second's worth."""
_PORTION: Final = 50_000
_FORGET_EVERY_S: Final = 5.0
_START_S: Final = 120.0
_MIB: Final = 1024 * 1024


def run(seconds: float, workers: int) -> dict[str, Any]:
    """Measure on new parts; return the JSON object."""
    with ground() as parts:
        return on(parts, seconds, workers)


def on(parts: Ground, seconds: float, workers: int) -> dict[str, Any]:
    """Measure on running parts; return the JSON object."""
    parts.declare([TABLE])
    raw = RawRecords.make(parts, TABLE, person.PEOPLE)
    with _Feed(parts, raw) as feed, parts.workers(workers) as running:
        feed.wait_for_first(running)
        before = feed.passed
        times, rss_mb = _sample(running, seconds, feed)
        passed = feed.passed - before
    return answer(times, rss_mb, passed, {"seconds": seconds, "workers": workers})


def answer(
    times_s: Sequence[float], rss_mb: Sequence[float], passed: int, given: dict[str, Any]
) -> dict[str, Any]:
    """Return the JSON object; the slope leaves out the first tenth, while caches fill."""
    settled = len(times_s) // 10
    spread = Spread.of(rss_mb)
    per_min = slope([at / 60 for at in times_s[settled:]], rss_mb[settled:])
    figures = {
        "start_mb": rss_mb[0],
        "median_mb": spread.median,
        "max_mb": spread.greatest,
        "slope_mb_per_min": per_min,
        "records": passed,
    }
    return {
        "benchmark": "memory",
        "given": given,
        "machine": machine(),
        "rss_mb": round(spread.median, 1),
        "memory": {name: round(figure, 2) for name, figure in figures.items()},
        "rounds": {"rss_mb": [round(one, 1) for one in rss_mb]},
        "table": {
            "head": list(HEAD),
            "rows": [
                ["at the start", f"{rss_mb[0]:,.0f} MB"],
                ["median", f"{spread.median:,.0f} MB"],
                ["greatest", f"{spread.greatest:,.0f} MB"],
                ["slope after the first tenth", f"{per_min:+,.2f} MB/min"],
                ["records passed meanwhile", f"{passed:,}"],
            ],
        },
    }


def _sample(running: Sequence[Running], seconds: float, feed: _Feed) -> tuple[list[float], list[float]]:
    began, times, rss_mb = time.monotonic(), [], []
    while (at := time.monotonic() - began) <= seconds:
        feed.check(running)
        times.append(at)
        rss_mb.append(_resident_mb(running))
        if len(times) % 10 == 0:
            say(f"{at:5.0f} s: {rss_mb[-1]:,.0f} MB, {feed.passed:,} records passed")
        time.sleep(max(0.0, began + len(times) - time.monotonic()))
    return times, rss_mb


def _resident_mb(running: Sequence[Running]) -> float:
    """Return the resident memory of the workers and whatever they started, together."""
    total = 0
    for one in running:
        parent = psutil.Process(one.pid)
        for child in [parent, *parent.children(recursive=True)]:
            total += child.memory_info().rss
    return total / _MIB


class _Feed:
    """Keeps the raw topic ahead of the workers and deletes what they have passed, in a thread of its own."""

    def __init__(self, parts: Ground, raw: RawRecords) -> None:
        self.passed = 0
        self._parts = parts
        self._raw = raw
        self._visible = Visible(parts.client, [TABLE.view(0)])
        self._base = self._visible.offsets()
        self._written = 0
        self._failure: Exception | None = None
        self._judged = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def __enter__(self) -> _Feed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def check(self, running: Sequence[Running]) -> None:
        """Make sure that all are at work. Raises: PartError when a worker ended, or the feed failed."""
        if self._failure is not None:
            msg = f"the raw topic could not be fed ({type(self._failure).__name__})"
            raise PartError(msg)
        for one in running:
            if not process.alive(one):
                msg = f"a worker ended. End of its log:\n{process.tail(one.log)}"
                raise PartError(msg)

    def wait_for_first(self, running: Sequence[Running]) -> None:
        """Wait until the workers pass records, and judge one; until then none is deleted.

        Raises: PartError, WrongOutputError.
        """
        deadline = time.monotonic() + _START_S
        outputs = Outputs(self._parts.client, self._base, judges(self._parts, TABLE), 1)
        while not self.passed or not outputs.complete():
            self.check(running)
            if time.monotonic() > deadline:
                msg = f"no record passed within {_START_S:.0f} s:\n{process.tail(running[0].log)}"
                raise PartError(msg)
            time.sleep(0.2)
        self._judged.set()

    def _run(self) -> None:
        try:
            forgot = time.monotonic()
            while not self._stopping.wait(0.05):
                self.passed = self._visible.total() - sum(self._base.values())
                if self._written - self.passed < _AHEAD:
                    self._written = self._raw.fill(
                        self._parts, TABLE.raw, _PORTION, headers=True, first=self._written
                    )
                if self._judged.is_set() and time.monotonic() - forgot > _FORGET_EVERY_S:
                    self._forget()
                    forgot = time.monotonic()
        except Exception as error:
            self._failure = error

    def _forget(self) -> None:
        """Delete what the workers' group has committed, and all that they wrote."""
        self._parts.forget_committed(TABLE.raw)
        self._parts.forget([TABLE.view(0)])
