"""`/api/connectors`: how far each source is captured; pauses and snapshots, ordered and followed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

from fastapi import FastAPI, Path, Query, Request
from pydantic import Field, JsonValue

from exchange import pause_desk, resnapshot_desk, snapshot_desk
from exchange.alerting.alert import Alert
from exchange.governance.authority import expect_operator, passes
from exchange.governance.desired import merged
from exchange.governance.request import State
from exchange.identity.caller import Caller, acting
from exchange.model import Label, Model
from exchange.pauses import LONGEST_REASON, Meanwhile, is_obeyed, meanwhile
from exchange.plan import PlannedSystem, PublishedPlan
from exchange.position import SourcePosition, writer_id
from exchange.resnapshots import ONE_TABLE, READ_ANEW, HowFar, Resnapshot, how_far
from exchange.snapshot_desk import Act, Asked
from exchange.snapshots import SNAPSHOTTED_KIND
from exchange.topology.file import today
from monitor.api.gate import caller_if_any, person_of
from monitor.api.models import Problem
from monitor.api.problem import Refused
from monitor.identity import Identity, now
from monitor.snapshots import Board, Progress

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {code: {"model": Problem} for code in (401, 403, 404, 409)}
_LONGEST_NAME: Final = 200
_MOST_ALERTS: Final = 1000

Name = Annotated[str, Field(max_length=_LONGEST_NAME)]
System = Annotated[str, Path(min_length=1, max_length=63)]
Heartbeats = Callable[[], tuple[dict[str, JsonValue], ...]]
LastAlerts = Callable[[int], Iterable[Alert]]
"""So many of the newest alerts, newest first."""


class ConnectorsParams(Model):
    """Query parameters of /api/connectors."""

    limit: int = Field(default=50, ge=1, le=200)
    offset: int = Field(default=0, ge=0, le=2**31 - 1)


class Table(Model):
    """A table that is captured."""

    table: str
    resource: str
    views: tuple[str, ...] = Field(description="Last names of the resource's views.")


class FirstSnapshot(Model):
    """The snapshot that comes before a source's stream, while it is under way."""

    table: str = Field(description="Under way; empty before the first.")
    rows: int = Field(description="Read so far, over all tables.")


class Snapshot(Model):
    """A snapshot of one table beside the stream: what was ordered, and what has become of it."""

    system: str
    operation: str
    table: str
    view: str = Field(description="The one that it is for; empty: for all.")
    state: str = Field(description="ordered, running, paused, or how it ended: complete, stopped, failed.")
    wish: str = Field(description="What is wanted of it: run, pause, stop.")
    reason: str = Field(description="Why it failed, or what it waits for.")
    rows: int = Field(description="Sent.")
    passed: int = Field(description="Read, but the stream had told of something newer.")
    estimated_rows: int = Field(description="Of the table; 0: unknown.")
    chunks: int
    rows_per_s: int
    is_at_work: bool = Field(description="Whether its connector runs.")


class Paused(Model):
    """A connector's pause that is wanted, or is not over yet."""

    operation: str
    wish: str = Field(description="What is wanted of the connector: pause or run.")
    by: str
    since_ms: int = Field(description="When it was ordered.")
    reason: str
    is_obeyed: bool = Field(description="Whether the connector's heartbeat says that it does what is wanted.")


class PauseOrder(Model):
    """Why a connector is paused or resumed."""

    reason: Annotated[str, Field(max_length=LONGEST_REASON, pattern=r"^[^\x00]*$")] = Field(
        default="", description="Wanted of pause; others read it while it is paused."
    )


class ReadAnew(Model):
    """The last order to read a source, or one table of it, anew."""

    operation: str
    table: str = Field(description="Empty: all.")
    by: str
    at_ms: int
    state: HowFar = Field(description="Its connector begins it when it is at work.")


class AnewOrder(Model):
    """What is to be read anew."""

    table: Name = Field(default="", description="<schema>.<table>; empty: all.")
    dry_run: bool = Field(description="Say what would happen; order nothing.")


class Emptied(Model):
    """A table that is read anew, and the views that are emptied and filled for it."""

    table: str
    views: tuple[str, ...]
    estimated_rows: int | None = Field(description="Null where its source does not say.")


class Anew(Model):
    """What an order would do, of a dry run; else what was ordered."""

    tables: tuple[Emptied, ...] = ()
    subscribers: tuple[str, ...] = Field(default=(), description="Who sees those views emptied and filled.")
    ordered: ReadAnew | None = None


class LastError(Model):
    """The newest alert about a connector."""

    alert: int
    since_ms: int
    resolved_at_ms: int | None
    what: Label
    action: Label


class Connector(Model):
    """One source's connector; its heartbeat is in /api/overview, under `writer`."""

    system: str
    kind: str
    writer: str
    tables: tuple[Table, ...]
    takes_snapshots: bool = Field(description="Whether its tables can be read again beside the stream.")
    may_order: bool = Field(description="Whether the caller may order that, and pauses.")
    pause: Paused | None = Field(description="Null while it runs, and is wanted to.")
    reads_anew: Literal["no", "all", "each"] = Field(description="Not, all tables together, or each alone.")
    anew: ReadAnew | None = Field(description="Null where there never was an order.")
    meanwhile: Meanwhile = Field(description="Who keeps what changes in a pause.")
    protect_wal_bytes: int = Field(description="Log that its server may keep for it; 0: no such limit.")
    first_snapshot: FirstSnapshot | None
    snapshot: Snapshot | None
    last_error: LastError | None = Field(description="Null where there was none for 90 days.")
    problem: str = Field(description="Why its progress is not known; else empty.")


class Connectors(Model):
    """A page of connectors by name."""

    connectors: tuple[Connector, ...]
    total: int
    next_offset: int | None


class Order(Model):
    """What is ordered."""

    table: Name = Field(default="", description="<schema>.<table>, of start.")
    view: Name = Field(default="", description="Last name of the one view it is for, of start; empty: all.")
    rows_per_s: int | None = Field(
        default=None, ge=0, le=10_000_000, description="At most, of start and resume; 0: no limit."
    )


class Ordered(Model):
    """The operation as it is wanted now; /api/connectors tells what becomes of it."""

    system: str
    operation: str
    table: str
    view: str
    wish: str


def add(
    app: FastAPI,
    identity: Identity,
    plan: Callable[[], PublishedPlan | None],
    heartbeats: Heartbeats,
    last_alerts: LastAlerts,
    board: Board,
) -> None:
    """Show connectors to those whose they are, and let them order snapshots."""

    @app.get("/api/connectors", tags=["connectors"], responses=_ERRORS)
    def connectors(given: Annotated[ConnectorsParams, Query()], asked: Request) -> Connectors:
        """Show each source's connector; a page at a time."""
        caller = caller_if_any(asked)
        seen, newest = identity.sight(caller), plan()
        systems = () if newest is None else newest.systems
        beats = heartbeats()
        own = sorted((one for one in systems if seen is None or one.name in seen.systems), key=_name)
        end = given.offset + given.limit
        page = own[given.offset : end]
        progress = board.look([one.name for one in page], beats) if page else {}
        by_writer = {str(beat["writer"]): beat for beat in beats}
        errors = _errors(last_alerts(_MOST_ALERTS))
        return Connectors(
            connectors=tuple(
                _connector(
                    newest,
                    one,
                    progress[one.name],
                    by_writer.get(writer_id(one.name), {}),
                    errors.get(one.name),
                    _may(identity, caller, one.name),
                )
                for one in page
                if newest is not None
            ),
            total=len(own),
            next_offset=end if end < len(own) else None,
        )

    @app.post("/api/connectors/{system}/snapshot/{act}", tags=["connectors"], responses=_ERRORS)
    def order(system: System, act: Act, given: Order, asked: Request) -> Ordered:
        """Start, pause, resume or stop a snapshot beside the stream; the decisions say who did."""
        caller = person_of(asked)
        if (act == "start") != bool(given.table):
            raise Refused(400, "a table is wanted of `start`, and of nothing else")
        wanted = Asked(system, act, given.table, given.view, given.rows_per_s)
        topology = acting(identity.declared.current()[0], caller)
        done = snapshot_desk.order(identity.settings, identity.store(), topology, caller.name, wanted, now())
        return Ordered(
            system=system, operation=done.operation, table=done.table, view=done.view, wish=done.wish.value
        )

    _add_reading_anew(app, identity)

    @app.post("/api/connectors/{system}/{act}", tags=["connectors"], responses=_ERRORS)
    def pause(system: System, act: pause_desk.Act, given: PauseOrder, asked: Request) -> Paused:
        """Pause a connector, or have it go on where it stopped; the decisions say who did, and why."""
        caller = person_of(asked)
        topology = acting(identity.declared.current()[0], caller)
        wanted = pause_desk.Asked(system, act, given.reason)
        done = pause_desk.order(identity.settings, identity.store(), topology, caller.name, wanted, now())
        return Paused(**done.model_dump(mode="json"), is_obeyed=False)


def _add_reading_anew(app: FastAPI, identity: Identity) -> None:
    @app.post("/api/connectors/{system}/resnapshot", tags=["connectors"], responses=_ERRORS)
    def read_anew(system: System, given: AnewOrder, asked: Request) -> Anew:
        """Empty the views of a source, or of one table, and fill them anew; or say what that would do."""
        caller = person_of(asked)
        settings, store = identity.settings, identity.store()
        with store.change() as change:
            declared = merged(identity.declared.current()[0], change.requests([State.GRANTED]))
        topology = acting(declared, caller)
        if given.dry_run:
            found = resnapshot_desk.estimate(settings, topology, caller.name, system, given.table, today())
            tables = tuple(Emptied(**asdict(one)) for one in found.tables)
            return Anew(tables=tables, subscribers=found.subscribers)
        done = resnapshot_desk.order(settings, store, topology, caller.name, system, given.table, now())
        return Anew(ordered=_anew(done, None))


def _name(system: PlannedSystem) -> str:
    return system.name


def _may(identity: Identity, caller: Caller | None, system: str) -> bool:
    """Return whether an order of the caller would be let through."""
    if caller is None:
        return False
    topology = acting(identity.declared.known(), caller)
    return passes(lambda: expect_operator(topology, caller.name, system))


def _reads_anew(kind: str) -> Literal["no", "all", "each"]:
    if kind in ONE_TABLE:
        return "each"
    return "all" if kind in READ_ANEW else "no"


def _anew(order: Resnapshot | None, position: SourcePosition | None) -> ReadAnew | None:
    if order is None:
        return None
    told = order.model_dump(mode="json", exclude={"state"})
    return ReadAnew(**told, state=how_far(order, position))


def _paused(progress: Progress, beat: Mapping[str, JsonValue]) -> Paused | None:
    """Return a pause that is wanted, or whose connector still says that it is paused."""
    pause = progress.pause
    if pause is None or not (pause.is_wanted or (beat and not is_obeyed(pause, beat))):
        return None
    return Paused(**pause.model_dump(mode="json"), is_obeyed=is_obeyed(pause, beat))


def _errors(newest_first: Iterable[Alert]) -> dict[str, LastError]:
    found: dict[str, LastError] = {}
    for alert in newest_first:
        if alert.stage == "capture" and alert.where not in found:
            found[alert.where] = LastError(
                alert=alert.id,
                since_ms=alert.since_ms,
                resolved_at_ms=alert.resolved_at_ms,
                what=alert.what,
                action=alert.action,
            )
    return found


def _connector(
    plan: PublishedPlan,
    system: PlannedSystem,
    progress: Progress,
    beat: Mapping[str, JsonValue],
    error: LastError | None,
    may: bool,
) -> Connector:
    position, snapshot = progress.position, progress.snapshot
    first = None if position is None else position.snapshot
    return Connector(
        system=system.name,
        kind=system.kind,
        writer=writer_id(system.name),
        tables=tuple(
            Table(table=one.table, resource=one.name, views=tuple(view.name for view in one.views))
            for one in plan.resources
            if one.system == system.name
        ),
        takes_snapshots=system.kind == SNAPSHOTTED_KIND,
        may_order=may,
        pause=_paused(progress, beat),
        reads_anew=_reads_anew(system.kind),
        anew=_anew(progress.anew, progress.position),
        meanwhile=meanwhile(system),
        protect_wal_bytes=system.protect_wal_bytes if system.kind == "postgres" else 0,
        first_snapshot=None if first is None else FirstSnapshot(table=first.table, rows=first.rows),
        snapshot=None if snapshot is None else Snapshot(**asdict(snapshot)),
        last_error=error,
        problem=progress.problem,
    )
