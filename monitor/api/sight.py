"""Answers cut down to what a caller sees. No I/O."""

from __future__ import annotations

from exchange.identity.caller import Sight
from monitor.api.models import (
    BalanceSummary,
    Refusals,
    Route,
    RouteDetail,
    Routes,
    Status,
    SubscriberPosition,
)
from monitor.balance import Balance, TopicBalance


def of_status(found: Status, balance: Balance | None, seen: Sight) -> Status:
    """Return the overview of one's own. balance: of the same minutes, None where there are no figures."""
    return found.model_copy(
        update={
            "workers": tuple(
                one for one in found.workers if str(one.get("writer")).removeprefix("cdc-") in seen.systems
            ),
            "routes": None if found.routes is None else _routes(found.routes, seen),
            "subscribers": None if found.subscribers is None else of_positions(found.subscribers, seen),
            "balance": None if balance is None else _summary(of_balance(balance, seen)),
        }
    )


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


def of_positions(found: tuple[SubscriberPosition, ...], seen: Sight) -> tuple[SubscriberPosition, ...]:
    """Return one's own subscribers, and who reads one's own sources."""
    return tuple(one for one in found if one.subscriber in seen.subscribers or one.topic in seen.topics)


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


def _summary(found: Balance) -> BalanceSummary:
    return BalanceSummary(
        balanced=found.balanced,
        captured=found.captured,
        processed=found.processed,
        refused=found.refused,
        in_flight=found.in_flight,
        problems=len(found.problems),
        newest=found.problems[:3],
    )
