"""How good a resource's data were in a month: five indicators, a score, and the rules broken most.

| indicator | share of a month's captured changes that were |
| --- | --- |
| completeness | not refused because a required field was empty |
| validity | not refused for any other rule, type or form |
| uniqueness | not processed more than once |
| timeliness | readable within TIMELY_MS of the source's commit |
| consistency | processed, as the accounts have it |

The score is their mean, in percent. A month is one of UTC; so are the days that figures are kept of.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import Field

from exchange.account import delay_bucket
from exchange.change import Reason
from exchange.model import Model
from monitor.clickhouse.client import Ask, ClickHouse
from monitor.clickhouse.rollups import DAY_S

TIMELY_MS: Final = 60_000
_WORST: Final = 5
_EXAMPLES: Final = 3
_NOT_THE_SOURCES: Final = frozenset(
    {Reason.FOREIGN, Reason.MASK, Reason.LEAK, Reason.UNDELIVERABLE, Reason.UNREADABLE}
)
"""Refused, but not for what the source gave."""

Row = Mapping[str, Any]


class Indicators(Model):
    """Shares from 0 to 1; None where nothing was there to judge."""

    completeness: float | None
    validity: float | None
    uniqueness: float | None
    timeliness: float | None
    consistency: float | None


class Example(Model):
    """Where a refused record lies, never what it holds."""

    place: str = Field(description="<partition>:<offset> in the resource's quarantine.")
    partition: int | None = Field(description="Of the raw topic; null where it never got there.")
    offset: int | None = Field(description="In that partition.")
    plan_version: int = Field(description="Of the plan by which it was refused; 0 at capture.")
    at_ms: int = Field(description="When it was refused.")


class BrokenRule(Model):
    """What was refused for one reason."""

    stage: str
    reason: str
    field: str = Field(description="Dotted path in the contract, never a value.")
    changes: int
    examples: tuple[Example, ...] = Field(
        default=(), description="The last refused in the month that Kafka still has, newest first."
    )


class ResourceQuality(Model):
    """One resource's month."""

    topic: str
    resource: str
    captured: int = Field(description="Changes captured and re-driven.")
    refused: int
    indicators: Indicators
    score: float | None = Field(description="Percent; None where nothing was captured.")
    score_before: float | None = Field(description="Of the month before.")
    worst: tuple[BrokenRule, ...] = Field(description="Rules broken most, at most five.")


class ViewUse(Model):
    """What one view got in the month."""

    view_topic: str
    resource: str
    delivered: int


class Quality(Model):
    """A month of all resources that had changes in it, and what their views got."""

    month: str = Field(description="Like 2026-11, UTC.")
    timely_ms: int = TIMELY_MS
    resources: tuple[ResourceQuality, ...]
    views: tuple[ViewUse, ...]


def quality(clickhouse: ClickHouse, month: dt.date) -> Quality:
    """Return the quality of a month, given by any of its days. Raises: TransientError."""
    first = month.replace(day=1)
    before = (first - dt.timedelta(days=1)).replace(day=1)

    def ask_all(ask: Ask) -> Quality:
        earlier = {one.topic: one.score for one in _resources(ask, _span(before), {})}
        return Quality(
            month=first.strftime("%Y-%m"),
            resources=_resources(ask, _span(first), earlier),
            views=tuple(ViewUse(**row) for row in ask("quality_use", **_span(first))),
        )

    return clickhouse.together(ask_all)


def with_examples(
    clickhouse: ClickHouse, month: dt.date, resources: Iterable[ResourceQuality]
) -> tuple[ResourceQuality, ...]:
    """Return resources with examples of their worst rules, of a month given by any of its days.

    Raises: TransientError.
    """
    shown, span = tuple(resources), _span(month.replace(day=1))
    topics = [one.topic for one in shown if one.worst]
    if not topics:
        return shown
    since_ms, until_ms = 1000 * span["since_s"], 1000 * span["until_s"]
    found: dict[tuple[str, ...], list[Example]] = {}
    for row in clickhouse.query(
        "quality_examples", topics=topics, since_ms=since_ms, until_ms=until_ms, most=_EXAMPLES
    ):
        rule = (row["topic"], row["stage"], row["reason"], row["field"])
        found.setdefault(rule, []).append(_example(row))

    def whole(topic: str, rule: BrokenRule) -> BrokenRule:
        examples = tuple(found.get((topic, rule.stage, rule.reason, rule.field), ()))
        return rule.model_copy(update={"examples": examples})

    return tuple(
        one.model_copy(update={"worst": tuple(whole(one.topic, rule) for rule in one.worst)}) for one in shown
    )


def _example(row: Row) -> Example:
    is_there = row["offset"] >= 0
    return Example(
        place=f"{row['quarantine_partition']}:{row['quarantine_offset']}",
        partition=row["partition"] if is_there else None,
        offset=row["offset"] if is_there else None,
        plan_version=row["plan_version"],
        at_ms=row["at_ms"],
    )


def _span(first: dt.date) -> dict[str, int]:
    """Return step, begin and end of the month that begins on a day."""
    begin = dt.datetime.combine(first, dt.time(), dt.UTC)
    end = (begin + dt.timedelta(days=32)).replace(day=1)
    return {"step_s": DAY_S, "since_s": int(begin.timestamp()), "until_s": int(end.timestamp())}


def _resources(
    ask: Ask, span: dict[str, int], before: Mapping[str, float | None]
) -> tuple[ResourceQuality, ...]:
    rules = ask("quality_rules", **span)
    delays = {row["topic"]: row for row in ask("quality_delays", **span, bucket=delay_bucket(TIMELY_MS))}
    return tuple(
        _resource(
            row, [one for one in rules if one["topic"] == row["topic"]], delays.get(row["topic"]), before
        )
        for row in ask("quality_sources", **span)
    )


def _resource(
    row: Row, rules: list[dict[str, Any]], delay: Row | None, before: Mapping[str, float | None]
) -> ResourceQuality:
    found = indicators(row, rules, delay)
    known = [value for value in found.model_dump().values() if value is not None]
    return ResourceQuality(
        topic=row["topic"],
        resource=row["resource"],
        captured=row["captured"],
        refused=row["refused_capture"] + row["refused_process"],
        indicators=found,
        score=round(100 * sum(known) / len(known), 2) if known else None,
        score_before=before.get(row["topic"]),
        worst=tuple(
            BrokenRule(**{name: one[name] for name in ("stage", "reason", "field", "changes")})
            for one in rules[:_WORST]
        ),
    )


def indicators(row: Row, rules: Iterable[Row], delay: Row | None) -> Indicators:
    """Return the indicators from a row of quality_sources, and those of its rules and delays."""
    captured, processed = int(row["captured"]), int(row["processed"])
    entered = captured - int(row["refused_capture"])
    empty = wrong = 0
    for rule in rules:
        if rule["reason"] == Reason.REQUIRED:
            empty += rule["changes"]
        elif rule["reason"] not in _NOT_THE_SOURCES:
            wrong += rule["changes"]
    readable = int(delay["readable_changes"]) if delay is not None else 0
    return Indicators(
        completeness=_without(empty, captured),
        validity=_without(wrong, captured),
        uniqueness=_without(processed - entered, entered),
        timeliness=_without(readable - int(delay["timely"]), readable) if delay is not None else None,
        consistency=_without(entered - processed, entered),
    )


def _without(bad: int, of: int) -> float | None:
    """Return the share that is not bad; None of nothing."""
    return None if of <= 0 else round(min(max(1 - bad / of, 0.0), 1.0), 6)
