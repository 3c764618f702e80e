"""What holds for systems that have no database: those that push over HTTP and those that hand over files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from exchange import rowform
from exchange.contract import Contract
from exchange.files.problem import Steps
from exchange.topology.model import DebeziumSystem, FilesSystem, HttpSystem, System, Topology


class Told(NamedTuple):
    """One problem, its place, and whether the place's key is meant."""

    steps: Steps
    message: str
    key: bool = False


def push_problems(topology: Topology, contracts: Mapping[str, Contract] | None) -> Iterator[Told]:
    """Yield everything wrong with systems without a database, their resources and the views of these."""
    yield from _addresses(topology)
    yield from _folders(topology)
    without = {
        name for name, entry in topology.resources.items()
        if isinstance(topology.systems.get(entry.system), HttpSystem | FilesSystem)
    }  # fmt: skip
    for name in sorted(without):
        contract = (contracts or {}).get(topology.contract_name(name))
        for problem in [] if contract is None else rowform.problems(contract):
            told = f"contract {topology.contract_name(name)} cannot be pushed: {problem}"
            yield Told(("resources", name, "contract"), told, key=True)
    for name, view in topology.views.items():
        if view.resource in without and view.rows:
            # Nobody knows what the row was before, so a row that leaves the scope, or is deleted outside of
            # it, could only be told to the view by a delete that shows the key of a row it must not see.
            told = (
                f"'{view.resource}' comes without the row before a change, which a view of some rows only "
                "needs to tell who may hear of a delete; make it a view of all rows, or a resource of its own"
            )
            yield Told(("views", name, "rows"), told, key=True)


def _addresses(topology: Topology) -> Iterator[Told]:
    first: dict[tuple[str, str], str] = {}
    for name, system in topology.systems.items():
        if not isinstance(system, HttpSystem):
            continue
        port = system.listen.rpartition(":")[2]
        if not 0 < int(port) < 65536:
            yield Told(("systems", name, "listen"), f"port {port} is not one of 1 to 65535")
        for attribute, value in (("listen", system.listen), ("keys_env", system.keys_env)):
            other = first.setdefault((attribute, value), name)
            if other != name:
                told = f"{attribute} is that of system '{other}' too; each system needs its own"
                yield Told(("systems", name, attribute), told)


def _folders(topology: Topology) -> Iterator[Told]:
    first: dict[str, str] = {}
    for name, resource in topology.resources.items():
        system = topology.systems.get(resource.system)
        steps = ("resources", name, "folder")
        if isinstance(system, FilesSystem) and resource.folder is None:
            told = f"'{resource.system}' is a system of kind files; say in which folder the files are dropped"
            yield Told(steps[:2], f"'folder' is missing: {told}", key=True)
        elif isinstance(system, System | HttpSystem | DebeziumSystem) and resource.folder is not None:
            yield Told(steps, f"'{resource.system}' is a system of kind {system.kind}; remove it", key=True)
        if resource.folder is not None and first.setdefault(resource.folder, name) != name:
            told = f"the folder is that of '{first[resource.folder]}' too; each resource needs its own"
            yield Told(steps, told)
