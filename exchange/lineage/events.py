"""A published plan as OpenLineage run events: source table → raw topic → view topic. No I/O.

One job for each raw topic and for each view. A stream has no end, and some catalogues take up what is
complete alone: each job has a START and a COMPLETE of one run for each plan version, with the same run id
whenever that version is told again. Names, types and masks of fields are told; no value, no source's address.

Source: OpenLineage specification, object model 2-0-2; facets Schema 1-2-0, ColumnLineage 1-2-0,
Ownership 1-0-1, JobType 2-0-4, ProcessingEngine 1-1-1; naming of Kafka and PostgreSQL datasets.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from typing import Any, Final

from exchange import __version__
from exchange.contract import Contract
from exchange.fieldtype import ContractField, FieldType
from exchange.plan import PlannedResource, PlannedView, PublishedPlan
from exchange.view import Shown, View, compile_view

NAMESPACE: Final = "exchange-bus"
_PRODUCER: Final = f"urn:exchange-bus:{__version__}"
_SPEC: Final = "https://openlineage.io/spec"
_EVENT: Final = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
_RUNS: Final = uuid.UUID("6f0b7c1e-41d5-5d7b-9a55-6a1c0c7a2f5e")

Event = dict[str, Any]
Dataset = dict[str, Any]


def events(plan: PublishedPlan, kafka: str, now: dt.datetime) -> Iterator[Event]:
    """Yield the events of all routes. kafka: bootstrap servers; now: an aware instant.

    Raises: ContractError or ConfigError when the plan does not hold together.
    """
    brokers = f"kafka://{kafka.partition(',')[0]}"
    kinds = {system.name: system.kind for system in plan.systems}
    for resource in plan.resources:
        contract = Contract.parse(resource.contract, f"plan {plan.version}: {resource.name}")
        owners = _facet("OwnershipDatasetFacet", "1-0-1", owners=_owners(resource))
        table = _table(resource, contract, kinds.get(resource.system, ""), owners)
        raw = _raw(resource, contract, table, brokers, owners)
        name = f"capture.{resource.system}.{resource.table}"
        yield from _run(plan, name, resource, [table], [raw], now)
        for view in resource.views:
            shown = _view(resource, contract, view, raw, brokers, owners)
            yield from _run(
                plan, f"process.{resource.name}.{view.name}", resource, [_plain(raw)], [shown], now
            )


def _run(
    plan: PublishedPlan,
    job: str,
    resource: PlannedResource,
    inputs: list[Dataset],
    outputs: list[Dataset],
    now: dt.datetime,
) -> Iterator[Event]:
    facets = {
        "jobType": _facet(
            "JobTypeJobFacet", "2-0-4", processingType="STREAMING", integration="EXCHANGE", jobType="ROUTE"
        ),
        "ownership": _facet("OwnershipJobFacet", "1-0-1", owners=_owners(resource)),
    }
    # without an engine's name, older converters of DataHub's take no event of a producer they do not know
    engine = _facet("ProcessingEngineRunFacet", "1-1-1", version=__version__, name="exchange-bus")
    run = {
        "runId": str(uuid.uuid5(_RUNS, f"{job}@{plan.version}")),
        "facets": {"processing_engine": engine},
    }
    for state in ("START", "COMPLETE"):
        yield {
            "eventType": state,
            "eventTime": now.astimezone(dt.UTC).isoformat(timespec="milliseconds"),
            "run": run,
            "job": {"namespace": NAMESPACE, "name": job, "facets": facets},
            "inputs": inputs,
            "outputs": outputs,
            "producer": _PRODUCER,
            "schemaURL": _EVENT,
        }


def _table(resource: PlannedResource, contract: Contract, kind: str, owners: Any) -> Dataset:
    """Return the source's table; its server has the system's name, as its address is a secret."""
    scheme = {"postgres": "postgres", "mysql": "mysql", "mariadb": "mysql"}.get(kind, kind or "exchange")
    fields = [(field.source or field.name, field.type) for field in contract.fields.values()]
    facets = {"schema": _schema(fields), "ownership": owners}
    return {"namespace": f"{scheme}://{resource.system}", "name": resource.table, "facets": facets}


def _raw(resource: PlannedResource, contract: Contract, table: Dataset, brokers: str, owners: Any) -> Dataset:
    lineage = {
        name: {"inputFields": [_input(table, field.source or name, "IDENTITY", "as captured", masked=False)]}
        for name, field in contract.fields.items()
    }
    fields = [(name, field.type) for name, field in contract.fields.items()]
    facets = {
        "schema": _schema(fields),
        "ownership": owners,
        "columnLineage": _facet("ColumnLineageDatasetFacet", "1-2-0", fields=lineage),
    }
    return {"namespace": brokers, "name": resource.raw_topic, "facets": facets}


def _view(
    resource: PlannedResource, contract: Contract, view: PlannedView, raw: Dataset, brokers: str, owners: Any
) -> Dataset:
    compiled = compile_view(contract, view.spec, view.name)
    leaves = [leaf for shown in compiled.shown for leaf in _leaves(shown)]
    lineage = {leaf.path: {"inputFields": [_masked(leaf, raw)]} for leaf in leaves}
    facets = {
        "schema": _schema([(leaf.path, leaf.output()) for leaf in leaves]),
        "ownership": owners,
        "columnLineage": _facet(
            "ColumnLineageDatasetFacet", "1-2-0", fields=lineage, dataset=_filters(compiled, raw)
        ),
    }
    return {"namespace": brokers, "name": view.topic, "facets": facets}


def _leaves(shown: Shown) -> Iterator[Shown]:
    if shown.mask is not None:
        yield shown
    for part in shown.parts:
        yield from _leaves(part)


def _masked(leaf: Shown, raw: Dataset) -> dict[str, Any]:
    kind = leaf.mask.kind if leaf.mask is not None else "clear"
    if kind == "clear":
        return _input(raw, leaf.path, "IDENTITY", "clear", masked=False)
    return _input(raw, leaf.path, "TRANSFORMATION", f"mask: {kind}", masked=True)


def _filters(view: View, raw: Dataset) -> list[dict[str, Any]]:
    """Return the fields by which rows are left out; not by which values, which may tell of people."""
    return [
        _input(raw, path, "FILTER", "rows of the view", masked=False, kind="INDIRECT")
        for path in dict.fromkeys(condition.field for condition in view.rows)
    ]


def _input(
    dataset: Dataset, field: str, subtype: str, description: str, *, masked: bool, kind: str = "DIRECT"
) -> dict[str, Any]:
    how = {"type": kind, "subtype": subtype, "description": description, "masking": masked}
    place = {"namespace": dataset["namespace"], "name": dataset["name"], "field": field}
    return {**place, "transformations": [how]}


def _plain(dataset: Dataset) -> Dataset:
    """Return a dataset as an input, without how it came to be."""
    facets = {name: facet for name, facet in dataset["facets"].items() if name != "columnLineage"}
    return {**dataset, "facets": facets}


def _schema(fields: list[tuple[str, FieldType]]) -> dict[str, Any]:
    return _facet("SchemaDatasetFacet", "1-2-0", fields=[_column(name, type_) for name, type_ in fields])


def _column(name: str, type_: FieldType) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": type_.describe()}
    inner: tuple[ContractField, ...] = type_.fields
    if inner:
        column["fields"] = [_column(field.name, field.type) for field in inner]
    return column


def _owners(resource: PlannedResource) -> list[dict[str, str]]:
    return [{"name": f"department:{resource.department}", "type": "STEWARD"}]


def _facet(name: str, version: str, /, **content: Any) -> dict[str, Any]:
    url = f"{_SPEC}/facets/{version}/{name}.json#/$defs/{name}"
    return {"_producer": _PRODUCER, "_schemaURL": url, **content}
