"""Deadlines of requests, in working days of the Chinese calendar; pure functions of a request and a moment.

The calendar is published by the State Council for one year at a time. Past the last year that is known,
Monday to Friday count as worked, corrected by `holidays` and `workdays` of topology.yaml; such a deadline is
`estimated`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

import chinese_calendar

from exchange.governance.request import Request, State
from exchange.topology.model import Governance

ZONE: Final = ZoneInfo("Asia/Shanghai")
_SATURDAY: Final = 5
_DAY: Final = dt.timedelta(days=1)


class Notice(StrEnum):
    """What a deadline asks for today."""

    NONE = "none"
    REMINDER = "reminder"
    OVERDUE = "overdue"
    ESCALATED = "escalated"


@dataclass(frozen=True, slots=True)
class Deadline:
    """The last day for a decision; `is_estimated` where the calendar of some day before it is not known."""

    day: dt.date
    is_estimated: bool


def is_known(day: dt.date) -> bool:
    """Return whether the published calendar has a day."""
    try:
        chinese_calendar.is_workday(day)
    except NotImplementedError:
        return False
    return True


def is_workday(day: dt.date, rules: Governance) -> bool:
    """Return whether a day is worked; what topology.yaml says comes first."""
    if day in rules.holidays or day in rules.workdays:
        return day in rules.workdays
    if is_known(day):
        return bool(chinese_calendar.is_workday(day))
    return day.weekday() < _SATURDAY


def add_workdays(day: dt.date, count: int, rules: Governance) -> dt.date:
    """Return the `count`-th working day after a day, itself not counted; before it when negative."""
    step = _DAY if count > 0 else -_DAY
    left = abs(count)
    while left:
        day += step
        left -= is_workday(day, rules)
    return day


def deadline(request: Request, rules: Governance) -> Deadline | None:
    """Return by when a request must be decided in its state; None where nobody has to."""
    days = {State.SUBMITTED: rules.steward_days, State.AT_AUTHORITY: rules.authority_days}.get(request.state)
    if days is None:
        return None
    return deadline_from(request.since, days, rules)


def deadline_from(since: dt.datetime, days: int, rules: Governance) -> Deadline:
    """Return the last of so many working days from a moment on."""
    day = add_workdays(since.astimezone(ZONE).date(), days, rules)
    return Deadline(day, not is_known(day))


def notice(request: Request, now: dt.datetime, rules: Governance) -> Notice:
    """Return what is due of a request at a moment."""
    return notice_of(deadline(request, rules), now, rules)


def notice_of(due: Deadline | None, now: dt.datetime, rules: Governance) -> Notice:
    """Return what a deadline asks for at a moment."""
    if due is None:
        return Notice.NONE
    today = now.astimezone(ZONE).date()
    if today >= add_workdays(due.day, rules.escalation_days, rules):
        return Notice.ESCALATED
    if today > due.day:
        return Notice.OVERDUE
    return Notice.REMINDER if today >= add_workdays(due.day, -rules.reminder_days, rules) else Notice.NONE


def is_over(request: Request, today: dt.date) -> bool:
    """Return whether a grant has passed its last day."""
    return request.state == State.GRANTED and request.until is not None and request.until < today
