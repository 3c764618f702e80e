"""Which source minutes the balance has to look at: those of uneven hours, found by way of uneven days.

The sums of an hour cannot hide what its minutes lack, so a month is judged by a few thousand rows.
"""

from __future__ import annotations

from typing import Final

from monitor.clickhouse.client import Ask
from monitor.clickhouse.rollups import DAY_S, HOUR_S, MINUTE_S

BY_HOUR_S: Final = 2 * DAY_S
"""Up to here each hour is looked at, beyond it those of suspect days."""


def suspect_minutes(ask: Ask, since_s: int, now_s: int) -> list[int]:
    """Return the starts of the minutes to look at: of suspect hours, which are those of suspect days."""
    first, last = since_s // DAY_S * DAY_S, now_s // DAY_S * DAY_S
    days = {first, last}
    if now_s - since_s > BY_HOUR_S:
        days = _suspect(ask, DAY_S, list(range(first, last + 1, DAY_S)))
    hours = [hour for hour in steps_of(days, DAY_S, HOUR_S, now_s) if hour > since_s - HOUR_S]
    minutes = steps_of(_suspect(ask, HOUR_S, hours), HOUR_S, MINUTE_S, now_s)
    return [start for start in minutes if start >= since_s]


def _suspect(ask: Ask, step_s: int, starts: list[int]) -> set[int]:
    return {row["start_s"] for row in ask("suspect_steps", step_s=step_s, starts=starts)}


def steps_of(suspect: set[int], step_s: int, finer_s: int, now_s: int) -> list[int]:
    """Return the starts of the finer steps within suspect ones, in order.

    The last two steps are among them whatever was found: what is new may not be in their figures yet.
    """
    this = now_s // step_s * step_s
    wanted = sorted(suspect | {this - step_s, this, this + step_s})
    return [start for begin in wanted for start in range(begin, begin + step_s, finer_s)]
