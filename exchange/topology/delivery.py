"""What holds for subscribers into whose own store the bus delivers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from exchange.files.problem import Steps
from exchange.plan import table_name
from exchange.suggest import hint, listing
from exchange.topology.model import (
    AnyDelivery,
    ClickhouseDelivery,
    FilesDelivery,
    PostgresDelivery,
    Topology,
    WebhookDelivery,
)

_POSTGRES_NAME_LENGTH: Final = 63


class Told(NamedTuple):
    """One problem, its place, whether the place's key is meant, and whether it is a warning only."""

    steps: Steps
    message: str
    key: bool = False
    warning: bool = False


def delivery_problems(topology: Topology, declared_views: frozenset[str]) -> Iterator[Told]:
    """Yield everything wrong with deliveries; declared_views: all of the file, well formed or not."""
    yield from _places(topology)
    for name, subscriber in topology.subscribers.items():
        if subscriber.delivery is None:
            continue
        granted = {grant.view for grant in topology.grants if grant.subscriber == name}
        for number, view in enumerate(subscriber.delivery.views):
            steps = ("subscribers", name, "delivery", "views", number)
            if view not in declared_views:
                known = listing(declared_views)
                yield Told(steps, f"'{view}' is not among the views ({known}).{hint(view, declared_views)}")
            elif view not in granted:
                yield Told(steps, f"'{view}' is not granted to '{name}'; add a grant, or take it out here")
            elif view in subscriber.delivery.views[:number]:
                yield Told(steps, f"'{view}' is listed twice; keep it once")
        if isinstance(subscriber.delivery, PostgresDelivery):
            yield from _long_names(name, subscriber.delivery.views or tuple(sorted(granted)))


def _places(topology: Topology) -> Iterator[Told]:
    """Two subscribers must not write to one place: each of them may see what the other may not."""
    first: dict[tuple[str, ...], str] = {}
    for name, subscriber in topology.subscribers.items():
        place, attribute = _place(subscriber.delivery)
        other = first.setdefault(place, name) if place else name
        if other != name:
            told = f"{attribute} is that of subscriber '{other}' too; each delivery needs a place of its own"
            yield Told(("subscribers", name, "delivery", attribute), told)


def _place(delivery: AnyDelivery | None) -> tuple[tuple[str, ...], str]:
    """Return what a delivery alone may write to, and the key of the file that says so."""
    match delivery:
        case PostgresDelivery():
            return (delivery.connection_env, delivery.namespace), "schema"
        case ClickhouseDelivery():
            return (delivery.connection_env, delivery.database), "database"
        case FilesDelivery():
            return (delivery.folder.rstrip("/"),), "folder"
        case WebhookDelivery():
            return (delivery.url,), "url"
        case None:
            return (), ""


def _long_names(subscriber: str, views: tuple[str, ...]) -> Iterator[Told]:
    for view in views:
        table = table_name(view)
        if len(table) > _POSTGRES_NAME_LENGTH:
            told = (
                f"the table {table} of view '{view}' has {len(table)} characters, PostgreSQL takes "
                f"{_POSTGRES_NAME_LENGTH}; deliver other views, or give the view a shorter name"
            )
            yield Told(("subscribers", subscriber, "delivery"), told, key=True)
