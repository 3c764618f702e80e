"""What somebody may do with a request or an objection now: whatever the rules that refuse would let through.

No I/O.
"""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import Final

from exchange.governance import authority, objection
from exchange.governance.objection import Objection, Place
from exchange.governance.proposal import with_own_view
from exchange.governance.request import Event, Request, advance
from exchange.topology.model import Topology

CERTIFY: Final = "certify"
RENEW: Final = "renew"
_BY_PEOPLE: Final = (Event.SUBMIT, Event.APPROVE, Event.RETURN, Event.WITHDRAW, Event.REVOKE)


def acts(
    topology: Topology, actor: str, request: Request, now: dt.datetime, *, is_renewed: bool
) -> tuple[str, ...]:
    """Return the events, and `renew` and `certify`, that would not be refused.

    What is still to be given counts as given well: a reason, a later last day, the purpose of a draft.

    is_renewed: whether a renewal of it is asked for.
    """
    topology = with_own_view(topology, request)
    found = [
        event.value
        for event in _BY_PEOPLE
        if authority.passes(partial(_try, topology, actor, request, event, now))
    ]
    if authority.passes(
        lambda: authority.expect_renewable(topology, actor, request, is_asked_for=is_renewed)
    ):
        found.append(RENEW)
    if authority.passes(lambda: authority.expect_certifiable(topology, actor, request)):
        found.append(CERTIFY)
    return tuple(found)


def objection_acts(
    topology: Topology, actor: str, one: Objection, now: dt.datetime
) -> tuple[objection.Event, ...]:
    """Return the events that would not be refused; a text, and a change that corrects, count as given."""
    later = Place(offset=one.change.offset + 1, position="any")

    def judge(event: objection.Event) -> None:
        authority.expect_person(topology, actor)
        authority.expect_objection_step(topology, actor, one, event)
        objection.advance(one, event, actor, now, answer="any", correction=later)

    return tuple(event for event in objection.Event if authority.passes(partial(judge, event)))


def _try(topology: Topology, actor: str, request: Request, event: Event, now: dt.datetime) -> None:
    authority.expect_step(topology, actor, request, event)
    if event == Event.APPROVE:
        authority.expect_same_view(request, topology)
    if event == Event.SUBMIT:
        authority.expect_shareable(topology, request.subscriber, request.view)
        request = request.model_copy(update={"until": None})
    advance(request, event, actor, now, "any")
