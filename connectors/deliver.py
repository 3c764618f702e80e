"""Runs the delivery of a subscriber's views into its own store, by the plan in force.

Each view has a thread, a Kafka client and a connection of its own (connectors/viewdelivery.py): one that
waits or halts holds up no other. A view whose grant has ended is stopped at once, by the plan without it, by
its revocation, or by Kafka itself, which the views are read from as the subscriber. A revocation is heeded
because Kafka stops only what is asked for from then on: what a client holds already would still go out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from connectors.viewdelivery import ViewDelivery
from exchange import heartbeat, log, selfcheck
from exchange.errors import ExchangeError, PlanError, RestartError, TransientError
from exchange.plan import PlannedDelivery, PublishedPlan
from exchange.plan_topic import PlanTopic, no_plan, read_plan
from exchange.revocations import Revocations, key_of
from exchange.settings import Settings

_LOOK_EVERY_S: Final = 0.5
_HEARTBEAT_EVERY_S: Final = 5.0
_RETRY_S: Final = 2.0
_WORST_FIRST: Final = ("halted", "denied", "waiting", "starting", "streaming")

_log = log.get(__name__)


def principal(subscriber: str) -> str:
    """Return the Kafka user that keeps a delivery's places and accounts."""
    return f"deliver-{subscriber}"


class Deliverer:
    """One subscriber's delivery: `run` until `stop`."""

    def __init__(self, settings: Settings, subscriber: str) -> None:
        self._settings = settings
        self._subscriber = subscriber
        self._stopping = threading.Event()
        self._redis = heartbeat.connect(settings)
        self._views: dict[str, ViewDelivery] = {}
        self._revoked: frozenset[str] = frozenset()
        self._beat_at = 0.0

    def stop(self) -> None:
        """Ask `run` to return after the batches under way; safe in a signal handler."""
        self._stopping.set()

    def run(self) -> tuple[str, ...]:
        """Deliver until stopped; return why views were halted when it was.

        Raises: ExchangeError when a person must act; RestartError when a new process must go on;
        FencedError when another process took over.
        """
        selfcheck.check_certificate(self._settings)
        client = self._settings.kafka_client(principal(self._subscriber))
        while not self._stopping.is_set():
            try:
                with PlanTopic(client) as plans, Revocations(client) as revocations:
                    plan = plans.read() or _raise(no_plan())
                    revocations.read()
                    self._deliver(plans, plan, revocations)
            except TransientError as error:
                _log.warning("delivery_waits_for_its_plan", subscriber=self._subscriber, exc_info=error)
                self._stopping.wait(_RETRY_S)
        self._redis.close()
        return tuple(one.progress.reason for one in self._views.values() if one.progress.state == "halted")

    def _deliver(self, plans: PlanTopic, plan: PublishedPlan, revocations: Revocations) -> None:
        delivery = planned_delivery(plan, self._subscriber)
        try:
            self._revoked = revocations.in_force
            self._heed(plan, delivery)
            while not self._stopping.wait(_LOOK_EVERY_S):
                with suppress(TransientError):  # the views themselves wait for Kafka, each by itself
                    if revocations.newer():
                        self._revoked = revocations.in_force
                        self._heed(plan, delivery)
                with suppress(TransientError):
                    newer = plans.newer()
                    if newer is not None:
                        plan = newer
                        self._heed(plan, delivery)
                self._expect_all_well()
                self._beat()
        finally:
            self._end(list(self._views))

    def _heed(self, plan: PublishedPlan, ours: PlannedDelivery) -> None:
        """Start and stop views as a plan says.

        Raises: RestartError when the store is another one.
        """
        delivery = next((one for one in plan.deliveries if one.subscriber == self._subscriber), None)
        if delivery is None or delivery.model_copy(update={"views": ours.views}) != ours:
            msg = f"plan version {plan.version} changes where views are delivered to for {self._subscriber}"
            raise RestartError(msg)
        held = [name for name in delivery.views if key_of(self._subscriber, name) not in self._revoked]
        ended = [name for name in self._views if name not in held]
        self._end(ended)
        for name in ended:
            del self._views[name]
            _log.info("delivery_ended", view=name, subscriber=self._subscriber, plan_version=plan.version)
        for name in held:
            if name in self._views:
                self._views[name].heed(plan)
                continue
            self._views[name] = ViewDelivery(
                self._settings, principal(self._subscriber), plan, delivery, name
            )
            self._views[name].start()

    def _end(self, names: list[str]) -> None:
        for name in names:
            self._views[name].stop()
        for name in names:
            self._views[name].join()

    def _expect_all_well(self) -> None:
        for view in self._views.values():
            if view.error is not None:
                raise view.error

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beat_at < _HEARTBEAT_EVERY_S:
            return
        self._beat_at = now
        found = {name: view.progress for name, view in sorted(self._views.items())}
        states = {progress.state for progress in found.values()}
        heartbeat.publish(
            self._redis,
            "deliver",
            principal(self._subscriber),
            next((state for state in _WORST_FIRST if state in states), "idle"),
            _figures({name: progress.figures() for name, progress in found.items()}),
            [
                {"topic": f"share.{name}", "partition": -1, "offset": -1, "reason": progress.reason}
                for name, progress in found.items()
                if progress.state in ("halted", "denied")
            ],
            [
                *(alarm for one in found.values() for alarm in (one.alarm, one.parked_alarm) if alarm),
                *(f"waits: {one.reason}" for one in found.values() if one.state == "waiting"),
            ],
        )


def _figures(views: Mapping[str, Mapping[str, int | float]]) -> dict[str, Any]:
    """Return the figures over all views, and of each."""
    total = {
        name: sum(one[name] for one in views.values()) for name in ("delivered", "parked", "lag_records")
    }
    return total | {"lag_s": max((one["lag_s"] for one in views.values()), default=0.0), "views": dict(views)}


def planned_delivery(plan: PublishedPlan, subscriber: str) -> PlannedDelivery:
    """Return a subscriber's delivery.

    Raises: PlanError when the plan has none.
    """
    for delivery in plan.deliveries:
        if delivery.subscriber == subscriber:
            return delivery
    known = ", ".join(one.subscriber for one in plan.deliveries) or "none"
    msg = (
        f"subscriber {subscriber!r} has no delivery in the published plan (those that have: {known}); "
        "give it a `delivery` in topology.yaml and run `exchange apply`"
    )
    raise PlanError(msg)


def subscribers(settings: Settings) -> tuple[str, ...]:
    """Return the subscribers with a delivery in the published plan.

    Raises: PlanError when there is none; TransientError when Kafka is away.
    """
    plan = read_plan(settings.kafka_client("worker")) or _raise(no_plan())
    return tuple(delivery.subscriber for delivery in plan.deliveries)


def _raise(error: ExchangeError) -> Any:
    raise error
