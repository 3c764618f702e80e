"""What people and whitelists say must be true of the departments."""

from __future__ import annotations

from collections.abc import Iterator

from exchange.files.problem import Steps
from exchange.suggest import hint, listing
from exchange.topology.model import Topology


def people_problems(topology: Topology, departments: frozenset[str]) -> Iterator[tuple[Steps, str]]:
    """Yield each department that a role or a whitelist names and the file does not declare."""
    named: list[tuple[Steps, str]] = []
    holders = [("people", name, person.roles) for name, person in topology.people.items()]
    holders += [("groups", name, group.roles) for name, group in topology.groups.items()]
    for section, name, roles in holders:
        for role, held in roles.items():
            named += [((section, name, "roles", role, index), one) for index, one in enumerate(held)]
    for name, resource in topology.resources.items():
        named += [
            (("resources", name, "whitelist", index), one) for index, one in enumerate(resource.whitelist)
        ]
    for steps, department in named:
        if department not in departments:
            known = listing(departments)
            yield (
                steps,
                f"'{department}' is not among the departments ({known}).{hint(department, departments)}",
            )
