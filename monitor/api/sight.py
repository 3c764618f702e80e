"""Answers cut down to what a caller sees. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from exchange.alerting.alert import Alert
from exchange.corrections import Correction
from exchange.identity.caller import Sight
from exchange.plan import view_topic
from exchange.position import system_of
from monitor.api.models import (
    Refusals,
    Route,
    RouteDetail,
    Routes,
    Status,
    SubscriberPosition,
)
from monitor.balance import Balance, TopicBalance
from monitor.catalogue import ResourceDetail
from monitor.glance import Flow, Known, MayRead, summary_of
from monitor.quality import Quality


def of_status(found: Status, balance: Balance | None, seen: Sight) -> Status:
    """Return the overview of one's own. balance: of the same minutes, None where there are no figures."""
    return found.model_copy(
        update={
            "workers": tuple(one for one in found.workers if _is_own(one, seen)),
            "silent": tuple(one for one in found.silent if _is_own({"writer": one.writer}, seen)),
            "routes": None if found.routes is None else _routes(found.routes, seen),
            "subscribers": None if found.subscribers is None else of_positions(found.subscribers, seen),
            "balance": None if balance is None else summary_of(of_balance(balance, seen)),
            "alerts": None if found.alerts is None else _alerts(found.alerts, seen),
        }
    )


def of_known(found: Known, seen: Sight) -> Known:
    """Return what is known without figures, of one's own connectors."""
    return replace(
        found,
        workers=tuple(one for one in found.workers if _is_own(one, seen)),
        silent=tuple(one for one in found.silent if _is_own({"writer": one.writer}, seen)),
    )


class OwnFlow:
    """One's own of the figures that an overview is made of."""

    def __init__(self, figures: Flow, seen: Sight) -> None:
        self._figures = figures
        self._seen = seen

    def routes(self, window_s: int, within_s: float) -> Routes:
        """Return one's own routes."""
        return of_routes(self._figures.routes(window_s, within_s), self._seen)

    def balance(self, minutes: int, within_s: float) -> Balance:
        """Return the accounts of one's own topics."""
        return of_balance(self._figures.balance(minutes, within_s), self._seen)

    def subscribers(self, within_s: float) -> tuple[SubscriberPosition, ...]:
        """Return one's own subscribers, and who reads one's own sources."""
        return of_positions(self._figures.subscribers(within_s), self._seen)


class OwnReaders:
    """Who may read one's own sources; of others' views, oneself."""

    def __init__(self, readers: MayRead, seen: Sight) -> None:
        self._readers = readers
        self._seen = seen

    def by_topic(self, topics: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """Return them by view topic."""
        found = self._readers.by_topic(topics)
        return {topic: of_readers(names, topic, self._seen) for topic, names in found.items()}


def of_readers(names: Iterable[str], topic: str, seen: Sight) -> tuple[str, ...]:
    """Return who may read a view, to whoever answers for it; to others, their own subscribers."""
    return tuple(name for name in names if topic in seen.topics or name in seen.subscribers)


def of_resource(found: ResourceDetail, seen: Sight) -> ResourceDetail:
    """Return a resource; what it is and what its views show is for all, who reads them is not."""
    views = tuple(
        view
        if view.readers is None
        else view.model_copy(update={"readers": of_readers(view.readers, view.topic, seen)})
        for view in found.shown_by
    )
    return found.model_copy(update={"shown_by": views})


def of_routes(found: Routes, seen: Sight) -> Routes:
    """Return one's own routes."""
    return found.model_copy(update={"routes": _routes(found.routes, seen)})


def of_route(found: RouteDetail, seen: Sight) -> RouteDetail | None:
    """Return a route with one's own subscribers; None where it is not shown."""
    routes = _routes((found.route,), seen)
    if not routes:
        return None
    return found.model_copy(update={"route": routes[0], "readers": of_positions(found.readers, seen)})


def of_balance(found: Balance, seen: Sight) -> Balance:
    """Return the accounts of one's own topics, and within them of one's own views."""
    topics = tuple(one for one in (_topic(one, seen) for one in found.topics) if one is not None)
    problems = tuple(
        one for one in found.problems if one.topic in seen.topics or one.view_topic in seen.view_topics
    )
    return Balance(
        balanced=not problems,
        captured=sum(one.captured for one in topics),
        processed=sum(one.processed for one in topics),
        refused=sum(one.refused_capture + one.refused_process for one in topics),
        in_flight=sum(one.in_flight for one in topics),
        since_ms=found.since_ms,
        late_after_ms=found.late_after_ms,
        topics=topics,
        problems=problems,
    )


def of_refusals(found: Refusals, seen: Sight) -> Refusals:
    """Return what was refused of one's own sources; a subscriber is told of none."""
    return found.model_copy(
        update={"refusals": tuple(one for one in found.refusals if one.topic in seen.topics)}
    )


def of_quality(found: Quality, seen: Sight) -> Quality:
    """Return the quality of one's own sources, and what their views got."""
    return found.model_copy(
        update={
            "resources": tuple(one for one in found.resources if one.topic in seen.topics),
            "views": tuple(one for one in found.views if one.view_topic in seen.topics),
        }
    )


def of_positions(found: tuple[SubscriberPosition, ...], seen: Sight) -> tuple[SubscriberPosition, ...]:
    """Return one's own subscribers, and who reads one's own sources."""
    return tuple(one for one in found if one.subscriber in seen.subscribers or one.topic in seen.topics)


def of_corrections(found: Iterable[Correction], seen: Sight) -> list[Correction]:
    """Return the markers of one's own sources, and of those whose views one's subscribers get."""
    return [
        one
        for one in found
        if any(topic.startswith(view_topic(one.resource, "")) for topic in seen.view_topics)
    ]


def _alerts(found: tuple[Alert, ...], seen: Sight) -> tuple[Alert, ...]:
    """Return those about one's own sources, connectors and deliveries; of others' views nothing is told."""
    own = seen.topics | seen.systems | seen.subscribers
    return tuple(one for one in found if one.where in own)


def _is_own(worker: Mapping[str, Any], seen: Sight) -> bool:
    return system_of(str(worker.get("writer"))) in seen.systems


def _routes(found: tuple[Route, ...], seen: Sight) -> tuple[Route, ...]:
    return tuple(_route(one, seen) for one in found if seen.has_route(one.topic, one.view_topic))


def _route(found: Route, seen: Sight) -> Route:
    """Return a route as a steward sees it, or with the subscriber's own deliveries and no refusals."""
    if found.topic in seen.topics:
        return found
    deliveries = tuple(one for one in found.deliveries if one.subscriber in seen.subscribers)
    return found.model_copy(update={"deliveries": deliveries, "refused": {}})


def _topic(found: TopicBalance, seen: Sight) -> TopicBalance | None:
    if found.topic in seen.topics:
        return found
    views = tuple(one for one in found.views if one.view_topic in seen.view_topics)
    return found.model_copy(update={"views": views}) if views else None
