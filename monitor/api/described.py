"""A request as the API shows it to somebody: with what it is about, and what they may do with it. No I/O.

The history of objections and entries is shown like that of requests.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Container, Iterable
from typing import Final, TypeVar

from exchange.errors import GovernanceError
from exchange.governance import authority, force
from exchange.governance.possible import acts
from exchange.governance.proposal import with_own_view
from exchange.governance.request import Event, Request, State
from exchange.governance.store import Decision
from exchange.model import Model
from exchange.topology.model import Topology
from monitor.api.request_models import Described, Word

HappenedT = TypeVar("HappenedT", bound=Model)

WORDS: Final[dict[str, Word]] = {
    Event.SUBMIT: "submit",
    Event.APPROVE: "approve",
    Event.RETURN: "return",
    Event.WITHDRAW: "withdraw",
    Event.REVOKE: "end",
    "renew": "renew",
    "certify": "certify",
}
"""What can be done → its word in a path."""
_WAITING: Final = frozenset({"submit", "approve", "return"})
_AT_DECIDERS: Final = frozenset({State.SUBMITTED, State.AT_AUTHORITY})


def described(
    request: Request, topology: Topology, actor: str, now: dt.datetime, renewed: Container[int]
) -> Described:
    """Return a request as somebody is shown it. topology: in which they have their roles.

    renewed: requests whose renewal is asked for.
    """
    topology = with_own_view(topology, request)
    found = acts(topology, actor, request, now, is_renewed=request.id in renewed)
    view = topology.views.get(request.view)
    return Described(
        **force.described(request, topology, now),
        resource="" if view is None else view.resource,
        department="" if view is None else topology.steward_department(view.resource),
        delivery=delivery_of(topology, request.subscriber),
        is_view_changed=request.state in _AT_DECIDERS and not _is_same(request, topology),
        is_certified=request.certificate is not None,
        acts=tuple(WORDS[one] for one in found),
    )


def delivery_of(topology: Topology, subscriber: str) -> str:
    """Return how a subscriber gets its views."""
    known = topology.subscribers.get(subscriber)
    if known is None or known.delivery is None:
        return "pull" if subscriber in topology.pull_keys() else "kafka"
    return str(known.delivery.kind)


def waits(request: Described) -> bool:
    """Return whether a request waits for whom it was described for: to decide, to mend, to submit."""
    return not _WAITING.isdisjoint(request.acts)


def _is_same(request: Request, topology: Topology) -> bool:
    try:
        authority.expect_same_view(request, topology)
    except GovernanceError:
        return False
    return True


def history(shown_as: type[HappenedT], done: Iterable[Decision]) -> tuple[HappenedT, ...]:
    """Return decisions, in their order, with what a kind of history shows of each."""
    fields = set(shown_as.model_fields)
    return tuple(shown_as(**one.model_dump(include=fields)) for one in done)
