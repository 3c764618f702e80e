"""Who may do what with an entry of the catalogue, and what somebody may do now. No I/O."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from functools import partial
from typing import Final

from exchange.catalogue.elements import Claim
from exchange.catalogue.entry import ENDS, Content, Entry, Event, advance, step_of
from exchange.catalogue.sheet import Sheet
from exchange.errors import GovernanceError
from exchange.governance.authority import expect_held, passes
from exchange.governance.request import Who
from exchange.identity.caller import Caller
from exchange.topology.model import Topology

NEW: Final = "new"
_BY_PEOPLE: Final = tuple(event for event in Event if event != Event.NOTICE)


def expect_role(topology: Topology, actor: str, who: Who, resource: str) -> None:
    """Raise NotAllowedError unless a person holds a role for the department that owns a resource."""
    expect_held(topology, actor, who, topology.steward_department(resource))


def takes_part(topology: Topology, actor: str, resource: str) -> bool:
    """Return whether a person has any role in what is decided about a resource's entry."""
    return any(passes(partial(expect_role, topology, actor, who, resource)) for who in Who)


def expect_step(topology: Topology, actor: str, entry: Entry, event: Event) -> None:
    """Raise GovernanceError unless a person may do an event to an entry as it stands."""
    expect_role(topology, actor, step_of(entry, event).who, entry.resource)


def expect_new(topology: Topology, actor: str, sheet: Sheet) -> None:
    """Raise GovernanceError unless a person may draft an entry: there is none, or it is retired."""
    expect_role(topology, actor, Who.STEWARD, sheet.name)
    if sheet.entry is not None and sheet.entry.state not in ENDS:
        msg = f"{sheet.name} has an entry ({sheet.entry.state}); `exchange catalogue edit` changes it"
        raise GovernanceError(msg)


def expect_settles(topology: Topology, actor: str, claim: Claim) -> None:
    """Raise NotAllowedError unless a person is share authority of all that claim an element."""
    for name in claim.fields:
        expect_role(topology, actor, Who.AUTHORITY, name)


def acts(topology: Topology, actor: str, sheet: Sheet, now: dt.datetime) -> tuple[str, ...]:
    """Return `new` and the events that would not be refused; a reason counts as given well."""

    def judge(entry: Entry, event: Event) -> None:
        expect_step(topology, actor, entry, event)
        advance(entry, event, actor, now, reason="any", described=sheet.described_sha256)

    found = [NEW] if passes(lambda: expect_new(topology, actor, sheet)) else []
    if sheet.entry is not None:
        found += [event.value for event in _BY_PEOPLE if passes(partial(judge, sheet.entry, event))]
    return tuple(found)


def sees_draft(topology: Topology, caller: Caller, resource: str) -> bool:
    """Return whether somebody is shown what is not in force: the owner's stewards, and who sees all."""
    return caller.sees_all or topology.steward_department(resource) in caller.departments("steward")


def seen(sheet: Sheet, topology: Topology, caller: Caller) -> Sheet:
    """Return a resource as somebody is shown it: others' entries are as they are in force."""
    if sheet.entry is None or sees_draft(topology, caller, sheet.name):
        return sheet
    hidden = {"content": sheet.entry.published or Content(), "editors": (), "reason": ""}
    return replace(sheet, entry=sheet.entry.model_copy(update=hidden))
