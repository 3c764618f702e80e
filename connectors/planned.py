"""What of a published plan a connector goes by."""

from __future__ import annotations

from exchange.errors import PlanError
from exchange.plan import PlannedResource, PlannedSystem, PublishedPlan
from exchange.resnapshots import READ_ANEW


def principal(system: str) -> str:
    """Return the Kafka user of a system's connector."""
    return f"connector-{system}"


def system_in(plan: PublishedPlan, name: str) -> PlannedSystem:
    """Return a system as a plan has it. Raises: PlanError where it has not."""
    for system in plan.systems:
        if system.name == name:
            return system
    known = ", ".join(sorted(system.name for system in plan.systems)) or "none"
    msg = f"system {name!r} is not in the published plan ({known}); declare it and run `exchange apply`"
    raise PlanError(msg)


def resources_of(plan: PublishedPlan, system: str) -> tuple[PlannedResource, ...]:
    """Return what is captured from a system."""
    return tuple(resource for resource in plan.resources if resource.system == system)


def concerns(plan: PublishedPlan, system: str) -> object:
    """Return what of a plan a connector depends on; views are not its business.

    Where there are no tables, what is taken follows from the contracts.
    """
    declared = [candidate for candidate in plan.systems if candidate.name == system]
    contracts = [] if all(one.kind in READ_ANEW for one in declared) else [
        (entry.contract, entry.folder) for entry in resources_of(plan, system)
    ]  # fmt: skip
    tables = [
        (
            entry.table,
            entry.topic,
            entry.raw_topic,
            entry.quarantine_topic,
            entry.partitions,
            entry.steward_public_key,
            entry.sealed,
        )
        for entry in resources_of(plan, system)
    ]
    return declared, sorted(tables), contracts
