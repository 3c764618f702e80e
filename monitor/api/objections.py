"""Objections over HTTP: the same desk, and the same authorisation, as the commands'.

Claim and answer may quote values: they are in the answer to one objection alone, for who filed it and the
source's steward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query, Request, Response

from exchange.errors import GovernanceError
from exchange.governance import objection
from exchange.governance.desired import merged
from exchange.governance.objecting import correcting_change, objected_change
from exchange.governance.objection import Event, Objection, Place
from exchange.governance.objection_desk import Objected, ObjectionDesk
from exchange.governance.possible import objection_acts
from exchange.governance.request import State as RequestState
from exchange.governance.store import done_about
from exchange.identity.caller import Caller, acting, sees_objection
from exchange.topology.file import today
from exchange.topology.model import Topology
from monitor.api.described import history
from monitor.api.gate import caller_of
from monitor.api.models import Problem
from monitor.api.objection_models import (
    Act,
    Detail,
    Filed,
    Happened,
    ObjectChoice,
    ObjectChoices,
    ObjectChoicesParams,
    Objections,
    ObjectionsParams,
    ShownObjection,
    Texts,
)
from monitor.api.problem import Refused
from monitor.api.requests import OnlineDesk
from monitor.api.versions import IfMatch, tag, version_of
from monitor.api.waiting import first_due_first, page
from monitor.identity import now

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    code: {"model": Problem} for code in (401, 403, 404, 409, 412)
}
_WAITING: Final = frozenset({Event.ANSWER, Event.REJECT, Event.CORRECT})

Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="Number of the objection.")]


class ObjectionsOnline:
    """The desk of objections by way of the API."""

    def __init__(self, online: OnlineDesk) -> None:
        self._identity = online.identity
        self._online = online

    def topology(self) -> Topology:
        """Return the topology as its files are now, with the grants that were approved.

        Raises: ConfigError when the files are wrong.
        """
        topology, _ = self._identity.declared.current()
        with self._identity.store().change() as change:
            return merged(topology, change.requests([RequestState.GRANTED]))

    def all(self, caller: Caller) -> list[Objection]:
        """Return the objections that the caller may see, newest first."""
        topology = self._identity.declared.known()
        found = ObjectionDesk(self._identity.store(), topology, today()).all()
        return [one for one in reversed(found) if sees_objection(topology, caller, one)]

    def one(self, caller: Caller, id_: int) -> Objection:
        """Return an objection. Raises: Refused unless there is one that the caller may see."""
        found = next((one for one in self.all(caller) if one.id == id_), None)
        if found is None:
            raise Refused(404, f"there is no objection {id_}, or it is not yours to see")
        return found

    def described(self, caller: Caller, one: Objection) -> ShownObjection:
        """Return an objection as it is shown to a caller in a list."""
        topology = acting(self._identity.declared.known(), caller)
        due = objection.deadline(one, topology.governance)
        view = topology.views.get(one.view)
        shown = {name: getattr(one, name) for name in ShownObjection.model_fields if hasattr(one, name)}
        return ShownObjection(
            **shown,
            position=one.change.position,
            department="" if view is None else topology.steward_department(view.resource),
            due=None if due is None else due.day.isoformat(),
            due_is_estimated=due is not None and due.is_estimated,
            notice=objection.notice(one, now(), topology.governance),
            acts=objection_acts(topology, caller.name, one, now()),
        )

    def waiting(self, caller: Caller, objections: Iterable[Objection]) -> list[ShownObjection]:
        """Return those of some objections that wait for a caller's answer, first due first."""
        shown = (self.described(caller, one) for one in objections)
        found = (one for one in shown if not _WAITING.isdisjoint(one.acts))
        return first_due_first(found, lambda one: one.id)

    def detail(self, caller: Caller, one: Objection) -> Detail:
        """Return an objection with its history, and its texts where they are the caller's to read."""
        store = self._identity.store()
        with store.beside() as connection:
            done = done_about(connection, f"objection {one.id}")
        desk = ObjectionDesk(store, acting(self._identity.declared.known(), caller), today())
        return Detail(
            **self.described(caller, one).model_dump(),
            raw_offset=one.change.offset,
            texts=_texts(desk, caller, one),
            history=history(Happened, done),
        )

    def file(self, caller: Caller, about: Objected) -> Objection:
        """Store an objection. Raises: GovernanceError, as the desk refuses; PartError, as Kafka does."""
        topology = self.topology()

        def find() -> Place:
            return objected_change(self._identity.settings, topology, about)

        return self._carried_out(topology, caller, lambda desk: desk.new(caller.name, about, find, now()))

    def act(self, caller: Caller, id_: int, event: Event, version: int, given: Act) -> Objection:
        """Do something to an objection. Raises: as `file`."""
        topology = self.topology()

        def find(one: Objection) -> Place:
            return correcting_change(self._identity.settings, topology, one, given.position)

        is_corrected = event == Event.CORRECT
        text, look = ("", find) if is_corrected else (given.text, None)
        return self._carried_out(
            topology,
            caller,
            lambda desk: desk.act(caller.name, id_, event, version, now(), answer=text, find=look),
        )

    def choices(self, caller: Caller, given: ObjectChoicesParams) -> ObjectChoices:
        """Return the views that the caller's subscribers are granted today."""
        topology, own = self.topology(), caller.departments("requester")
        found = [
            _choice(topology, name, view)
            for name, subscriber in sorted(topology.subscribers.items())
            if subscriber.department in own
            for view in sorted(topology.granted_views(name, today()))
        ]
        found = [one for one in found if _is_meant(one, given.text)]
        return ObjectChoices(choices=page(found, given), total=len(found))

    def _carried_out(
        self, topology: Topology, caller: Caller, do: Callable[[ObjectionDesk], Objection]
    ) -> Objection:
        """Do something at the desk; a correction's marker comes into Kafka with the decision."""
        with self._online.relayed():
            return do(ObjectionDesk(self._identity.store(), acting(topology, caller), today()))


def add(app: FastAPI, online: OnlineDesk) -> None:
    """Serve objections."""
    desk = ObjectionsOnline(online)
    _add_reading(app, desk)
    _add_doing(app, desk)


def _add_reading(app: FastAPI, desk: ObjectionsOnline) -> None:
    @app.get("/api/objections", tags=["objections"], responses=_ERRORS)
    def objections(given: Annotated[ObjectionsParams, Query()], asked: Request) -> Objections:
        """List objections, newest first: a requester's own departments', a steward's sources'."""
        caller = caller_of(asked)
        found = [one for one in desk.all(caller) if given.takes(one)]
        if given.waiting:
            waiting = desk.waiting(caller, found)
            return Objections(total=len(waiting), objections=page(waiting, given))
        shown = tuple(desk.described(caller, one) for one in page(found, given))
        return Objections(total=len(found), objections=shown)

    @app.get("/api/objections/choices", tags=["objections"], responses=_ERRORS)
    def choices(given: Annotated[ObjectChoicesParams, Query()], asked: Request) -> ObjectChoices:
        """Show what the caller may object to."""
        return desk.choices(caller_of(asked), given)

    @app.get("/api/objections/{id}", tags=["objections"], responses=_ERRORS)
    def one(id: Number, asked: Request, response: Response) -> Detail:
        """Show one objection, with the version that a decision on it names."""
        caller = caller_of(asked)
        found = desk.one(caller, id)
        tag(response, found.version)
        return desk.detail(caller, found)


def _add_doing(app: FastAPI, desk: ObjectionsOnline) -> None:
    @app.post("/api/objections", tags=["objections"], status_code=201, responses=_ERRORS)
    def file(given: Filed, asked: Request) -> Detail:
        """Object to fields of a record; it is read as the subscriber, who must be granted its view."""
        caller, about = caller_of(asked), Objected(**given.model_dump())
        return desk.detail(caller, desk.file(caller, about))

    @app.post("/api/objections/{id}/{act}", tags=["objections"], responses=_ERRORS)
    def do(
        id: Number,
        act: Event,
        asked: Request,
        response: Response,
        given: Act | None = None,
        if_match: IfMatch = None,
    ) -> Detail:
        """Do something to the version of an objection that was shown: If-Match or `version`."""
        caller, given = caller_of(asked), given or Act()
        version = version_of(given.version, if_match)
        after = desk.act(caller, id, act, version, given)
        tag(response, after.version)
        return desk.detail(caller, after)


def _texts(desk: ObjectionDesk, caller: Caller, one: Objection) -> Texts | None:
    try:
        desk.expect_may_read(caller.name, one)
    except GovernanceError:
        return None
    return Texts(claim=one.claim, answer=one.answer)


def _choice(topology: Topology, subscriber: str, name: str) -> ObjectChoice:
    view = topology.views[name]
    return ObjectChoice(subscriber=subscriber, view=name, label=view.label, fields=tuple(view.fields))


def _is_meant(one: ObjectChoice, text: str) -> bool:
    return any(text.casefold() in each.casefold() for each in (one.view, one.label.zh, one.label.en))
