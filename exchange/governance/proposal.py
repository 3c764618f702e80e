"""A view that a request proposes: read, judged by the rules of topology.yaml, and bound to its name. No I/O.

A name has one content for good: records of what was granted under it may be in its topic still.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from exchange.contract import Contract
from exchange.errors import ConfigError, GovernanceError
from exchange.governance.request import Request, State
from exchange.suggest import listing
from exchange.topology.model import Topology, ViewName
from exchange.topology.references import Given, check_topics
from exchange.view import ViewSpec, compile_view

_MOST_TOLD: Final = 10
"""Problems of one proposal; each attempt's stand among the decisions."""
_LONGEST_SEEN: Final = 40
_NAME: Final[TypeAdapter[str]] = TypeAdapter(ViewName)
_WAS_GRANTED: Final = frozenset({State.GRANTED, State.RENEWED, State.EXPIRED, State.REVOKED})


def read_view(name: str, given: Mapping[str, Any]) -> ViewSpec:
    """Return a view that is written as topology.yaml writes one; `resource` and `label` may be left out.

    Raises: GovernanceError with every problem, each at its field.
    """
    _expect_name(name)
    last = name.rpartition(".")[2]
    left_out = {"resource": name.rpartition(".")[0], "label": {"zh": last, "en": last}}
    try:
        view = ViewSpec.model_validate(left_out | dict(given))
    except ValidationError as error:
        raise _refused(name, map(_told, error.errors())) from None
    if view.resource != left_out["resource"]:
        raise _refused(name, [f"resource: a view of {view.resource} is called '{view.resource}.{last}'"])
    return view


def expect_valid(topology: Topology, contracts: Mapping[str, Contract], name: str, view: ViewSpec) -> None:
    """Raise GovernanceError with every problem of a view that topology.yaml would be refused for."""
    if view.resource not in topology.resources:
        known = listing(sorted(topology.resources))
        raise _refused(name, [f"'{view.resource}' is not among the resources ({known})"])
    problems: list[str] = []
    try:
        compile_view(contracts[topology.contract_name(view.resource)], view, name.rpartition(".")[2])
    except ConfigError as error:
        problems += [line.partition(": ")[2] for line in str(error).splitlines()]
    looked = Given(topology.with_views({name: view}), {}, None, dt.date.min)
    problems += [one.message for one in check_topics(looked) if one.steps == ("views", name)]
    if problems:
        raise _refused(name, problems)


def expect_free(topology: Topology, name: str, view: ViewSpec, others: Iterable[Request]) -> None:
    """Raise GovernanceError when a name is or was that of a view with another content.

    topology: as it is declared; others: all requests but the one that proposes it.
    """
    if topology.views.get(name, view) != view:
        msg = (
            f"view {name} is declared in the topology, with another content; ask for that one, or propose "
            "this one under another name"
        )
        raise GovernanceError(msg)
    for other in others:
        if other.view == name and was_granted(other) and other.proposed not in (None, view):
            msg = (
                f"view {name} was granted by request {other.id} with another content or label, and a name "
                "keeps what it was granted for; propose this one under another name"
            )
            raise GovernanceError(msg)


def known_view(name: str, others: Iterable[Request]) -> ViewSpec | None:
    """Return what a name was granted for, by a request that proposed it; None where there is none."""
    found = (other.proposed for other in others if other.view == name and was_granted(other))
    return next((view for view in found if view is not None), None)


def was_granted(request: Request) -> bool:
    """Return whether a request is a grant, or was one."""
    return request.state in _WAS_GRANTED or (
        request.state == State.WITHDRAWN and len(request.approved_by) > 0
    )


def with_own_view(topology: Topology, request: Request) -> Topology:
    """Return a topology that has the view of a request, where the request proposes it and it can be there."""
    if request.proposed is None or request.proposed.resource not in topology.resources:
        return topology
    return topology.with_views({request.view: request.proposed})


def as_declared(view: ViewSpec) -> dict[str, Any]:
    """Return a view as topology.yaml would have it: without what is so by default, masks shortened."""
    document = view.model_dump(mode="json", exclude_defaults=True)
    document["fields"] = {
        path: mask["kind"] if len(mask) == 1 else mask for path, mask in document["fields"].items()
    }
    return document


def _expect_name(name: str) -> None:
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise GovernanceError(str(error.errors()[0]["ctx"]["error"])) from None


def _refused(name: str, problems: Iterable[str]) -> GovernanceError:
    return GovernanceError("\n".join(f"proposed view {name}: {told}" for told in _first(list(problems))))


def _first(problems: list[str]) -> Iterator[str]:
    yield from problems[:_MOST_TOLD]
    if len(problems) > _MOST_TOLD:
        yield f"… and {len(problems) - _MOST_TOLD} more"


def _told(error: ErrorDetails) -> str:
    place = ".".join(map(str, error["loc"])) or "view"
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown key (allowed: {', '.join(sorted(ViewSpec.model_fields))})"
    if error["type"] == "union_tag_invalid":
        seen, known = str(error["ctx"]["tag"])[:_LONGEST_SEEN], error["ctx"]["expected_tags"]
        return f"{place}: '{seen}' is not one of the masks ({known})"
    if error["type"] in ("union_tag_not_found", "model_attributes_type") and error["loc"][:1] == ("fields",):
        return (
            f"{place}: a mask is wanted, like `clear` or `{{kind: partial, keep_first: 1}}`, 'null' in quotes"
        )
    return f"{place}: {error['msg'][:1].lower()}{error['msg'][1:]}"
