"""A source read anew by a person's order: what that would do, who may, and noted with the decisions."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import psycopg

from exchange.cluster import ADMIN
from exchange.compacted import CompactedTopic
from exchange.errors import ConfigError, GovernanceError, PlanError
from exchange.governance.authority import expect_operator
from exchange.governance.noting import attempt, carried_out
from exchange.governance.store import Decision, Store
from exchange.plan import POSITIONS_TOPIC, PlannedResource, PlannedSystem, PublishedPlan
from exchange.plan_topic import read_plan
from exchange.position import writer_id
from exchange.resnapshots import ONE_TABLE, READ_ANEW, RESNAPSHOTS, Resnapshot, Resnapshots
from exchange.settings import Settings
from exchange.suggest import did_you_mean
from exchange.topology.model import Topology

_CONNECT_S: Final = 5
_STATEMENT_MS: Final = 5000
_ROWS: Final = """
SELECT w.name, sum(greatest(p.reltuples, 0))::bigint
FROM unnest(%s::text[]) AS w(name)
JOIN pg_namespace n ON n.nspname = split_part(w.name, '.', 1)
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = split_part(w.name, '.', 2)
JOIN pg_class p ON p.oid = c.oid OR p.oid IN (SELECT relid FROM pg_partition_tree(c.oid))
GROUP BY w.name
"""


@dataclass(frozen=True, slots=True)
class Emptied:
    """A table that would be read anew, and the views that are emptied and filled for it.

    estimated_rows: None where its source does not say.
    """

    table: str
    views: tuple[str, ...]
    estimated_rows: int | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an order would do, and who would see views emptied and filled."""

    tables: tuple[Emptied, ...]
    subscribers: tuple[str, ...]


def estimate(
    settings: Settings, topology: Topology, actor: str, system: str, table: str, today: dt.date
) -> Estimate:
    """Return what reading a system, or one table of it, anew would do; nothing is done.

    topology: in which the actor has the roles in which they act, with the grants that were approved.

    Raises: as `order`.
    """
    expect_operator(topology, actor, system)
    plan = _expect_possible(settings, system, table)
    resources = _resources(plan, system, table)
    rows = _rows(settings, _system(plan, system), [one.table for one in resources])
    tables = tuple(
        Emptied(one.table, tuple(f"{one.name}.{view.name}" for view in one.views), rows.get(one.table))
        for one in resources
    )
    views = {view for one in tables for view in one.views}
    readers = (name for name in topology.subscribers if views & set(topology.granted_views(name, today)))
    return Estimate(tables, tuple(sorted(readers)))


def order(
    settings: Settings,
    store: Store,
    topology: Topology,
    actor: str,
    system: str,
    table: str,
    now: dt.datetime,
) -> Resnapshot:
    """Have a system, or one table of it, read anew: its connector begins that, once, when it is at work.

    Raises: NotAllowedError unless they run the bus or are steward of the system's department; GovernanceError
    when it cannot be read anew as things stand; PartError or TransientError when Kafka does not take it.
    """
    tried = _tried(actor, system, table, now)
    return carried_out(store, tried, _given(settings, topology, actor, system, table, now), _noted)


def at_once(
    store: Store,
    topology: Topology | None,
    actor: str,
    system: str,
    table: str,
    give_up: Callable[[], None],
    now: dt.datetime,
) -> None:
    """Have a position given up here, in the connector's place, which needs its secrets, and note it.

    topology: as of `order`; None: as of `expect_operator`.

    Raises: NotAllowedError as `order`; GovernanceError where `give_up` raises PlanError; what else it raises.
    """

    def give() -> None:
        expect_operator(topology, actor, system)
        try:
            give_up()
        except PlanError as error:
            raise GovernanceError(str(error)) from None

    tried = _tried(actor, system, table, now)
    carried_out(store, tried, give, lambda before, _: before.model_copy(update={"outcome": "done"}))


def _tried(actor: str, system: str, table: str, now: dt.datetime) -> Decision:
    about = " ".join(filter(None, ("resnapshot", system, table)))
    return attempt(actor, "resnapshot", 0, now, about=about)


def _given(
    settings: Settings, topology: Topology, actor: str, system: str, table: str, now: dt.datetime
) -> Callable[[], Resnapshot]:
    def give() -> Resnapshot:
        expect_operator(topology, actor, system)
        _expect_possible(settings, system, table)
        at_ms = int(now.timestamp() * 1000)
        wanted = Resnapshot(operation=secrets.token_hex(4), table=table, by=actor, at_ms=at_ms)
        RESNAPSHOTS.give(settings.kafka_client(ADMIN), system, wanted)
        return wanted

    return give


def _expect_possible(settings: Settings, system: str, table: str) -> PublishedPlan:
    """Return the plan. Raises: GovernanceError where the order could not be carried out."""
    client = settings.kafka_client(ADMIN)
    plan = read_plan(client)
    if plan is None or system not in {one.name for one in plan.systems}:
        msg = f"system {system}: the published plan has no such system; run `exchange apply` first"
        raise GovernanceError(msg)
    kind = _system(plan, system).kind
    if kind not in READ_ANEW:
        msg = f"system {system} has no database to read anew; its department sends it"
        raise GovernanceError(msg)
    if table and kind not in ONE_TABLE:
        msg = f"system {system}: Debezium's tables are read anew together; name none"
        raise GovernanceError(msg)
    known = [one.table for one in _resources(plan, system, "")]
    if table and table not in known:
        msg = f"system {system}: no resource of the plan is table {did_you_mean(table, known)}"
        raise GovernanceError(msg)
    with CompactedTopic(client, POSITIONS_TOPIC) as positions:
        if writer_id(system).encode() not in positions.read():
            msg = f"system {system}: nothing was captured yet; its snapshot is still to come"
            raise GovernanceError(msg)
    with Resnapshots(client, system) as orders:
        last = orders.read()
    if last is not None and last.is_ordered:
        msg = f"system {system}: {last.by} ordered it already; its connector begins it when it is at work"
        raise GovernanceError(msg)
    return plan


def _system(plan: PublishedPlan, system: str) -> PlannedSystem:
    return next(one for one in plan.systems if one.name == system)


def _resources(plan: PublishedPlan, system: str, table: str) -> list[PlannedResource]:
    return [one for one in plan.resources if one.system == system and table in ("", one.table)]


def _rows(settings: Settings, system: PlannedSystem, tables: Iterable[str]) -> dict[str, int]:
    """Return about how many rows tables have, as PostgreSQL's statistics say; of other kinds nothing."""
    if system.kind != "postgres":
        return {}
    try:
        dsn = settings.secrets.get(system.connection_env).get_secret_value()
        options = f"-c default_transaction_read_only=on -c statement_timeout={_STATEMENT_MS}"
        with psycopg.connect(dsn, connect_timeout=_CONNECT_S, options=options) as connection:
            return dict(connection.execute(_ROWS, [list(tables)]).fetchall())
    except (psycopg.Error, ConfigError):
        return {}


def _noted(tried: Decision, given: Resnapshot) -> Decision:
    """Return the decision, with the operation that it is of."""
    return tried.model_copy(update={"outcome": "done", "about": f"{tried.about} {given.operation}"})
