"""Somebody who was made sure of, and what is theirs to see. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from exchange.errors import LoginError, NoRoleError, NotAllowedError
from exchange.governance.objection import Objection
from exchange.governance.proposal import with_own_view
from exchange.governance.request import Request
from exchange.model import Label
from exchange.plan import quarantine_topic, raw_topic, view_topic
from exchange.topology.model import Person, Role, Topology

Roles = Mapping[Role, tuple[str, ...]]
SEES_ALL: Final[frozenset[Role]] = frozenset({"authority", "operations", "auditor", "administrator"})
READS_DECISIONS: Final[frozenset[Role]] = frozenset({"authority", "auditor", "administrator"})
MACHINE: Final = "machine"
"""Name of the bus's own machine, which sees all and decides nothing; nobody of the people gets in by it."""


@dataclass(frozen=True, slots=True)
class Known:
    """Whose a session or token is. groups: as the identity provider told; roles: that a token is for."""

    name: str
    groups: tuple[str, ...] | None = None
    roles: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the roles in which."""

    name: str
    roles: Roles

    @property
    def sees_all(self) -> bool:
        """Whether everything is shown, whatever its department."""
        return not SEES_ALL.isdisjoint(self.roles)

    def departments(self, *roles: Role) -> frozenset[str]:
        """Return the departments that any of some roles holds for."""
        return frozenset(one for role in roles for one in self.roles.get(role, ()))


def roles_of(topology: Topology, name: str, groups: Iterable[str] | None) -> Roles:
    """Return the roles of a person, or of the groups that the provider tells where some are declared.

    groups: None where it was not the provider that told who it is.
    """
    if groups is None or not topology.groups:
        person = topology.people.get(name)
        return {} if person is None else dict(person.roles)
    found: dict[Role, tuple[str, ...]] = {}
    for group in groups:
        if group in topology.groups:
            for role, departments in topology.groups[group].roles.items():
                found[role] = tuple(sorted({*found.get(role, ()), *departments}))
    return found


def caller_of_token(topology: Topology, known: Known | None) -> Caller:
    """Return whose token it is, in the roles that it is for. Raises: LoginError when it is not valid."""
    if known is None:
        msg = "the token is not valid: expired, revoked, or mistyped; `exchange token new` makes another"
        raise LoginError(msg)
    return Caller(known.name, narrowed(roles_of(topology, known.name, None), known.roles or ()))


def narrowed(roles: Roles, to: Iterable[str]) -> Roles:
    """Return those of the roles that a token is for."""
    wanted = set(to)
    return {role: departments for role, departments in roles.items() if role in wanted}


def acting(topology: Topology, caller: Caller) -> Topology:
    """Return a topology in which the caller has the roles of this session or token, and no other."""
    known = topology.people.get(caller.name)
    label = known.label if known is not None else Label(zh=caller.name, en=caller.name)
    person = Person(label=label, roles=dict(caller.roles))
    return topology.model_copy(update={"people": {**topology.people, caller.name: person}})


def expect_same(caller: Caller, actor: str) -> None:
    """Raise NotAllowedError unless a command is carried out as the person whose token it has."""
    if caller.name != actor:
        msg = f"--as {actor}: the token in EXCHANGE_TOKEN is another person's; take it away, or change --as"
        raise NotAllowedError(msg)


def expect_roles(caller: Caller) -> None:
    """Raise NoRoleError when somebody is known and nothing of the topology is theirs."""
    if not any(caller.roles.values()):
        msg = f"'{caller.name}' has no role here; an administrator adds one to `people` or `groups`"
        raise NoRoleError(msg)


@dataclass(frozen=True, slots=True)
class Sight:
    """What somebody sees who does not see all."""

    departments: frozenset[str]
    """Those that receive data, and whose steward the caller is."""
    subscribers: frozenset[str]
    systems: frozenset[str]
    topics: frozenset[str]
    """Raw, quarantine and view topics of the caller's own resources."""
    view_topics: frozenset[str]
    """Those, and the view topics that the caller's subscribers hold."""

    def has_route(self, topic: str, view_topic: str) -> bool:
        """Return whether a route is shown."""
        return topic in self.topics or view_topic in self.view_topics


def sight(topology: Topology, caller: Caller) -> Sight:
    """Return what a steward sees of the departments' own, and a requester of what their subscribers get.

    topology: with the approved grants.
    """
    owned, receiving = caller.departments("steward"), caller.departments("requester")
    subscribers = {name for name, one in topology.subscribers.items() if one.department in receiving}
    resources = {name for name in topology.resources if topology.steward_department(name) in owned}
    views = {grant.view for grant in topology.grants if grant.subscriber in subscribers}
    own_views = {name for name, view in topology.views.items() if view.resource in resources}
    topics = {quarantine_topic(name) for name in resources}
    topics |= {
        raw_topic(one.system, one.table) for name, one in topology.resources.items() if name in resources
    }
    return Sight(
        departments=owned | receiving,
        subscribers=frozenset(subscribers),
        systems=frozenset(name for name, one in topology.systems.items() if one.department in owned),
        topics=frozenset(topics | {_topic(topology, name) for name in own_views}),
        view_topics=frozenset(_topic(topology, name) for name in own_views | (views & topology.views.keys())),
    )


def sees_request(topology: Topology, caller: Caller, request: Request) -> bool:
    """Return whether a request is shown: to who asks for it, and to who answers for its source."""
    with_it = with_own_view(topology, request)
    return request.requester == caller.name or _is_party(with_it, caller, request.subscriber, request.view)


def sees_objection(topology: Topology, caller: Caller, objection: Objection) -> bool:
    """Return whether an objection is shown: to its subscriber's side, and to who answers for its source."""
    return objection.filer == caller.name or _is_party(topology, caller, objection.subscriber, objection.view)


def _is_party(topology: Topology, caller: Caller, subscriber_name: str, view_name: str) -> bool:
    if caller.sees_all:
        return True
    subscriber, view = topology.subscribers.get(subscriber_name), topology.views.get(view_name)
    if subscriber is not None and subscriber.department in caller.departments("requester"):
        return True
    return view is not None and topology.steward_department(view.resource) in caller.departments("steward")


def _topic(topology: Topology, view: str) -> str:
    return view_topic(topology.views[view].resource, view.rpartition(".")[2])
