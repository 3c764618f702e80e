"""What holds for systems whose changes a Debezium writes to topics."""

from __future__ import annotations

from collections.abc import Iterator

from exchange.topology.model import DebeziumSystem, Topology
from exchange.topology.push import Told

_BUS_TOPICS = ("raw.", "share.", "quarantine.", "_exchange.", "_schemas")


def debezium_problems(topology: Topology) -> Iterator[Told]:
    """Yield everything wrong with systems of kind debezium, their resources and the views of these."""
    for name, system in topology.systems.items():
        if isinstance(system, DebeziumSystem):
            yield from _registry(name, system)
    yield from _topics(topology)
    for name, view in topology.views.items():
        resource = topology.resources.get(view.resource)
        owner = topology.systems.get(resource.system) if resource is not None else None
        if isinstance(owner, DebeziumSystem) and owner.before == "none" and view.rows:
            told = (
                f"a view of some rows needs the whole row before each change; where the source of "
                f"'{view.resource}' tells it, say `before: complete` of its system"
            )
            yield Told(("views", name, "rows"), told, key=True)


def _registry(name: str, system: DebeziumSystem) -> Iterator[Told]:
    if system.registry is not None and system.converter != "avro":
        told = "only converter 'avro' has a schema registry; take it out, or set converter"
        yield Told(("systems", name, "registry"), told, key=True)
    if system.registry_env is not None and system.registry is None:
        told = "of which registry? Give its URL as 'registry'; the bus's own needs none"
        yield Told(("systems", name, "registry_env"), told, key=True)


def _topics(topology: Topology) -> Iterator[Told]:
    first: dict[tuple[str | None, str], str] = {}
    for name, resource in topology.resources.items():
        system = topology.systems.get(resource.system)
        steps = ("resources", name, "topic")
        if isinstance(system, DebeziumSystem) and resource.topic is None:
            told = f"'{resource.system}' is a system of kind debezium; say which topic holds the changes"
            yield Told(steps[:2], f"'topic' is missing: {told}", key=True)
        elif system is not None and not isinstance(system, DebeziumSystem) and resource.topic is not None:
            yield Told(steps, f"'{resource.system}' is a system of kind {system.kind}; remove it", key=True)
        if not isinstance(system, DebeziumSystem) or resource.topic is None:
            continue
        if resource.topic.startswith(_BUS_TOPICS):
            yield Told(steps, f"'{resource.topic}' is a topic of the bus itself; Debezium's is wanted")
        other = first.setdefault((system.connection_env, resource.topic), name)
        if other != name:
            yield Told(steps, f"the topic is that of '{other}' too; each resource needs its own")
