"""Who may do what with a request: the one place that says so, for commands and for every other way in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from exchange.contract import Contract
from exchange.errors import GovernanceError, NotAllowedError
from exchange.governance import objection
from exchange.governance.objection import Objection
from exchange.governance.request import Event, Request, Route, State, Who, step_of
from exchange.masking import Null, Omit, Redact, Token
from exchange.topology.model import Topology
from exchange.view import Shown, ViewSpec, compile_view

_TELLS_NOTHING: Final = (Null, Omit, Redact, Token)


def passes(judge: Callable[[], None]) -> bool:
    """Return whether a rule lets something through: what is offered is what would not be refused."""
    try:
        judge()
    except GovernanceError:
        return False
    return True


def expect_person(topology: Topology, actor: str) -> None:
    """Raise NotAllowedError unless the topology knows the person."""
    if actor not in topology.people:
        known = ", ".join(sorted(topology.people)) or "nobody is declared"
        msg = f"'{actor}' is not among the people of the topology ({known})"
        raise NotAllowedError(msg)


def expect_role(topology: Topology, actor: str, who: Who, subscriber: str, view: str) -> None:
    """Raise NotAllowedError unless a person holds a role for the department that it is about.

    A requester's is the subscriber's department; the others' is the one that owns the view's source.
    """
    expect_person(topology, actor)
    if who == Who.REQUESTER:
        expect_known(topology, subscriber=subscriber)
        department = topology.subscribers[subscriber].department
    else:
        expect_known(topology, view=view)
        department = topology.steward_department(topology.views[view].resource)
    expect_held(topology, actor, who, department)


def expect_held(topology: Topology, actor: str, who: Who, department: str) -> None:
    """Raise NotAllowedError unless a person holds a role for a department."""
    expect_person(topology, actor)
    if who == Who.BUS:
        msg = f"only the bus itself does this, not '{actor}'"
        raise NotAllowedError(msg)
    held = {str(role): departments for role, departments in topology.people[actor].roles.items()}
    if department not in held.get(who.value, ()):
        msg = f"'{actor}' is not {who.value} of department {department}; people of the topology say who is"
        raise NotAllowedError(msg)


def expect_operator(topology: Topology | None, actor: str, system: str) -> None:
    """Raise NotAllowedError unless a person runs the bus, or is steward of a system's department.

    topology: None where whoever has the bus's own secrets acts as themselves; no role adds to those.
    """
    if topology is None:
        return
    expect_person(topology, actor)
    if system not in topology.systems:
        msg = f"'{system}' is not among the systems ({', '.join(sorted(topology.systems))})"
        raise GovernanceError(msg)
    roles, department = topology.people[actor].roles, topology.systems[system].department
    if (
        "operations" not in roles
        and "administrator" not in roles
        and department not in roles.get("steward", ())
    ):
        msg = f"'{actor}' is neither operations nor administrator, nor steward of department {department}"
        raise NotAllowedError(msg)


def takes_part(topology: Topology, actor: str, subscriber: str, view: str) -> bool:
    """Return whether a person has any role in what is decided about a subscriber's view."""
    return any(passes(partial(expect_role, topology, actor, who, subscriber, view)) for who in Who)


def expect_step(topology: Topology, actor: str, request: Request, event: Event) -> None:
    """Raise GovernanceError unless a person may do an event to a request as it stands, by state and role."""
    expect_person(topology, actor)
    step = step_of(request, event)
    expect_role(topology, actor, step.who, request.subscriber, request.view)


def expect_objection_step(topology: Topology, actor: str, one: Objection, event: objection.Event) -> None:
    """Raise GovernanceError unless a person may do an event to an objection as it stands."""
    step = objection.step_of(one, event)
    expect_role(topology, actor, step.who, one.subscriber, one.view)


def expect_renewable(topology: Topology, actor: str, held: Request, *, is_asked_for: bool) -> None:
    """Raise GovernanceError unless a person may ask for a grant's renewal. is_asked_for: already."""
    expect_role(topology, actor, Who.REQUESTER, held.subscriber, held.view)
    if held.state != State.GRANTED:
        msg = f"request {held.id} is {held.state}; only a grant can be renewed, ask anew for others"
        raise GovernanceError(msg)
    if is_asked_for:
        msg = f"request {held.id}: its renewal is asked for already; `exchange request list` shows it"
        raise GovernanceError(msg)


def expect_certifiable(topology: Topology, actor: str, ended: Request) -> None:
    """Raise GovernanceError unless a person may have it certified that the access of a grant is gone."""
    expect_role(topology, actor, Who.STEWARD, ended.subscriber, ended.view)
    if ended.state != State.REVOKED:
        msg = f"request {ended.id} is {ended.state}; only the end of a grant that was revoked is certified"
        raise GovernanceError(msg)
    if ended.certificate is not None:
        msg = f"request {ended.id}: its end is certified already"
        raise GovernanceError(msg)


def expect_known(topology: Topology, *, subscriber: str = "", view: str = "", resource: str = "") -> None:
    """Raise GovernanceError unless a subscriber, a view or a resource is declared."""
    if resource and resource not in topology.resources:
        msg = f"'{resource}' is not among the resources ({', '.join(sorted(topology.resources))})"
        raise GovernanceError(msg)
    if subscriber and subscriber not in topology.subscribers:
        msg = f"'{subscriber}' is not among the subscribers ({', '.join(sorted(topology.subscribers))})"
        raise GovernanceError(msg)
    if view and view not in topology.views:
        msg = f"'{view}' is not among the views ({', '.join(sorted(topology.views))})"
        raise GovernanceError(msg)


def expect_shareable(topology: Topology, subscriber: str, view: str) -> None:
    """Raise GovernanceError unless both are declared and the view's resource may be shared."""
    expect_known(topology, subscriber=subscriber, view=view)
    if topology.resources[topology.views[view].resource].share == "none":
        msg = f"'{view}': its resource has share: none; it is granted to nobody"
        raise GovernanceError(msg)


def submitted(request: Request, topology: Topology, contracts: Mapping[str, Contract]) -> Request:
    """Return a request with its route and the view as it is now, ready to be submitted.

    topology: with the view, where the request proposes it.

    Raises: GovernanceError when a purpose or a legal basis is missing where sharing is conditional.
    """
    expect_shareable(topology, request.subscriber, request.view)
    resource = topology.resources[topology.views[request.view].resource]
    view, is_proposed = topology.views[request.view], request.proposed is not None
    route = route_to(request.subscriber, view, topology, contracts, is_proposed=is_proposed)
    if resource.share == "conditional":
        missing = [name for name in ("purpose", "legal_basis") if not getattr(request, name).strip()]
        if missing:
            options = " and ".join("--" + name.replace("_", "-") for name in missing)
            msg = f"request {request.id}: sharing is conditional; give {options}"
            raise GovernanceError(msg)
    return request.model_copy(update={"route": route, "view_sha256": view_sha256(topology, request.view)})


def route_to(
    subscriber: str,
    view: ViewSpec,
    topology: Topology,
    contracts: Mapping[str, Contract],
    *,
    is_proposed: bool,
) -> Route:
    """Return whose approval a view needs, by share attribute, whitelist and grades of fields.

    is_proposed: by the request, so that nobody who answers for the source has agreed to it yet.
    """
    resource = topology.resources[view.resource]
    is_free = (
        resource.share == "unconditional" or topology.subscribers[subscriber].department in resource.whitelist
    )
    if is_free and not is_proposed:
        return Route.DIRECT
    compiled = compile_view(contracts[topology.contract_name(view.resource)], view, "asked")
    if resource.review == "authority" or _highest(compiled.shown) >= topology.governance.authority_from_grade:
        return Route.AUTHORITY
    return Route.STEWARD


def expect_same_view(request: Request, topology: Topology) -> None:
    """Raise GovernanceError when the view is no longer the one that was asked for, or not to be shared.

    topology: with the view, where the request proposes it.
    """
    expect_shareable(topology, request.subscriber, request.view)
    if request.proposed not in (None, topology.views[request.view]):
        msg = (
            f"request {request.id}: view {request.view} was declared since, with another content; return it, "
            "to be asked for as it is declared or proposed under another name"
        )
        raise GovernanceError(msg)
    if request.view_sha256 != view_sha256(topology, request.view):
        msg = f"request {request.id}: view {request.view} was changed since; return it, to be submitted anew"
        raise GovernanceError(msg)


def view_sha256(topology: Topology, view: str) -> str:
    """Return the digest of a view's declaration."""
    return hashlib.sha256(topology.views[view].model_dump_json().encode()).hexdigest()


def _highest(shown: tuple[Shown, ...]) -> int:
    """Return the highest grade among fields of which something can be read, parts of records included."""
    grades = (
        _highest(one.parts) if one.mask is None else one.field.classification
        for one in shown
        if not isinstance(one.mask, _TELLS_NOTHING)
    )
    return max(grades, default=0)
