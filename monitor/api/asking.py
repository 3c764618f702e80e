"""What somebody may ask for, and what a view would show them: before there is a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Query, Request
from pydantic import Field, JsonValue

from exchange.contract import Contract
from exchange.errors import ConfigError
from exchange.governance import authority
from exchange.governance.desk import OPEN
from exchange.governance.request import Route
from exchange.identity.caller import Caller
from exchange.model import Label, Model
from exchange.preview import Previewed, preview, proposed
from exchange.topology.model import Topology
from exchange.view import RowCondition, ViewSpec
from monitor.api.described import delivery_of
from monitor.api.gate import caller_of
from monitor.api.models import Problem
from monitor.api.problem import Refused
from monitor.catalogue import Showing, showing
from monitor.identity import Identity

_LONGEST_NAME: Final = 200
_MOST_FIELDS: Final = 1000
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {code: {"model": Problem} for code in (401, 403, 409)}
Name = Annotated[str, Field(max_length=_LONGEST_NAME)]


class Asking(Model):
    """A subscriber that the caller may ask for."""

    name: str
    label: Label
    department: str
    delivery: str = Field(description="How it gets its views: kafka, pull, or the kind of its store.")


class Choice(Model):
    """A view that can be asked for."""

    view: str
    label: Label
    resource: str
    resource_label: Label
    department: str
    share: Literal["unconditional", "conditional"]
    taken: tuple[str, ...] = Field(description="Subscribers of the caller's that have it or asked for it.")


class Choices(Model):
    """Whom the caller may ask for, and a page of views by name."""

    subscribers: tuple[Asking, ...]
    views: tuple[Choice, ...]
    total: int
    next_offset: int | None


class ChoicesParams(Model):
    """Query parameters of /api/requests/choices."""

    text: Name = Field(default="", description="In the name or a label of view or resource.")
    limit: int = Field(default=50, ge=1, le=500)
    offset: int = Field(default=0, ge=0, le=1_000_000)


class PreviewWanted(Model):
    """A declared view, or a resource with masks of one's own."""

    view: Name = ""
    resource: Name = Field(default="", description="Instead of view, with fields.")
    fields: dict[Name, JsonValue] = Field(
        default={}, max_length=_MOST_FIELDS, description="Field → mask, as views of topology.yaml have them."
    )
    rows: tuple[RowCondition, ...] = Field(default=(), max_length=100)
    subscriber: Name = Field(default="", description="Who would ask; tells whose approval it needs.")


class FieldPreview(Model):
    """One field of the contract, in the made-up record and in what the view shows of it."""

    showing: Showing
    label: Label
    type: str
    key: bool
    classification: int
    sensitivity: str | None
    example: str | None = Field(description="Of a record that is made up; null as well as records.")
    is_shown: bool
    text: str | None = Field(description="What subscribers see; null where it is null, or not shown.")
    problem: str = Field(description="Why the mask cannot be; empty: it can.")


class PreviewAnswer(Model):
    """What a view makes of a made-up record, by the masks that workers run, under a key of its own."""

    view: str
    resource: str
    rows: tuple[RowCondition, ...]
    fields: tuple[FieldPreview, ...]
    problems: tuple[str, ...] = Field(description="That are of no one field; with any, nothing is shown.")
    route: Route | None = Field(
        description="Whose approval it needs; null without subscriber, or where the view cannot be."
    )
    needs_purpose: bool = Field(description="Purpose and legal basis, to be submitted.")


def add(app: FastAPI, identity: Identity) -> None:
    """Add choices and preview."""

    @app.get("/api/requests/choices", tags=["requests"], responses=_ERRORS)
    def choices(given: Annotated[ChoicesParams, Query()], asked: Request) -> Choices:
        """Show for whom the caller may ask, and views that can be asked for."""
        return _choices(identity, caller_of(asked), given)

    @app.post("/api/requests/preview", tags=["requests"], responses=_ERRORS)
    def show(given: PreviewWanted, asked: Request) -> PreviewAnswer:
        """Show what a view, or masks that are only thought of, would make of a made-up record."""
        caller_of(asked)
        topology, contracts = identity.declared.current()
        return _preview(topology, identity.with_grants().views, contracts, given)


def _choices(identity: Identity, caller: Caller, given: ChoicesParams) -> Choices:
    topology = identity.with_grants()
    own = caller.departments("requester")
    subscribers = [name for name, one in sorted(topology.subscribers.items()) if one.department in own]
    with identity.store().change() as change:
        held = {(one.subscriber, one.view) for one in change.requests(OPEN)}
    held |= {(grant.subscriber, grant.view) for grant in topology.grants}
    found = [name for name in sorted(topology.views) if _is_meant(topology, name, given.text)]
    end = given.offset + given.limit
    return Choices(
        subscribers=tuple(
            Asking(
                name=name,
                label=topology.subscribers[name].label,
                department=topology.subscribers[name].department,
                delivery=delivery_of(topology, name),
            )
            for name in subscribers
        ),
        views=tuple(
            _choice(topology, name, tuple(who for who in subscribers if (who, name) in held))
            for name in found[given.offset : end]
        ),
        total=len(found),
        next_offset=end if end < len(found) else None,
    )


def _choice(topology: Topology, name: str, taken: tuple[str, ...]) -> Choice:
    view = topology.views[name]
    resource = topology.resources[view.resource]
    return Choice(
        view=name,
        label=view.label,
        resource=view.resource,
        resource_label=resource.label,
        department=topology.steward_department(view.resource),
        share="unconditional" if resource.share == "unconditional" else "conditional",
        taken=taken,
    )


def _is_meant(topology: Topology, name: str, text: str) -> bool:
    view = topology.views[name]
    resource = topology.resources[view.resource]
    if resource.share == "none":
        return False
    labels = (view.label.zh, view.label.en, resource.label.zh, resource.label.en)
    return any(text.casefold() in one.casefold() for one in (name, *labels))


def _preview(
    declared: Topology,
    granted: Mapping[str, ViewSpec],
    contracts: Mapping[str, Contract],
    given: PreviewWanted,
) -> PreviewAnswer:
    """Return what a view shows. granted: by name, those that requests have proposed and that are there."""
    topology = declared.with_views(granted)
    if bool(given.view) == bool(given.resource):
        raise Refused(400, "either a view is wanted, or a resource with fields")
    resource = topology.views[given.view].resource if given.view in topology.views else given.resource
    authority.expect_known(topology, view=given.view, resource=resource, subscriber=given.subscriber)
    problems: dict[str, str] = {}
    if given.view:
        spec: ViewSpec = topology.views[given.view]
    else:
        spec, problems = proposed(resource, given.fields, given.rows)
    contract = contracts[topology.contract_name(resource)]
    found = preview(contract, spec, problems)
    return PreviewAnswer(
        view=given.view,
        resource=resource,
        rows=spec.rows,
        fields=tuple(_field(one, spec, key=one.path in contract.key) for one in found.fields),
        problems=found.problems,
        route=_route(topology, contracts, given, spec, is_proposed=given.view not in declared.views),
        needs_purpose=topology.resources[resource].share == "conditional",
    )


def _route(
    topology: Topology,
    contracts: Mapping[str, Contract],
    given: PreviewWanted,
    view: ViewSpec,
    *,
    is_proposed: bool,
) -> Route | None:
    if not given.subscriber or topology.resources[view.resource].share == "none":
        return None
    try:
        return authority.route_to(given.subscriber, view, topology, contracts, is_proposed=is_proposed)
    except ConfigError:
        return None


def _field(one: Previewed, spec: ViewSpec, *, key: bool) -> FieldPreview:
    masks = {} if one.problem else dict(spec.fields)
    return FieldPreview(
        showing=showing(one.path, one.field, masks),
        label=Label(zh=one.field.label_zh, en=one.field.label_en),
        type=one.field.type.describe(),
        key=key,
        classification=one.field.classification,
        sensitivity=one.field.sensitivity,
        example=one.example,
        is_shown=one.shown,
        text=one.text,
        problem=one.problem,
    )
