"""Whether the accounts balance, and where not: at which stage, in which minute, what differs. No I/O.

For every raw topic and source minute
    captured + re-driven − refused at capture  =  processed                    (counts, positions, contents)
    processed − refused at processing  =  delivered + filtered, for each view  (counts, positions)

Changes captured less than LATE_AFTER_MS ago may still be on their way: they are in flight, not missing. They
are missing at once where the workers are known to have read past them (monitor/subscribers.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal

from pydantic import Field

from exchange.counting import counted
from exchange.model import Model

LATE_AFTER_MS: Final = 60_000
_MINUTE_MS: Final = 60_000

Kind = Literal["late", "missing", "doubled", "different", "altered", "unread"]


class OffsetRange(Model):
    """A stretch of one partition of a raw topic."""

    partition: int
    first_offset: int
    last_offset: int


class Problem(Model):
    """One place where the accounts do not balance."""

    stage: Literal["process", "deliver", "accounts"] = Field(
        description="process: between raw topic and worker; deliver: between worker and view; "
        "accounts: the figures themselves"
    )
    kind: Kind
    topic: str = Field(description="Raw topic.")
    view_topic: str | None = Field(default=None, description="View topic, where it is about one.")
    minute_ms: int = Field(description="Start of the source minute, milliseconds since 1970-01-01 UTC.")
    changes: int = Field(description="How many changes differ; 0 where only sums do.")
    text: str
    offsets: tuple[OffsetRange, ...] = Field(
        default=(), description="Where in the raw topic lies what was processed of that minute."
    )


class ViewBalance(Model):
    """What one view got of a raw topic's changes."""

    view_topic: str
    delivered: int
    filtered: int
    records: int = Field(description="Kafka records written, tombstones too.")
    balanced: bool


class TopicBalance(Model):
    """A raw topic's accounts over the window."""

    topic: str
    resource: str
    captured: int = Field(description="Changes captured and re-driven.")
    refused_capture: int
    processed: int
    refused_process: int
    foreign_records: int = Field(description="Records that the bus did not write; they are in no sum.")
    in_flight: int = Field(description="Captured and not yet processed.")
    balanced: bool
    views: tuple[ViewBalance, ...]


class Balance(Model):
    """The accounts over a window of source minutes, in changes."""

    balanced: bool = Field(description="No problem anywhere; what is in flight is none.")
    captured: int
    processed: int
    refused: int
    in_flight: int
    since_ms: int
    late_after_ms: int = LATE_AFTER_MS
    topics: tuple[TopicBalance, ...]
    problems: tuple[Problem, ...] = Field(description="Newest minute first, at most 1,000 of each stage.")


Rows = Iterable[Mapping[str, Any]]
Place = Mapping[str, Any] | None


def balance(
    *,
    totals: Rows,
    view_totals: Rows,
    uneven_minutes: Rows,
    uneven_views: Rows,
    missing: Rows,
    places: Rows = (),
    unknown_to_kafka: int = 0,
    now_ms: int,
    since_ms: int,
    as_of_ms: int | None = None,
) -> Balance:
    """Judge the rows of the queries of the same names (monitor/clickhouse/queries.sql).

    places: of places_of_minutes, for the uneven ones; unknown_to_kafka: stored accounts that Kafka never had;
    as_of_ms: until when the rows tell everything, unset: until now. What came since may be processed already,
    and a monitor that is behind itself says of nobody that he is late.
    """
    place_of = {(row["topic"], row["minute"]): row for row in places}
    known_ms = now_ms if as_of_ms is None else as_of_ms
    judged = (
        _process_problem(row, place_of.get((row["topic"], row["minute"])), known_ms) for row in uneven_minutes
    )
    problems = [problem for problem in judged if problem is not None]
    problems += [_view_problem(row, place_of.get((row["topic"], row["minute"]))) for row in uneven_views]
    problems += [_unread(row) for row in missing if row["readable_ms"] >= since_ms]
    problems += _unknown(unknown_to_kafka, now_ms)
    problems.sort(key=lambda problem: -problem.minute_ms)
    views, uneven = _by_topic(view_totals), _uneven(problems)
    topics = tuple(
        _topic(row, views.get(row["topic"], []), uneven.get(row["topic"], set())) for row in totals
    )
    return Balance(
        balanced=not problems,
        captured=sum(topic.captured for topic in topics),
        processed=sum(topic.processed for topic in topics),
        refused=sum(topic.refused_capture + topic.refused_process for topic in topics),
        in_flight=sum(topic.in_flight for topic in topics),
        since_ms=since_ms,
        topics=topics,
        problems=tuple(problems),
    )


def _by_topic(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["topic"]].append(row)
    return found


def _uneven(problems: Iterable[Problem]) -> dict[str, set[str | None]]:
    """Return raw topic → the views that do not balance; None among them for the topic itself."""
    found: dict[str, set[str | None]] = defaultdict(set)
    for problem in problems:
        found[problem.topic].add(problem.view_topic)
    return found


def _topic(
    row: Mapping[str, Any], views: Iterable[Mapping[str, Any]], uneven: Collection[str | None]
) -> TopicBalance:
    return TopicBalance(
        topic=row["topic"],
        resource=row["resource"],
        captured=row["captured"],
        refused_capture=row["refused_capture"],
        processed=row["processed"],
        refused_process=row["refused_process"],
        foreign_records=row["foreign_records"],
        in_flight=row["captured"] - row["refused_capture"] - row["processed"],
        balanced=not uneven,
        views=tuple(
            ViewBalance(
                view_topic=view["view_topic"],
                delivered=view["delivered"],
                filtered=view["filtered"],
                records=view["records"],
                balanced=view["view_topic"] not in uneven,
            )
            for view in views
        ),
    )


def _process_problem(row: Mapping[str, Any], place: Place, as_of_ms: int) -> Problem | None:
    in_flight = int(row["entered"]) - int(row["processed"])
    passed_over = int(place["settled_changes"]) - int(row["processed"]) if place is not None else 0
    if passed_over > 0:
        text = (
            f"{counted(passed_over, 'captured change')} not processed, though the workers have read past them"
        )
        return _between(row, place, "missing", passed_over, text)
    if in_flight > 0:
        age_ms = as_of_ms - int(row["last_captured_ms"])
        if age_ms <= LATE_AFTER_MS:
            return None
        text = (
            f"{counted(in_flight, 'captured change')} not processed after {age_ms // 1000} s: the worker is "
            "stopped, halted or behind (see its heartbeat), or it passed over what was captured"
        )
        return _between(row, place, "late", in_flight, text)
    if in_flight < 0:
        text = (
            f"{counted(-in_flight, 'more change')} processed than captured: read twice, or written by another"
        )
        return _between(row, place, "doubled", -in_flight, text)
    if not row["same_positions"]:
        text = "as many changes processed as captured, but not the same ones: one is missing, another doubled"
        return _between(row, place, "different", 0, text)
    text = "the bytes that were processed are not those that were captured"
    return _between(row, place, "altered", 0, text)


def _between(row: Mapping[str, Any], place: Place, kind: Kind, changes: int, text: str) -> Problem:
    return Problem(
        stage="process",
        kind=kind,
        topic=row["topic"],
        minute_ms=int(row["minute"]) * _MINUTE_MS,
        changes=changes,
        text=text,
        offsets=_offsets(place),
    )


def _offsets(place: Place) -> tuple[OffsetRange, ...]:
    return tuple(
        OffsetRange(partition=partition, first_offset=first, last_offset=last)
        for partition, first, last in (place["offsets"] if place is not None else ())
    )


def _view_problem(row: Mapping[str, Any], place: Place) -> Problem:
    missing = int(row["expected"]) - int(row["accounted"])
    kind: Kind = "missing" if missing > 0 else "doubled" if missing < 0 else "different"
    texts: dict[Kind, str] = {
        "missing": f"{counted(missing, 'processed change')} neither delivered to the view nor filtered",
        "doubled": f"{counted(-missing, 'more change')} delivered or filtered than processed",
        "different": "the changes delivered and filtered are not those that were processed",
    }
    return Problem(
        stage="deliver",
        kind=kind,
        topic=row["topic"],
        view_topic=row["view_topic"],
        minute_ms=int(row["minute"]) * _MINUTE_MS,
        changes=abs(missing),
        text=texts[kind],
        offsets=_offsets(place),
    )


def _unread(row: Mapping[str, Any]) -> Problem:
    first, last = int(row["first_offset"]), int(row["last_offset"])
    why = "are gone from Kafka" if row["stage"] == "gap" else "cannot be decoded"
    return Problem(
        stage="accounts",
        kind="unread",
        topic="",
        minute_ms=int(row["readable_ms"]) // _MINUTE_MS * _MINUTE_MS,
        changes=0,
        text=f"accounts at offsets {first} to {last} {why}: what they counted is unknown",
    )


def _unknown(accounts: int, now_ms: int) -> list[Problem]:
    if not accounts:
        return []
    text = (
        f"ClickHouse holds {counted(accounts, 'account')} that Kafka has not: somebody else wrote them, or "
        "the topic was made anew; see `accounts_unknown_to_kafka` in the monitor's log"
    )
    minute_ms = now_ms // _MINUTE_MS * _MINUTE_MS
    return [Problem(stage="accounts", kind="different", topic="", minute_ms=minute_ms, changes=0, text=text)]
