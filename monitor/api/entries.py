"""Entries of the catalogue over HTTP: the same desk, and the same authorisation, as the commands'."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query, Request, Response

from exchange.catalogue import check
from exchange.catalogue.authority import acts, expect_settles, seen, sees_draft
from exchange.catalogue.desk import CatalogueDesk
from exchange.catalogue.entry import Content, Event, State
from exchange.catalogue.registered import registered_version
from exchange.catalogue.search import search
from exchange.catalogue.sheet import Sheet, fields_of
from exchange.errors import ExchangeError
from exchange.governance.authority import passes
from exchange.governance.store import done_about
from exchange.identity.caller import Caller, acting
from exchange.model import Label
from monitor.api.described import history
from monitor.api.entry_models import (
    ClaimOfEntry,
    Entries,
    EntriesParams,
    EntryAct,
    EntryDetail,
    EntryDone,
    EntrySummary,
    FieldOfEntry,
    Happened,
    Settled,
    Word,
)
from monitor.api.gate import caller_of
from monitor.api.models import Problem
from monitor.api.problem import Refused
from monitor.api.requests import OnlineDesk
from monitor.api.versions import IfMatch, tag, version_of
from monitor.api.waiting import first_due_first, page
from monitor.identity import now

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    code: {"model": Problem} for code in (401, 403, 404, 409, 412)
}
_MENDING: Final = frozenset({State.DRAFT, State.RETURNED})

Name = Annotated[str, Path(min_length=1, max_length=249, description="<domain>.<resource>")]


class EntriesOnline:
    """The catalogue as one caller sees it, by the topology as it is now."""

    def __init__(self, online: OnlineDesk, caller: Caller) -> None:
        """Open it. Raises: ConfigError when the topology's files are wrong."""
        self._online = online
        self._caller = caller
        self._store = online.identity.store()
        topology, contracts = online.identity.declared.current()
        self._topology = acting(topology, caller)
        self._desk = CatalogueDesk(self._store, self._topology, contracts)

    def page(self, given: EntriesParams) -> Entries:
        """Return a page of what is asked for: by name, or what waits by its day."""
        found = search(self._all(), given.words)
        if given.state:
            found = [one for one in found if one.entry is not None and one.entry.state in given.state]
        if given.waiting:
            waiting = self._waiting(found)
            return Entries(total=len(waiting), entries=page(waiting, given))
        return Entries(total=len(found), entries=tuple(self._summary(one) for one in page(found, given)))

    def waiting(self) -> list[EntrySummary]:
        """Return what waits for the caller, first due first."""
        return self._waiting(self._all())

    def detail(self, resource: str) -> EntryDetail:
        """Return one entry. Raises: Refused where no such resource is declared."""
        sheet = seen(self._sheet(resource), self._topology, self._caller)
        entry, declared = sheet.entry, sheet.declared()
        in_force = None if entry is None else entry.published
        sees = sees_draft(self._topology, self._caller, resource)
        draft = entry.content if entry is not None and sees and entry.content != in_force else None
        return EntryDetail(
            **self._summary(sheet).model_dump(),
            **{name: declared[name] for name in ("share", "update_cycle", "contract", "contract_sha256")},
            contract_version=sheet.contract.version,
            grade=int(declared["grade"]),
            since=None if entry is None else entry.since,
            reason="" if entry is None else entry.reason,
            in_force=in_force,
            draft=draft,
            publications=() if entry is None else entry.publications,
            fields=tuple(_field(one) for one in fields_of(sheet)),
            claims=self._claims(resource),
            history=self._history(resource) if sees else (),
        )

    def act(self, resource: str, act: Word, version: int, given: EntryAct) -> EntryDone:
        """Do something to an entry. Raises: GovernanceError when it is refused, which is written down too."""
        actor, notes, registered = self._caller.name, list[str](), None
        if act == "publish":
            registered, notes = self._registered(resource)

        def do() -> None:
            if act == "new":
                self._desk.new(actor, resource, Content(**given.changes()), now())
                return
            changes = given.changes() if act == "edit" else {}
            self._desk.act(
                actor, resource, Event(act), version, now(),
                reason=given.reason, changes=changes, registry_version=registered,
            )  # fmt: skip

        return self._carried_out(resource, do, notes)

    def settle(self, resource: str, given: Settled) -> EntryDone:
        """Name a resource the source of an element. Raises: as `act`."""

        def do() -> None:
            actor = self._caller.name
            self._desk.settle(actor, given.library, given.element, resource, given.reason, now())

        return self._carried_out(resource, do, [])

    def _all(self) -> list[Sheet]:
        return [seen(one, self._topology, self._caller) for one in self._desk.shelf()]

    def _waiting(self, sheets: Iterable[Sheet]) -> list[EntrySummary]:
        found = (one for one in map(self._summary, sheets) if _waits(one))
        return first_due_first(found, lambda one: one.resource)

    def _carried_out(self, resource: str, do: Callable[[], None], notes: list[str]) -> EntryDone:
        with self._online.relayed():
            do()
        return EntryDone(**self.detail(resource).model_dump(), notes=tuple(notes))

    def _registered(self, resource: str) -> tuple[int | None, list[str]]:
        try:
            return registered_version(self._online.identity.settings, self._sheet(resource)), []
        except ExchangeError as error:
            return None, [f"the entry names no version of the registry: {error}"]

    def _sheet(self, resource: str) -> Sheet:
        found = next((one for one in self._desk.shelf() if one.name == resource), None)
        if found is None:
            raise Refused(404, "no resource of that name is declared; /api/catalogue has those that are")
        return found

    def _summary(self, sheet: Sheet) -> EntrySummary:
        entry, declared, rules = sheet.entry, sheet.declared(), self._topology.governance
        due = check.deadline(sheet, rules)
        content = Content() if entry is None else entry.told
        may = acts(self._topology, self._caller.name, sheet, now())
        return EntrySummary(
            resource=sheet.name,
            **{name: declared[name] for name in ("code", "department", "system", "table")},
            name=Label(zh=declared["name_zh"], en=declared["name_en"]),
            library_kind=content.library_kind,
            library=content.library,
            state=None if entry is None else entry.state,
            version=0 if entry is None else entry.version,
            due=None if due is None else due.day.isoformat(),
            due_is_estimated=due is not None and due.is_estimated,
            notice=check.notice(sheet, now(), rules),
            acts=may,
        )

    def _claims(self, resource: str) -> tuple[ClaimOfEntry, ...]:
        actor = self._caller.name
        return tuple(
            ClaimOfEntry(
                library=one.library,
                element=one.element,
                fields=one.fields,
                source=one.source,
                may_settle=passes(lambda one=one: expect_settles(self._topology, actor, one)),  # type: ignore[misc]
            )
            for one in self._desk.claims()
            if resource in one.fields
        )

    def _history(self, resource: str) -> tuple[Happened, ...]:
        with self._store.beside() as connection:
            return history(Happened, done_about(connection, f"entry {resource}"))


def add(app: FastAPI, online: OnlineDesk) -> None:
    """Serve the catalogue's entries."""

    @app.get("/api/catalogue", tags=["catalogue"], responses=_ERRORS)
    def entries(given: Annotated[EntriesParams, Query()], asked: Request) -> Entries:
        """Search the catalogue: all resources that are declared, with the state of their entries."""
        return EntriesOnline(online, caller_of(asked)).page(given)

    @app.get("/api/catalogue/{resource}", tags=["catalogue"], responses=_ERRORS)
    def entry(resource: Name, asked: Request, response: Response) -> EntryDetail:
        """Show one entry, with the version that a decision on it names."""
        found = EntriesOnline(online, caller_of(asked)).detail(resource)
        tag(response, found.version)
        return found

    @app.post("/api/catalogue/{resource}/settle", tags=["catalogue"], responses=_ERRORS)
    def settle(resource: Name, given: Settled, asked: Request) -> EntryDone:
        """Name the resource the one source of an element that several claim; the last naming holds."""
        return EntriesOnline(online, caller_of(asked)).settle(resource, given)

    @app.post("/api/catalogue/{resource}/{act}", tags=["catalogue"], responses=_ERRORS)
    def do(
        resource: Name,
        act: Word,
        asked: Request,
        response: Response,
        given: EntryAct | None = None,
        if_match: IfMatch = None,
    ) -> EntryDone:
        """Do something to the version of an entry that was shown: If-Match or `version`; new has none."""
        given = given or EntryAct()
        version = version_of(given.version, if_match, is_needed=act != "new")
        done = EntriesOnline(online, caller_of(asked)).act(resource, act, version, given)
        tag(response, done.version)
        return done


def _field(one: dict[str, Any]) -> FieldOfEntry:
    label = Label(zh=one["label_zh"], en=one["label_en"])
    return FieldOfEntry(label=label, **{name: one[name] for name in one if not name.startswith("label_")})


def _waits(one: EntrySummary) -> bool:
    """Return whether an entry waits for whom it was described for: to decide, to mend, to publish anew."""
    if "publish" in one.acts or "return" in one.acts or "new" in one.acts:
        return True
    return "edit" in one.acts and (one.state in _MENDING or one.due is not None)
