"""What a rule counts of what was seen, and when it holds; pure functions of the rule and what was seen.

| rule | counts |
| --- | --- |
| denials | requests of the subscriber that Kafka denied |
| volume | records by which its groups went forward on a view |
| reread | how often one of its groups went back on a view |
| off_hours | as volume, outside of the hours of working days |
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import NamedTuple

from exchange.counting import counted
from exchange.governance.clock import ZONE, is_workday
from exchange.topology.model import Governance
from exchange.topology.watch import AnyWatchRule, DenialsRule, OffHoursRule, RereadRule, VolumeRule


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
        case VolumeRule():
            return seen.amount if seen.act is Act.READ else 0
        case RereadRule():
            return int(seen.act is Act.WENT_BACK and seen.amount >= rule.records)
        case OffHoursRule():
            return seen.amount if seen.act is Act.READ and _is_off(rule, seen.at, calendar) else 0


def limit(rule: AnyWatchRule) -> int:
    """Return the count in a window from which a rule holds."""
    return rule.records if isinstance(rule, VolumeRule | OffHoursRule) else rule.count


def told(rule: AnyWatchRule, count: int) -> str:
    """Return a count of a rule in words."""
    match rule:
        case DenialsRule():
            return counted(count, "request") + " denied by Kafka"
        case VolumeRule():
            return counted(count, "record") + " read"
        case RereadRule():
            return counted(count, "step") + " back to read again"
        case OffHoursRule():
            return (
                counted(count, "record") + f" read outside of {rule.opens} to {rule.closes} on working days"
            )


def _is_off(rule: OffHoursRule, at: dt.datetime, calendar: Governance) -> bool:
    local = at.astimezone(ZONE)
    return not (is_workday(local.date(), calendar) and rule.is_open(local.time()))
