"""What people do with the catalogue: each attempt judged, stored and noted in one transaction.

Commands, and every other way in, come through here; who somebody is they have made sure of before.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from exchange.catalogue.authority import expect_new, expect_role, expect_settles, expect_step, takes_part
from exchange.catalogue.elements import Claim, Naming, claims
from exchange.catalogue.entry import (
    ENDS,
    Content,
    Entry,
    Event,
    Publication,
    advance,
    differs,
)
from exchange.catalogue.exchanged import Judged, Row, judge
from exchange.catalogue.sheet import Sheet, sheets
from exchange.contract import Contract
from exchange.errors import GovernanceError
from exchange.governance import authority
from exchange.governance.noting import BUS, LONGEST_NAME, attempt, noted
from exchange.governance.request import Who
from exchange.governance.store import Change, Decision, Store
from exchange.governance.versioned import Versioned, judge_version
from exchange.topology.model import Topology

_ENTRIES: Final = Versioned("catalogue", Entry, "entry")
_NAMINGS: Final = Versioned("namings", Naming, "naming")


class CatalogueDesk:
    """Takes entries in, and what is decided on them."""

    def __init__(self, store: Store, topology: Topology, contracts: Mapping[str, Contract]) -> None:
        self._store = store
        self._topology = topology
        self._contracts = contracts

    def shelf(self) -> list[Sheet]:
        """Return all resources with their entries, by name."""
        with self._store.change() as change:
            return self._shelf(change)

    def claims(self) -> list[Claim]:
        """Return the elements that several published resources claim."""
        with self._store.change() as change:
            return claims(self._shelf(change), _NAMINGS.all(change))

    def new(self, actor: str, resource: str, content: Content, now: dt.datetime) -> Entry:
        """Store a draft. Raises: GovernanceError when the actor may not, or there is an entry."""

        def do(change: Change) -> Entry:
            authority.expect_known(self._topology, resource=resource)
            expect_new(self._topology, actor, self._sheet(change, resource))
            return _ENTRIES.add(change, _draft(resource, content, now, actor))

        return noted(self._store, _tried(actor, "new", resource, 1, now), do, _done)

    def act(
        self,
        actor: str,
        resource: str,
        event: Event,
        version: int,
        now: dt.datetime,
        *,
        reason: str = "",
        changes: Mapping[str, Any] | None = None,
        registry_version: int | None = None,
    ) -> Entry:
        """Do something to the version of an entry that was shown; return the next one.

        changes: what an EDIT writes; registry_version: of the values' schema, where a PUBLISH knows it.

        Raises: StaleError when another version is there; GovernanceError when it is refused otherwise. The
        attempt is noted with the reason.
        """

        def do(change: Change) -> Entry:
            authority.expect_person(self._topology, actor)
            authority.expect_known(self._topology, resource=resource)
            sheet = self._sheet(change, resource)
            entry = _entry_of(sheet)
            judge_version(
                lambda: expect_step(self._topology, actor, entry, event),
                entry.version,
                version,
                takes_part=takes_part(self._topology, actor, resource),
                what=f"entry {resource}",
                command=f"catalogue show {resource}",
            )
            after = advance(
                entry,
                event,
                actor,
                now,
                reason=reason,
                content=_edited(entry, changes or {}),
                described=sheet.described_sha256,
                publication=_publication(sheet, actor, now, registry_version),
            )
            _ENTRIES.replace(change, after)
            return after

        return noted(self._store, _tried(actor, event, resource, version, now, reason), do, _done)

    def settle(
        self, actor: str, library: str, element: str, resource: str, reason: str, now: dt.datetime
    ) -> Naming:
        """Name the source of an element that several resources claim.

        Raises: GovernanceError unless the actor is share authority of all that claim it, and gives a reason.
        """

        def do(change: Change) -> Naming:
            authority.expect_person(self._topology, actor)
            found = claims(self._shelf(change), _NAMINGS.all(change))
            claim = next((one for one in found if (one.library, one.element) == (library, element)), None)
            if claim is None or resource not in claim.fields:
                msg = f"{library}/{element} is not claimed by several resources with {resource} among them"
                raise GovernanceError(msg)
            expect_settles(self._topology, actor, claim)
            if not reason.strip():
                msg = f"{library}/{element}: naming a source needs a reason, which the others read"
                raise GovernanceError(msg)
            naming = Naming(
                library=library, element=element, resource=resource, by=actor, at=now, reason=reason.strip()
            )
            return _NAMINGS.add(change, naming)

        return noted(self._store, _tried(actor, "settle", resource, 1, now, reason), do, _done)

    def sweep(self, now: dt.datetime) -> list[Entry]:
        """Draft what is missing and note what was changed since it was published; return what was written."""
        written = []
        with self._store.change() as change:
            for sheet in self._shelf(change):
                after = self._swept(change, sheet, now)
                if after is not None:
                    tried = _tried(BUS, Event.NOTICE, sheet.name, after.version - 1, now)
                    change.note(_done(tried, after))
                    written.append(after)
        return written

    def take_in(
        self, actor: str, rows: list[Row], now: dt.datetime, *, dry_run: bool = False
    ) -> list[Judged]:
        """Write what rows of an import say, all or, where one is refused, none; return what each does.

        A dry run writes nothing. What was refused has `refused` set; the attempt is noted.
        """
        judged: list[Judged] = []

        def do(change: Change) -> None:
            authority.expect_person(self._topology, actor)
            shelf = {sheet.name: sheet for sheet in self._shelf(change)}
            judged.extend(
                judge(rows, shelf, lambda name: expect_role(self._topology, actor, Who.STEWARD, name))
            )
            if bad := sum(bool(one.refused) for one in judged):
                msg = f"{bad} of {len(judged)} rows are refused; nothing was taken in"
                raise GovernanceError(msg)
            if not dry_run:
                for one in judged:
                    self._take(change, shelf[one.row.resource], one.content, actor, now)

        try:
            noted(self._store, _tried(actor, "import", "", 1, now), do, _done, silent=dry_run)
        except GovernanceError:
            if not judged:
                raise
        return judged

    def _take(self, change: Change, sheet: Sheet, content: Content, actor: str, now: dt.datetime) -> None:
        entry = sheet.entry
        if entry is None or entry.state in ENDS:
            after = _ENTRIES.add(change, _draft(sheet.name, content, now, actor))
        elif entry.content == content:
            return
        else:
            after = advance(entry, Event.EDIT, actor, now, content=content)
            _ENTRIES.replace(change, after)
        tried = _tried(actor, Event.EDIT, sheet.name, after.version - 1, now)
        change.note(_done(tried, after))

    def _swept(self, change: Change, sheet: Sheet, now: dt.datetime) -> Entry | None:
        entry = sheet.entry
        if entry is None:
            return _ENTRIES.add(change, _draft(sheet.name, Content(), now))
        if entry.state in ENDS or differs(entry, sheet.described_sha256) == (entry.changed_at is not None):
            return None
        after = advance(entry, Event.NOTICE, BUS, now, described=sheet.described_sha256)
        _ENTRIES.replace(change, after)
        return after

    def _shelf(self, change: Change) -> list[Sheet]:
        return sheets(self._topology, self._contracts, _ENTRIES.all(change))

    def _sheet(self, change: Change, resource: str) -> Sheet:
        return next(sheet for sheet in self._shelf(change) if sheet.name == resource)


def _entry_of(sheet: Sheet) -> Entry:
    if sheet.entry is None:
        msg = f"{sheet.name} has no entry; `exchange catalogue new {sheet.name}` drafts one"
        raise GovernanceError(msg)
    return sheet.entry


def _draft(resource: str, content: Content, now: dt.datetime, actor: str = "") -> Entry:
    """Return a new entry; its time runs from now on."""
    editors = (actor,) if actor else ()
    return Entry(resource=resource, content=content, editors=editors, since=now, changed_at=now)


def _edited(entry: Entry, changes: Mapping[str, Any]) -> Content:
    return Content.model_validate(entry.content.model_dump() | dict(changes))


def _publication(sheet: Sheet, actor: str, now: dt.datetime, registry_version: int | None) -> Publication:
    return Publication(
        at=now,
        by=actor,
        contract_version=sheet.contract.version,
        contract_sha256=sheet.contract_sha256,
        registry_version=registry_version,
    )


def _tried(
    actor: str, event: str, resource: str, version: int, now: dt.datetime, reason: str = ""
) -> Decision:
    about = f"entry {resource[: 2 * LONGEST_NAME]}".strip()
    return attempt(actor, event, version, now, about=about, reason=reason)


def _done(tried: Decision, after: object) -> Decision:
    state = after.state.value if isinstance(after, Entry) else ""
    about = f"element {after.library}/{after.element}" if isinstance(after, Naming) else tried.about
    named = f"{after.resource}: " if isinstance(after, Naming) else ""
    return tried.model_copy(
        update={"outcome": "done", "state": state, "about": about, "reason": named + tried.reason}
    )
