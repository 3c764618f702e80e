"""What people do with a snapshot beside the stream: start it, pause, resume and stop it, and see how it is.

An order is what is wanted (`_exchange.snapshots`); the connector's position says what became of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from exchange import heartbeat
from exchange.change import view_number
from exchange.compacted import CompactedTopic
from exchange.errors import PartError, PlanError
from exchange.plan import POSITIONS_TOPIC, PlannedResource, PublishedPlan
from exchange.plan_topic import no_plan, read_plan
from exchange.position import IncrementalProgress, SourcePosition, shown, writer_id
from exchange.settings import Settings
from exchange.snapshot_orders import SNAPSHOT_ORDERS, SnapshotOrder, SnapshotOrders, Wish
from exchange.suggest import did_you_mean
from exchange.tablemark import TableMark

SNAPSHOTTED_KIND: Final = "postgres"
"""Of systems whose tables can be read again beside the stream."""
_FIGURES: Final = ("snapshot_rows_per_s", "snapshot_hint")


@dataclass(frozen=True, slots=True)
class SnapshotStatus:
    """One operation. state: what it is; wish: what is wanted of it, which a connector at work takes up soon.

    rows: sent; passed: read, but the stream had told of something newer. is_at_work: a connector runs.
    """

    system: str
    operation: str
    table: str
    view: str
    state: str
    wish: str
    reason: str
    rows: int
    passed: int
    estimated_rows: int
    chunks: int
    rows_per_s: int
    is_at_work: bool


class Snapshots:
    """The snapshots of one system."""

    def __init__(self, settings: Settings, system: str) -> None:
        self._settings = settings
        self._system = system

    def start(self, table: str, view: str = "", rows_per_s: int = 0) -> SnapshotOrder:
        """Order a snapshot of one table, for all of its views or for one.

        Raises: PlanError when there is no such table or view, when its kind of source cannot do it, when
        another operation is under way, or when the table is not captured now.
        """
        plan = read_plan(self._client) or _no_plan()
        resource = _resource(plan, self._system, table)
        if view:
            _check_view(resource, view)
        self._check_free(table)
        order = SnapshotOrder(
            operation=secrets.token_hex(4),
            table=table,
            view=view,
            plan_version=plan.version if view else 0,
            rows_per_s=rows_per_s,
        )
        SNAPSHOT_ORDERS.give(self._client, self._system, order)
        return order

    def wish(self, wish: Wish, rows_per_s: int | None = None) -> SnapshotOrder:
        """Want something else of the operation under way.

        Raises: PlanError when none is under way.
        """
        order, progress = self._order(), self._progress()
        if order is None or _is_over(order, progress):
            msg = f"system {self._system}: no snapshot is under way; see `exchange snapshot status`"
            raise PlanError(msg)
        pace = {} if rows_per_s is None else {"rows_per_s": rows_per_s}
        changed = order.model_copy(update={"wish": wish, **pace})
        SNAPSHOT_ORDERS.give(self._client, self._system, changed)
        return changed

    def status(self) -> SnapshotStatus | None:
        """Return how the last operation is, None when there never was one."""
        order, progress = self._order(), self._progress()
        return None if order is None else status_of(self._system, order, progress, self._heartbeat())

    @property
    def _client(self) -> dict[str, Any]:
        return self._settings.kafka_client("admin")

    def _check_free(self, table: str) -> None:
        order, position = self._order(), self._position()
        if position is None:
            msg = f"system {self._system}: nothing was captured yet; its first snapshot is still to come"
            raise PlanError(msg)
        if order is not None and order.wish is not Wish.STOP and not _is_over(order, position.incremental):
            msg = (
                f"system {self._system}: snapshot {order.operation} of table {order.table} is under way; "
                f"let it end, or run `exchange snapshot stop {self._system}`"
            )
            raise PlanError(msg)
        mark = next((mark for mark in map(TableMark.parse, position.tables) if mark.name == table), None)
        if mark is None or mark.state:
            msg = (
                f"system {self._system}: table {table} is halted or its first snapshot is still to "
                f"come; see `exchange status`; `exchange resnapshot {self._system} --table {table}` brings a "
                "halted one back"
            )
            raise PlanError(msg)

    def _order(self) -> SnapshotOrder | None:
        with SnapshotOrders(self._client, self._system) as orders:
            return orders.read()

    def _progress(self) -> IncrementalProgress | None:
        position = self._position()
        return None if position is None else position.incremental

    def _position(self) -> SourcePosition | None:
        with CompactedTopic(self._client, POSITIONS_TOPIC) as topic:
            encoded = topic.read().get(writer_id(self._system).encode())
        if encoded is None:
            return None
        try:
            return shown(encoded)
        except ValueError:
            msg = f"{POSITIONS_TOPIC}: the position of {self._system} was not written by this version"
            raise PartError(msg) from None

    def _heartbeat(self) -> dict[str, Any]:
        return heartbeat.last_of(self._settings, "capture", writer_id(self._system))


def status_of(
    system: str,
    order: SnapshotOrder,
    progress: IncrementalProgress | None,
    beat: Mapping[str, Any],
) -> SnapshotStatus:
    """Return how an operation is. beat: the heartbeat of its connector, empty where there is none."""
    if progress is None or progress.operation != order.operation:
        progress = IncrementalProgress(order.operation, order.table, order.view)
        state = "ordered"
    else:
        state = progress.state.value
    figures = beat.get("figures", {})
    is_of_it = figures.get("snapshot_operation") == order.operation
    rows_per_s, hint = (figures.get(name, "") if is_of_it else "" for name in _FIGURES)
    return SnapshotStatus(
        system=system,
        operation=order.operation,
        table=order.table,
        view=order.view,
        state=state,
        wish=order.wish.value,
        reason=progress.reason or str(hint),
        rows=progress.rows,
        passed=progress.passed,
        estimated_rows=progress.estimated_rows,
        chunks=progress.chunks,
        rows_per_s=int(rows_per_s or 0),
        is_at_work=bool(beat),
    )


def _is_over(order: SnapshotOrder, progress: IncrementalProgress | None) -> bool:
    return progress is not None and progress.operation == order.operation and progress.has_ended


def _resource(plan: PublishedPlan, system: str, table: str) -> PlannedResource:
    kinds = {planned.name: planned.kind for planned in plan.systems}
    if system not in kinds:
        msg = f"the published plan has no system {did_you_mean(system, kinds)}"
        raise PlanError(msg)
    if kinds[system] != SNAPSHOTTED_KIND:
        msg = (
            f"system {system}: a snapshot beside the stream is for PostgreSQL, this is a system of kind "
            f"{kinds[system]}"
        )
        raise PlanError(msg)
    tables = {resource.table: resource for resource in plan.resources if resource.system == system}
    if table not in tables:
        msg = f"system {system}: no resource of the plan is table {did_you_mean(table, tables)}"
        raise PlanError(msg)
    return tables[table]


def _check_view(resource: PlannedResource, view: str) -> None:
    names = [planned.name for planned in resource.views]
    if view not in names:
        msg = f"resource {resource.name}: the published plan has no view {did_you_mean(view, names)}"
        raise PlanError(msg)
    same = [name for name in names if name != view and view_number(name) == view_number(view)]
    if same:
        msg = (
            f"resource {resource.name}: views {view} and {same[0]} have one number in record headers, so "
            "rows cannot be sent to one alone; rename the new one"
        )
        raise PlanError(msg)


def _no_plan() -> PublishedPlan:
    raise no_plan()
