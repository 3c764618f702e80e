"""What is shared, as the newest plan has it: contracts, and what each view shows of each field. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from pydantic import Field, JsonValue

from exchange.contract import Contract
from exchange.fieldtype import ContractField
from exchange.masking import Clear, MaskSpec, Omit, output_type
from exchange.model import Label, Model
from exchange.plan import PlannedResource, PlannedView, PublishedPlan
from exchange.view import RowCondition
from monitor.overview import label_of

ReadersOf = Callable[[str], tuple[str, ...] | None]
"""View topic → who may read it; None where that is not known."""


class ResourceSummary(Model):
    """One resource in the list."""

    name: str
    label: Label | None
    department: str
    system: str
    table: str
    views: int


class Resources(Model):
    """Resources of the newest plan by name."""

    plan_version: int | None = Field(description="None while no plan is published.")
    resources: tuple[ResourceSummary, ...]
    total: int
    next_offset: int | None = Field(description="Where the next ones start; None at the end.")


class FieldOfContract(Model):
    """One field, top-level or inside a record."""

    path: str = Field(description="Dotted into nested records.")
    source: str = Field(description="Column of the table; of a nested field, the member's name.")
    label: Label
    type: str
    nullable: bool
    key: bool
    classification: int = Field(description="Grade: 1 (public) to 4 (core).")
    sensitivity: str | None
    rules: tuple[str, ...] = Field(description="Names of its rules.")


class Showing(Model):
    """What one view shows of one field."""

    path: str
    how: Literal["clear", "masked", "parts", "hidden"] = Field(
        description="parts: some of the fields inside it, which have rows of their own."
    )
    mask: str | None = Field(default=None, description="Kind of mask.")
    settings: dict[str, JsonValue] = Field(default={}, description="Of the mask, like keep_first.")
    reason: str = Field(default="", description="Why a sensitive field is shown clear.")
    type: str | None = Field(default=None, description="What subscribers see; None where hidden.")


class ViewOfResource(Model):
    """One view of a resource."""

    name: str
    topic: str
    label: Label
    delay_budget_ms: int | None
    rows: tuple[RowCondition, ...] = Field(description="All must hold; none: every row.")
    fields: tuple[Showing, ...] = Field(description="In the order of the contract's fields.")
    readers: tuple[str, ...] | None = Field(
        description="Who may read it by Kafka's access rules; None while that is not known."
    )


class ResourceDetail(ResourceSummary):
    """One resource with its contract and its views."""

    plan_version: int
    contract_version: int
    raw_topic: str
    quarantine_topic: str
    partitions: int
    fields: tuple[FieldOfContract, ...]
    shown_by: tuple[ViewOfResource, ...]


def resources_of(plan: PublishedPlan | None, limit: int, offset: int) -> Resources:
    """Return a page of the list."""
    found = sorted(plan.resources if plan is not None else (), key=lambda one: one.name)
    end = offset + limit
    return Resources(
        plan_version=plan.version if plan is not None else None,
        resources=tuple(ResourceSummary(**_summary(one)) for one in found[offset:end]),
        total=len(found),
        next_offset=end if end < len(found) else None,
    )


def resource_of(plan: PublishedPlan | None, name: str, readers_of: ReadersOf) -> ResourceDetail | None:
    """Return one resource; None where the plan has none of that name."""
    found = next((one for one in (plan.resources if plan is not None else ()) if one.name == name), None)
    if plan is None or found is None:
        return None
    contract = Contract.parse(found.contract, f"plan {plan.version}, {name}")
    fields = tuple(_walk(contract.fields.values()))
    return ResourceDetail(
        **_summary(found),
        plan_version=plan.version,
        contract_version=contract.version,
        raw_topic=found.raw_topic,
        quarantine_topic=found.quarantine_topic,
        partitions=found.partitions,
        fields=tuple(_field(path, field, key=path in contract.key) for path, field in fields),
        shown_by=tuple(_view(view, found, fields, readers_of(view.topic)) for view in found.views),
    )


def _summary(resource: PlannedResource) -> dict[str, object]:
    return {
        "name": resource.name,
        "label": label_of(resource.contract),
        "department": resource.department,
        "system": resource.system,
        "table": resource.table,
        "views": len(resource.views),
    }


def _walk(fields: Iterable[ContractField], prefix: str = "") -> Iterator[tuple[str, ContractField]]:
    for field in fields:
        path = prefix + field.name
        yield path, field
        if field.type.kind == "record":
            yield from _walk(field.type.fields, f"{path}.")


def _field(path: str, field: ContractField, *, key: bool) -> FieldOfContract:
    return FieldOfContract(
        path=path,
        source=field.source or field.name,
        label=Label(zh=field.label_zh, en=field.label_en),
        type=field.type.describe(),
        nullable=field.type.nullable,
        key=key,
        classification=field.classification,
        sensitivity=field.sensitivity,
        rules=tuple(rule.name for rule in field.rules),
    )


def _view(
    view: PlannedView,
    resource: PlannedResource,
    fields: Iterable[tuple[str, ContractField]],
    readers: tuple[str, ...] | None,
) -> ViewOfResource:
    return ViewOfResource(
        name=f"{resource.name}.{view.name}",
        topic=view.topic,
        label=view.spec.label,
        delay_budget_ms=view.spec.delay_budget_ms,
        rows=view.spec.rows,
        fields=tuple(showing(path, field, view.spec.fields) for path, field in fields),
        readers=readers,
    )


def showing(path: str, field: ContractField, masks: dict[str, MaskSpec]) -> Showing:
    """Return what a view's masks show of a field. A part of a record that is shown whole goes with it."""
    mask, steps = masks.get(path), path.split(".")
    for length in range(len(steps) - 1, 0, -1):
        mask = mask or masks.get(".".join(steps[:length]))
    if mask is None:
        inside = any(name.startswith(f"{path}.") for name in masks)
        return Showing(path=path, how="parts" if inside else "hidden", type="record" if inside else None)
    if isinstance(mask, Omit):
        return Showing(path=path, how="hidden", mask=mask.kind)
    settings = mask.model_dump(exclude={"kind", "reason"}, exclude_defaults=True)
    return Showing(
        path=path,
        how="clear" if isinstance(mask, Clear) else "masked",
        mask=mask.kind,
        settings=settings,
        reason=mask.reason if isinstance(mask, Clear) else "",
        type=output_type(mask, field.type).describe() if path in masks else field.type.describe(),
    )
