"""What a rule counts of what was seen, and when it holds; pure functions of the rule and what was seen.

| rule | counts |
| --- | --- |
| denials | requests of the subscriber that Kafka denied |
| volume | records by which its groups went forward on a view |
| expected | the same; it holds by what the subscriber's grant of the view expects |
| reread | how often one of its groups went back on a view |
| off_hours | as volume, outside of the hours of working days |
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from math import ceil
from typing import Final, NamedTuple

from exchange.counting import counted
from exchange.governance.clock import ZONE, is_workday
from exchange.topology.model import Governance
from exchange.topology.watch import (
    AnyWatchRule,
    DenialsRule,
    ExpectedRule,
    OffHoursRule,
    RereadRule,
    VolumeRule,
)

_DAY_PERCENT: Final = 24 * 60 * 100


class Act(StrEnum):
    """What a subscriber was seen to do."""

    DENIED = "denied"
    READ = "read"
    WENT_BACK = "went_back"


class Seen(NamedTuple):
    """One thing seen. amount: denials, or records; view: empty where it is about no view; at: with a zone."""

    act: Act
    subscriber: str
    view: str
    amount: int
    at: dt.datetime


def counted_by(rule: AnyWatchRule, seen: Seen, calendar: Governance) -> int:
    """Return what a rule counts of something seen; 0 where it is none of its business."""
    if seen.subscriber in rule.spare:
        return 0
    match rule:
        case DenialsRule():
            return seen.amount if seen.act is Act.DENIED else 0
        case VolumeRule() | ExpectedRule():
            return seen.amount if seen.act is Act.READ else 0
        case RereadRule():
            return int(seen.act is Act.WENT_BACK and seen.amount >= rule.records)
        case OffHoursRule():
            return seen.amount if seen.act is Act.READ and _is_off(rule, seen.at, calendar) else 0


def limit(rule: AnyWatchRule, expected_per_day: int | None) -> int | None:
    """Return the count in a window from which a rule holds; None where it is not for this grant.

    expected_per_day: records that the grant expects; None where it says nothing of it.
    """
    match rule:
        case ExpectedRule():
            if expected_per_day is None:
                return None
            return max(1, ceil(expected_per_day * rule.within_minutes * rule.percent / _DAY_PERCENT))
        case VolumeRule() | OffHoursRule():
            return rule.records
        case DenialsRule() | RereadRule():
            return rule.count


def told(rule: AnyWatchRule, count: int) -> str:
    """Return a count of a rule in words."""
    match rule:
        case DenialsRule():
            return counted(count, "request") + " denied by Kafka"
        case VolumeRule():
            return counted(count, "record") + " read"
        case ExpectedRule():
            return counted(count, "record") + f" read, {rule.percent} % of what the grant expects or more"
        case RereadRule():
            return counted(count, "step") + " back to read again"
        case OffHoursRule():
            return (
                counted(count, "record") + f" read outside of {rule.opens} to {rule.closes} on working days"
            )


def _is_off(rule: OffHoursRule, at: dt.datetime, calendar: Governance) -> bool:
    local = at.astimezone(ZONE)
    return not (is_workday(local.date(), calendar) and rule.is_open(local.time()))
