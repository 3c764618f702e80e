"""Approved grants, and the views that they propose, as part of what `exchange plan` and `apply` want."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from exchange.contract import Contract
from exchange.errors import ConfigError, GovernanceError
from exchange.governance.proposal import expect_valid, with_own_view
from exchange.governance.request import Request, State
from exchange.governance.store import Store, exists
from exchange.settings import Settings
from exchange.topology.model import Grant, Topology


def with_approved(settings: Settings, topology: Topology) -> Topology:
    """Return a topology with the grants that were approved and their views, behind those that it declares.

    Raises: PartError when the store does not answer; nothing is applied then, and nothing guessed.
    """
    return merged(topology, _granted(settings))


def to_apply(settings: Settings, topology: Topology, contracts: Mapping[str, Contract]) -> Topology:
    """Return the same, to be carried out whole.

    Raises: as `with_approved`; ConfigError when a view that was proposed and granted is declared otherwise
    by now, or no longer fits its contract.
    """
    return agreed(topology, contracts, _granted(settings))


def agreed(topology: Topology, contracts: Mapping[str, Contract], granted: Iterable[Request]) -> Topology:
    """Return what `merged` does, where it can be carried out whole. Raises: ConfigError as `to_apply`."""
    granted = list(granted)
    desired = merged(topology, granted)
    if problems := [told for one in granted for told in _problems(one, topology, desired, contracts)]:
        raise ConfigError("\n".join(problems))
    return desired


def merged(topology: Topology, granted: Iterable[Request]) -> Topology:
    """Return a topology with grants and the views that they propose.

    A grant is left out whose subscriber, view or sharing the topology no longer has. A view that it declares
    itself is as it declares it.
    """
    held = [request for request in granted if _may_hold(topology, request)]
    approved = tuple(
        Grant(
            subscriber=request.subscriber,
            view=request.view,
            purpose=request.purpose,
            legal_basis=request.legal_basis,
            until=request.until,
            expected_records_per_day=request.expected_records_per_day,
        )
        for request in held
    )
    proposed = {request.view: request.proposed for request in held if request.proposed is not None}
    return topology.with_views(proposed).model_copy(update={"grants": (*topology.grants, *approved)})


def _granted(settings: Settings) -> list[Request]:
    if not exists(settings):
        return []
    with Store.of(settings) as store, store.change() as change:
        return change.requests([State.GRANTED])


def _may_hold(topology: Topology, request: Request) -> bool:
    view = with_own_view(topology, request).views.get(request.view)
    if view is None or request.subscriber not in topology.subscribers:
        return False
    return topology.resources[view.resource].share != "none"


def _problems(
    request: Request, topology: Topology, desired: Topology, contracts: Mapping[str, Contract]
) -> Iterable[str]:
    """Yield what stands in the way of a granted proposal. topology: as declared; desired: with all grants."""
    view = request.proposed
    if view is None or desired.views.get(request.view) is None:
        return
    if topology.views.get(request.view, view) != view:
        yield (
            f"views.{request.view}: request {request.id} was granted for a view of this name with another "
            f"content or label. Declare it as `exchange request show {request.id}` prints it, call this one "
            f"otherwise, or end that grant (`exchange request end {request.id}`)"
        )
        return
    try:
        expect_valid(desired, contracts, request.view, view)
    except GovernanceError as error:
        yield (
            f"{error}\nThis view was proposed and granted by request {request.id}: mend the contract or the "
            f"topology, or end the grant (`exchange request end {request.id}`)"
        )
