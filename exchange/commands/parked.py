"""`exchange parked`: records that a subscriber's receiver refused for good, and sending them again."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from exchange.counting import counted
from exchange.errors import ConfigError, PartError

if TYPE_CHECKING:
    from connectors.parked import At, Entry, Order
    from exchange.settings import Settings

_Subscriber = Annotated[str, typer.Argument(help="Subscriber whose delivery is of kind webhook.")]
_ANSWER_S: Final = 30.0
_Views = dict[str, tuple[dict["At", "Entry"], "Order | None"]]


def list_parked(
    subscriber: _Subscriber,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """List what is parked for a subscriber: view, place, times, reason, and what Kafka has no more; no value.

    Example:
      exchange parked list tax
    """
    from exchange.settings import Settings

    settings = Settings()
    views = _views(settings, subscriber)
    firsts = _firsts(settings, views)
    count = 0
    for view, (entries, order) in views.items():
        for at, entry in entries.items():
            described = _described(view, at, entry, ordered=order is not None, first=firsts[view].get(at[0]))
            sys.stdout.write(json.dumps(described) + "\n" if as_json else _line(described))
            count += 1
    sys.stderr.write(f"{counted(count, 'record')} parked for {subscriber}\n")


def redrive(
    subscriber: _Subscriber,
    view: Annotated[
        str | None, typer.Option("--view", help="<domain>.<resource>.<view> alone; otherwise all of them.")
    ] = None,
    forget_gone: Annotated[
        bool, typer.Option("--forget-gone", help="Give up records that Kafka no longer has; each is logged.")
    ] = False,
) -> None:
    """Order the delivery to send what is parked again, once the receiver has been mended.

    `exchange deliver` obeys within a minute, or when it is started; new records of the view wait meanwhile.
    They go in the order of the view's topic, one a request. What is accepted leaves the list, what is refused
    again stays on it.

    Examples:
      exchange parked redrive tax
      exchange parked redrive tax --view population.person.tax
    """
    from exchange.settings import Settings

    settings = Settings()
    views = {name: found for name, (found, _) in _views(settings, subscriber).items() if found}
    if view is not None and view not in views:
        known = ", ".join(views) or "none"
        msg = f"--view {view}: nothing of it is parked for {subscriber} (views with parked records: {known})"
        raise ConfigError(msg)
    chosen = views if view is None else {view: views[view]}
    _order(settings, subscriber, list(chosen), forget_gone=forget_gone)
    for name, entries in chosen.items():
        sys.stdout.write(f"{name}: {counted(len(entries), 'record')} ordered to be sent again\n")
    if not chosen:
        sys.stdout.write(f"{subscriber}: nothing is parked\n")


def _views(settings: Settings, subscriber: str) -> _Views:
    """Return what is parked of each view that has anything on the list, by name.

    Raises: PlanError or ConfigError when the subscriber gets no webhooks.
    """
    from connectors.parked import entries_of
    from exchange.apply.access import MONITOR
    from exchange.compacted import CompactedTopic
    from exchange.plan import PARKED_TOPIC

    _expect_webhook(settings, subscriber)
    with CompactedTopic(settings.kafka_client(MONITOR), PARKED_TOPIC) as topic:
        held = topic.read()
    keys = [key.decode().split("/") for key in held]
    names = sorted({view for owner, view, *_ in keys if owner == subscriber})
    return {name: entries_of(held, f"{subscriber}/{name}/") for name in names}


def _expect_webhook(settings: Settings, subscriber: str) -> None:
    from connectors.deliver import planned_delivery
    from exchange.apply.access import MONITOR
    from exchange.plan_topic import no_plan, read_plan

    plan = read_plan(settings.kafka_client(MONITOR))
    if plan is None:
        raise no_plan()
    kind = planned_delivery(plan, subscriber).kind
    if kind != "webhook":
        msg = f"the delivery of {subscriber} is of kind {kind}, which keeps what is parked in its own target"
        raise ConfigError(msg)


def _firsts(settings: Settings, views: _Views) -> dict[str, dict[int, int]]:
    """Return the first offsets that Kafka has of each view's partitions; none of a view that is no more."""
    from exchange.apply.access import MONITOR
    from exchange.compacted import reader_group
    from exchange.plan import view_topic
    from exchange.quarantine.entries import Topics

    topics = Topics(settings.kafka_client(MONITOR), reader_group(MONITOR))
    firsts: dict[str, dict[int, int]] = {}
    for view, (entries, _) in views.items():
        resource, _, name = view.rpartition(".")
        try:
            spans = topics.spans(view_topic(resource, name)) if entries else {}
        except ConfigError:
            spans = {}
        firsts[view] = {partition: first for partition, (first, _) in spans.items()}
    return firsts


def _described(view: str, at: At, entry: Entry, *, ordered: bool, first: int | None) -> dict[str, Any]:
    from connectors.parked import instant

    return {
        "view": view,
        "place": f"{at[0]}:{at[1]}",
        "status": entry.status or None,
        "reason": f"refused with {entry.status}" if entry.status else "behind an earlier one of its key",
        "parked_at": instant(entry.parked_at_ms),
        "tried_at": instant(entry.tried_at_ms) if entry.tried_at_ms else None,
        "in_kafka": None if first is None else at[1] >= first,
        "ordered": ordered,
    }


def _line(described: dict[str, Any]) -> str:
    words = [described[name] or "-" for name in ("view", "place", "parked_at", "tried_at", "reason")]
    if described["in_kafka"] is False:
        words.append("GONE from Kafka")
    if described["ordered"]:
        words.append("ordered to be sent again")
    return "  ".join(words) + "\n"


def _order(settings: Settings, subscriber: str, views: list[str], *, forget_gone: bool) -> None:
    """Write the orders. Raises: PartError when Kafka does not take them."""
    from connectors.parked import Order, order_key
    from exchange.apply.access import deliverer
    from exchange.librdkafka import TIMED_OUT, write
    from exchange.plan import PARKED_TOPIC

    value = Order(time.time_ns() // 1_000_000, forget_gone).encode()
    orders = [
        {"topic": PARKED_TOPIC, "key": order_key(f"{subscriber}/{view}/"), "value": value, "partition": 0}
        for view in views
    ]
    if failed := write(settings.kafka_client(deliverer(subscriber)), orders, _ANSWER_S):
        refusals = ", ".join(error.name() for error in failed if error.code() != TIMED_OUT)
        msg = f"{PARKED_TOPIC}: Kafka did not take the order ({refusals or 'no answer'}); try again"
        raise PartError(msg)
