"""Approved grants as part of the desired state: what `exchange plan` and `exchange apply` want."""

from __future__ import annotations

from exchange.governance.request import Request, State
from exchange.governance.store import Store, exists
from exchange.settings import Settings
from exchange.topology.model import Grant, Topology


def with_approved(settings: Settings, topology: Topology) -> Topology:
    """Return a topology with the grants that were approved, behind those that it declares.

    Raises: PartError when the store does not answer; nothing is applied then, and nothing guessed.
    """
    if not exists(settings):
        return topology
    with Store.of(settings) as store, store.change() as change:
        granted = change.requests([State.GRANTED])
    return merged(topology, granted)


def merged(topology: Topology, granted: list[Request]) -> Topology:
    """Return a topology with grants; one is left out whose subscriber, view or sharing it no longer has."""
    approved = tuple(
        Grant(
            subscriber=request.subscriber,
            view=request.view,
            purpose=request.purpose,
            legal_basis=request.legal_basis,
            until=request.until,
            expected_records_per_day=request.expected_records_per_day,
        )
        for request in granted
        if _may_hold(topology, request)
    )
    return topology.model_copy(update={"grants": (*topology.grants, *approved)})


def _may_hold(topology: Topology, request: Request) -> bool:
    view = topology.views.get(request.view)
    if view is None or request.subscriber not in topology.subscribers:
        return False
    return topology.resources[view.resource].share != "none"
