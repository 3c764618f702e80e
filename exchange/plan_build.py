"""A valid topology and its contracts, as the plan that workers and connectors run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from exchange.contract import Contract
from exchange.plan import (
    PlannedDelivery,
    PlannedEngine,
    PlannedPull,
    PlannedResource,
    PlannedSystem,
    PlannedView,
    PublishedPlan,
    quarantine_topic,
    raw_topic,
    view_topic,
)
from exchange.topology.model import (
    ClickhouseDelivery,
    DebeziumSystem,
    FilesDelivery,
    FilesSystem,
    HttpSystem,
    PostgresDelivery,
    Topology,
    WebhookDelivery,
)
from exchange.view import View, ViewSpec, compile_view


def compiled_views(topology: Topology, contracts: Mapping[str, Contract]) -> dict[str, View]:
    """Return every view of a valid topology, compiled, by topic."""
    return {
        view_topic(resource, name): compile_view(contracts[topology.contract_name(resource)], spec, name)
        for resource, views in sorted(topology.views_by_resource.items())
        for name, spec in sorted(views.items())
    }


def build_plan(
    topology: Topology,
    contracts: Mapping[str, Contract],
    steward_keys: Mapping[str, str],
    schema_ids: Mapping[str, int],
    version: int,
    today: dt.date,
    revoked: tuple[str, ...] = (),
) -> PublishedPlan:
    """Return the plan of a valid topology; the same input gives the same plan, whatever the file's order.

    today: what grants give on that day is delivered.

    steward_keys: department → X25519 public key, base64; schema_ids: subject (`<topic>-key`, `<topic>-value`)
    → registered id; revoked: what `PublishedPlan.revoked` is to say. The topology is without these grants.
    """
    systems = tuple(_planned_system(name, topology) for name in sorted(topology.systems))
    resources = tuple(
        _planned_resource(name, topology, contracts, steward_keys, schema_ids)
        for name in sorted(topology.resources)
    )
    pulls = tuple(
        PlannedPull(subscriber=name, keys_env=secret) for name, secret in sorted(topology.pull_keys().items())
    )
    deliveries = tuple(
        _planned_delivery(name, topology, today)
        for name in sorted(topology.subscribers)
        if topology.subscribers[name].delivery is not None
    )
    return PublishedPlan(
        version=version,
        systems=systems,
        resources=resources,
        deliveries=deliveries,
        pulls=pulls,
        revoked=revoked,
        alerts=topology.alerts,
    )


def _planned_delivery(name: str, topology: Topology, today: dt.date) -> PlannedDelivery:
    declared = topology.subscribers[name].delivery
    given: dict[str, Any]
    match declared:
        case PostgresDelivery():
            given = {"connection_env": declared.connection_env, "namespace": declared.namespace}
        case ClickhouseDelivery():
            given = {"connection_env": declared.connection_env, "namespace": declared.database}
        case FilesDelivery():
            given = {"folder": declared.folder, "format": declared.format}
        case WebhookDelivery():
            given = declared.model_dump(exclude={"kind", "views"}, exclude_none=True)
        case None:
            given = {}
    return PlannedDelivery.model_validate(
        {
            "subscriber": name,
            "kind": declared and declared.kind,
            "views": topology.delivered_views(name, today),
            **given,
        }
    )


def _planned_system(name: str, topology: Topology) -> PlannedSystem:
    system = topology.systems[name]
    match system:
        case HttpSystem():
            return PlannedSystem(name=name, kind=system.kind, listen=system.listen, keys_env=system.keys_env)
        case FilesSystem():
            return PlannedSystem(name=name, kind=system.kind)
        case DebeziumSystem():
            return PlannedSystem(
                name=name,
                kind=system.kind,
                connection_env=system.connection_env or "",
                converter=system.converter,
                registry=system.registry or "",
                registry_env=system.registry_env or "",
                before=system.before,
                begin=system.begin,
                engine=None if system.engine is None else PlannedEngine(**system.engine.model_dump()),
            )
        case _:
            return PlannedSystem(
                name=name,
                kind=system.kind,
                connection_env=system.connection_env,
                publication=topology.publication(name) if system.kind == "postgres" else "",
                slot=topology.slot(name) if system.kind == "postgres" else "",
                protect_wal_bytes=system.protect_wal_bytes,
                protect_by=system.protect_by,
            )


def _planned_resource(
    name: str,
    topology: Topology,
    contracts: Mapping[str, Contract],
    steward_keys: Mapping[str, str],
    schema_ids: Mapping[str, int],
) -> PlannedResource:
    resource = topology.resources[name]
    department = topology.steward_department(name)
    return PlannedResource(
        name=name,
        system=resource.system,
        table=resource.table,
        folder=resource.folder or "",
        topic=resource.topic or "",
        department=department,
        raw_topic=raw_topic(resource.system, resource.table),
        quarantine_topic=quarantine_topic(name),
        partitions=resource.partitions,
        sealed=resource.sealed,
        contract=dict(contracts[topology.contract_name(name)].document),
        steward_public_key=steward_keys[department],
        views=tuple(
            _planned_view(name, view, spec, schema_ids)
            for view, spec in sorted(topology.views_of(name).items())
        ),
    )


def _planned_view(resource: str, name: str, spec: ViewSpec, schema_ids: Mapping[str, int]) -> PlannedView:
    topic = view_topic(resource, name)
    return PlannedView(
        name=name,
        topic=topic,
        spec=spec,
        key_schema_id=schema_ids[f"{topic}-key"],
        value_schema_id=schema_ids[f"{topic}-value"],
    )
