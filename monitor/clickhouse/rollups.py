"""Figures per minute, hour and day, each computed anew from the accounts it is made of.

1. A batch of accounts is stored; the minutes it touches are remembered.
2. Each of these minutes is computed anew from all its accounts, and replaces what it was.
3. Once a minute the hours of these minutes are computed from their minutes, and the days from their hours.
4. How far the accounts are rolled up is stored.

A crash at any point loses nothing: at the next start, what lies after the stored place is touched again. A
step whose accounts are no longer kept is left as it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from exchange import log
from exchange.account import bucket_middle_ms
from monitor.clickhouse.client import ClickHouse, Statement
from monitor.rows import COLUMNS, MADE_AT_MS, Row

MINUTE_S: Final = 60
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
GROWTH: Final = bucket_middle_ms(2) / bucket_middle_ms(1)
"""Factor between the middles of two delay buckets."""

_BY_SOURCE_MINUTE: Final = ("sources", "views")
_BY_MADE_MINUTE: Final = ("flows", "stages", "refusals")
_EVERY_S: Final = 1.0
_LONG_STEPS_EVERY_S: Final = 60.0
"""Nobody waits for them: of the hours that may still change most, windows are read by the minute."""
_REST: Final = 23
"""Minutes take at most a twenty-fourth of the time, whatever a backlog touches again and again."""
_LONG_REST: Final = 47
"""Hours and days take at most a forty-eighth."""
_MOST_REST_S: Final = 20.0
"""A machine that is short of time is late with its figures by no more than that."""
_PORTION: Final = 360
"""Steps computed by one statement: what a full portion reads fits in memory."""
_MINUTE: Final = COLUMNS.index("minute")
_OFFSET: Final = COLUMNS.index("account_offset")

_log = log.get(__name__)


class Rollups:
    """Keeps the rollups of one partition of the accounts. Used by one thread."""

    def __init__(self, clickhouse: ClickHouse, partition: int) -> None:
        self._clickhouse = clickhouse
        self._partition = partition
        self._source_minutes: set[int] = set()
        self._made_minutes: set[int] = set()
        self._source_hours: set[int] = set()
        self._made_hours: set[int] = set()
        self._next_offset = 0
        self._due_s = self._long_due_s = 0.0

    @property
    def minutes_are_done(self) -> bool:
        """Whether nothing was touched since the minutes were computed."""
        return not (self._source_minutes or self._made_minutes)

    def recover(self) -> None:
        """Bring the rollups up to date with the accounts stored so far. Raises: TransientError."""
        [found] = self._clickhouse.query("rolled_up", partition=self._partition)
        begin, end = int(found["next_offset"]), int(found["end_offset"])
        if begin >= end:
            return
        touched = self._clickhouse.query("touched_minutes", partition=self._partition, begin=begin)
        self._source_minutes.update(int(row["minute"]) for row in touched if row["axis"] == "source")
        self._made_minutes.update(int(row["minute"]) for row in touched if row["axis"] == "made")
        self._next_offset = end
        _log.info("rollups_recovering", first_offset=begin, records=end - begin)
        self._due_s = self._long_due_s = 0.0
        self.settle()

    def touch(self, rows: Iterable[Row]) -> None:
        """Remember which minutes rows of `accounts` belong to; they are stored already."""
        for row in rows:
            self._source_minutes.add(row[_MINUTE])
            self._made_minutes.add(row[MADE_AT_MS] // 60_000)
            self._next_offset = max(self._next_offset, row[_OFFSET] + 1)

    def rewind(self, offset: int) -> None:
        """Let a next start roll up again from an account on: something before the stored place changes."""
        self._store_place(offset)

    def settle(self) -> None:
        """Compute what was touched, unless it was done just now. Raises: TransientError: call it again."""
        now = time.monotonic()
        if now < self._due_s or not (self._source_minutes or self._made_minutes or self._source_hours):
            return
        self._minutes()
        done = time.monotonic()
        self._due_s = done + min(max(_EVERY_S, _REST * (done - now)), _MOST_REST_S)
        if done >= self._long_due_s:
            self._long_steps()
            took_s = time.monotonic() - done
            self._long_due_s = done + max(_LONG_STEPS_EVERY_S, _LONG_REST * took_s)

    def _minutes(self) -> None:
        oldest = int(time.time()) // 60 - self._clickhouse.retention.accounts_days * 1440
        source, made = set(self._source_minutes), set(self._made_minutes)
        for kinds, minutes in ((_BY_SOURCE_MINUTE, source), (_BY_MADE_MINUTE, made)):
            for portion in _portions(_kept(minutes, oldest)):
                self._clickhouse.carry_out(_of_minutes(kinds, portion))
        self._source_hours |= {minute // 60 * HOUR_S for minute in source}
        self._made_hours |= {minute // 60 * HOUR_S for minute in made}
        self._source_minutes -= source
        self._made_minutes -= made

    def _long_steps(self) -> None:
        retention, now_s = self._clickhouse.retention, int(time.time())
        for kinds, hours in (
            (_BY_SOURCE_MINUTE, self._source_hours),
            (_BY_MADE_MINUTE, self._made_hours),
        ):
            oldest = now_s - min(retention.accounts_days, retention.minutes_days) * DAY_S
            for portion in _portions(_kept(hours, oldest)):
                self._clickhouse.carry_out(_of_steps(kinds, HOUR_S, MINUTE_S, portion))
            days = {hour // DAY_S * DAY_S for hour in hours}
            for portion in _portions(_kept(days, now_s - retention.hours_days * DAY_S)):
                self._clickhouse.carry_out(_of_steps(kinds, DAY_S, HOUR_S, portion))
        self._store_place(self._next_offset)
        self._source_hours.clear()
        self._made_hours.clear()

    def _store_place(self, offset: int) -> None:
        place = (self._partition, offset, _now_ms())
        self._clickhouse.insert("rollup_progress", ("account_partition", "next_offset", "at_ms"), [place])


def _of_minutes(kinds: Iterable[str], minutes: list[int]) -> list[Statement]:
    given: dict[str, Any] = {"minutes": minutes, "rolled_ms": _now_ms()}
    span: dict[str, Any] = {"first_ms": minutes[0] * 60_000, "until_ms": (minutes[-1] + 1) * 60_000}
    of_kind = {"flows": span, "refusals": span, "stages": span | {"growth": GROWTH}}
    return [(f"{kind}_of_minutes", given | of_kind.get(kind, {})) for kind in kinds]


def _of_steps(kinds: Iterable[str], step_s: int, finer_s: int, starts: list[int]) -> list[Statement]:
    given = {
        "step_s": step_s,
        "finer_s": finer_s,
        "starts": starts,
        "first_s": starts[0],
        "until_s": starts[-1] + step_s,
        "rolled_ms": _now_ms(),
    }
    return [(f"{kind}_of_steps", given) for kind in kinds]


def _kept(steps: set[int], oldest: int) -> list[int]:
    """Return the steps, in order, of which everything is still there to compute them from."""
    kept = sorted(step for step in steps if step >= oldest)
    if len(kept) < len(steps):
        _log.warning("rollups_too_old", records=len(steps) - len(kept))
    return kept


def _portions(steps: list[int]) -> Iterator[list[int]]:
    for first in range(0, len(steps), _PORTION):
        yield steps[first : first + _PORTION]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
