"""What the plan in force says, as the sections of topology.yaml that it was made from."""

from __future__ import annotations

from typing import Any

from exchange.adopt.found import DEPARTMENT, Draft, Found, to_be_named
from exchange.plan import (
    DEFAULT_PROTECT_WAL_BYTES,
    PlannedDelivery,
    PlannedResource,
    PlannedSystem,
    publication_name,
    slot_name,
)

UNKNOWN = "not known: adopted from what runs; to be written"
"""Stands where only the papers know: code in the catalogue, purpose and legal basis of a grant."""


def adopt_plan(found: Found, draft: Draft) -> None:
    """Add departments, systems, resources, views and contracts of the plan in force."""
    if found.plan is None:
        return
    draft.alerts = found.plan.alerts.model_dump(mode="json", exclude_defaults=True)
    owners = {resource.system: resource.department for resource in found.plan.resources}
    for system in found.plan.systems:
        owner = owners.get(system.name, DEPARTMENT)
        draft.departments.setdefault(owner, {"label": to_be_named(owner)})
        draft.systems[system.name] = {"department": owner} | _system(system)
    for resource in found.plan.resources:
        draft.resources[resource.name] = _resource(resource, draft)
        for view in resource.views:
            draft.views[f"{resource.name}.{view.name}"] = _view(view.spec.model_dump(exclude_defaults=True))


def delivery(planned: PlannedDelivery) -> dict[str, Any]:
    """Return the `delivery` of a subscriber."""
    shown: dict[str, Any] = {"kind": planned.kind}
    match planned.kind:
        case "postgres":
            shown |= {"connection_env": planned.connection_env, "schema": planned.namespace}
        case "clickhouse":
            shown |= {"connection_env": planned.connection_env, "database": planned.namespace}
        case "files":
            shown |= {"folder": planned.folder, "format": planned.format}
        case "webhook":
            shown |= {
                "url": planned.url,
                "signature": planned.signature,
                "keys_env": planned.keys_env,
                "batch_records": planned.batch_records,
                "park_after_s": planned.park_after_s or None,
                "ca_file": planned.ca_file,
            }
    shown["views"] = list(planned.views)
    return {name: value for name, value in shown.items() if value not in (None, "", [])}


def _system(planned: PlannedSystem) -> dict[str, Any]:
    names = ("connection_env", "listen", "keys_env", "registry", "registry_env")
    shown: dict[str, Any] = {"kind": planned.kind}
    shown |= {name: value for name in names if (value := getattr(planned, name))}
    if planned.kind == "postgres":
        if planned.publication != publication_name(planned.name):
            shown["publication"] = planned.publication
        if planned.slot != slot_name(planned.name):
            shown["slot"] = planned.slot
        if planned.protect_wal_bytes != DEFAULT_PROTECT_WAL_BYTES:
            shown["protect_wal_bytes"] = planned.protect_wal_bytes
        if planned.protect_by != "alarm":
            shown["protect_by"] = planned.protect_by
    if planned.kind == "debezium":
        shown |= {"converter": planned.converter, "before": planned.before, "begin": planned.begin}
        if planned.engine is not None:
            shown["engine"] = planned.engine.model_dump(exclude_defaults=True)
    return shown


def _resource(planned: PlannedResource, draft: Draft) -> dict[str, Any]:
    document = dict(planned.contract)
    contract = f"{document['namespace']}.{document['name']}"
    draft.contracts[contract] = document
    label = document["label"] if contract == planned.name else to_be_named(planned.name)
    optional = {"folder": planned.folder, "topic": planned.topic}
    return {
        "label": label,
        "system": planned.system,
        "table": planned.table,
        **{name: value for name, value in optional.items() if value},
        **({"contract": contract} if contract != planned.name else {}),
        **({"sealed": True} if planned.sealed else {}),
        "catalogue_code": UNKNOWN,
        "share": "conditional",
        "partitions": planned.partitions,
    }


def _view(spec: dict[str, Any]) -> dict[str, Any]:
    """Write a mask without settings as a word, and tuples as lists."""
    fields = {path: mask["kind"] if len(mask) == 1 else mask for path, mask in spec["fields"].items()}
    rows = [
        {name: list(value) if isinstance(value, tuple) else value for name, value in row.items()}
        for row in spec.get("rows", ())
    ]
    return spec | {"fields": fields} | ({"rows": rows} if rows else {})
