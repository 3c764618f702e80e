"""A month's figures and the topology as one assessment by department. No I/O."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import Field

from exchange.governance import clock
from exchange.governance.proposal import with_own_view
from exchange.governance.request import Request
from exchange.model import Label, Model
from exchange.plan import view_topic
from exchange.topology.model import Topology

_LATE: Final = (clock.Notice.OVERDUE, clock.Notice.ESCALATED)


class RuleLine(Model):
    """What was refused most for one reason."""

    resource: str
    stage: str
    reason: str
    field: str
    changes: int


_RULE: Final = ("stage", "reason", "field", "changes")


class ResourceLine(Model):
    """One resource's month. Indicators are shares from 0 to 1."""

    resource: str
    label: Label
    department: str
    captured: int
    refused: int
    completeness: float | None
    validity: float | None
    uniqueness: float | None
    timeliness: float | None
    consistency: float | None
    score: float | None = Field(description="Percent.")
    score_before: float | None = Field(description="Of the month before.")


class DepartmentLine(Model):
    """One department's month: what it gave, what it got, and how it kept its promises."""

    department: str
    label: Label
    resources: int = Field(description="Resources it supplies.")
    supplied: int = Field(description="Changes captured from them.")
    views_used: int = Field(description="Views granted to its subscribers.")
    used: int = Field(description="Changes in these views.")
    score: float | None = Field(description="Mean score of its resources that had changes, percent.")
    timeliness: float | None = Field(description="Mean of theirs.")
    overdue: int = Field(description="Requests for its views that are overdue when this is made.")


class Assessment(Model):
    """The month; departments by what they supply, most first."""

    month: str
    made_at: str
    departments: tuple[DepartmentLine, ...]
    resources: tuple[ResourceLine, ...]
    rules: tuple[RuleLine, ...]


def assess(
    quality: Mapping[str, Any], topology: Topology, overdue: Mapping[str, int], now: dt.datetime
) -> Assessment:
    """Put an assessment together.

    quality: answer of /api/quality; overdue: department → requests for its views; now: an aware instant.
    """
    figures = {one["resource"]: one for one in quality["resources"]}
    resources = tuple(_resource(name, topology, figures.get(name)) for name in sorted(topology.resources))
    delivered = {one["view_topic"]: int(one["delivered"]) for one in quality["views"]}
    departments = [
        _department(name, topology, resources, delivered, overdue, now.date())
        for name in topology.departments
    ]
    rules = [
        RuleLine(resource=one["resource"], **{name: rule[name] for name in _RULE})
        for one in quality["resources"]
        for rule in one["worst"]
    ]
    return Assessment(
        month=quality["month"],
        made_at=now.isoformat(timespec="seconds"),
        departments=tuple(sorted(departments, key=lambda line: (-line.supplied, line.department))),
        resources=resources,
        rules=tuple(sorted(rules, key=lambda rule: (-rule.changes, rule.resource, rule.field))),
    )


def overdue(requests: Iterable[Request], topology: Topology, now: dt.datetime) -> dict[str, int]:
    """Return department → overdue requests for views of its resources."""
    counts: dict[str, int] = {}
    for request in requests:
        late = clock.notice(request, now, topology.governance) in _LATE
        view = with_own_view(topology, request).views.get(request.view) if late else None
        if view is not None:
            department = topology.steward_department(view.resource)
            counts[department] = counts.get(department, 0) + 1
    return counts


def _resource(name: str, topology: Topology, found: Mapping[str, Any] | None) -> ResourceLine:
    nothing = dict.fromkeys(("completeness", "validity", "uniqueness", "timeliness", "consistency"))
    return ResourceLine(
        resource=name,
        label=topology.resources[name].label,
        department=topology.steward_department(name),
        captured=found["captured"] if found else 0,
        refused=found["refused"] if found else 0,
        score=found["score"] if found else None,
        score_before=found["score_before"] if found else None,
        **(found["indicators"] if found else nothing),
    )


def _department(
    name: str,
    topology: Topology,
    resources: tuple[ResourceLine, ...],
    delivered: Mapping[str, int],
    overdue: Mapping[str, int],
    today: dt.date,
) -> DepartmentLine:
    own = [one for one in resources if one.department == name]
    subscribers = [key for key, one in topology.subscribers.items() if one.department == name]
    views = [view for subscriber in subscribers for view in topology.granted_views(subscriber, today)]
    return DepartmentLine(
        department=name,
        label=topology.departments[name].label,
        resources=len(own),
        supplied=sum(one.captured for one in own),
        views_used=len(set(views)),
        used=sum(delivered.get(_topic(view), 0) for view in views),
        score=_mean([one.score for one in own]),
        timeliness=_mean([one.timeliness for one in own]),
        overdue=overdue.get(name, 0),
    )


def _topic(view: str) -> str:
    resource, _, name = view.rpartition(".")
    return view_topic(resource, name)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 4) if known else None
